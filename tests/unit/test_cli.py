"""`splitter`, `splitter run`, `splitter check-config`: which file, what is printed where, exit statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

import splitter.run
from splitter import __version__
from splitter.cli import main
from splitter.config import VARIABLES, Config, leaves
from splitter.errors import Fault

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SPLITTER_CONFIG", *(variable.name for variable in VARIABLES)):
        monkeypatch.delenv(name, raising=False)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_version() -> None:
    result = invoke("--version")
    assert (result.exit_code, result.output) == (0, f"splitter {__version__}\n")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["run", "-h"], ["check-config", "--help"], ["explain", "--help"]])
def test_help(arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")


@pytest.mark.parametrize("arguments", [[], ["rum"], ["run", "--port", "1"], ["check-config", "a", "b"], ["explain", "x"]])
def test_bad_usage(arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: " in result.stderr


class TestCheckConfig:
    def test_a_good_file(self) -> None:
        write("a.yaml", "rollout:\n  percent: 25\nguardrails: {action: alert}\n")
        result = invoke("check-config", "a.yaml")
        assert (result.exit_code, result.stderr) == (0, "")
        rows = [line.split() for line in result.stdout.splitlines()]
        assert ["rollout.percent", "25", "file:2"] in rows
        assert ["guardrails.action", "alert", "file:3"] in rows
        assert ["listen.port", "8000", "default"] in rows
        assert result.stdout.splitlines()[-1] == "a.yaml: usable"

    def test_what_has_no_effect_is_told(self) -> None:
        write("a.yaml", "rollout: {force: token}\n")
        result = invoke("check-config", "a.yaml")
        assert result.exit_code == 0
        assert result.stdout.splitlines()[-2].startswith("no effect: rollout.force: nobody can force a side")

    def test_every_value_has_a_line(self) -> None:
        lines = invoke("check-config").stdout.splitlines()
        assert [line.split()[0] for line in lines[:-1]] == [leaf.path for leaf in leaves(Config())]
        assert lines[-1] == "no file; defaults and environment: usable"

    def test_long_values_are_not_wrapped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "40")
        urls = ",".join(f"http://backend-{number}.example" for number in range(20))
        monkeypatch.setenv("LEGACY_URL", urls)
        line = next(line for line in invoke("check-config").stdout.splitlines() if line.startswith("backends.legacy.urls"))
        assert "http://backend-19.example:80]" in line
        assert line.endswith("env:LEGACY_URL")

    def test_a_faulty_file(self) -> None:
        write("a.yaml", "rollout:\n  percent: ten\n  prcent: 1\n")
        result = invoke("check-config", "a.yaml")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.splitlines() == [
            'a.yaml:2: rollout.percent: must be a percent from 0 to 100, not "ten"',
            "a.yaml:3: rollout.prcent: unknown key; did you mean percent?",
            "2 faults: not usable",
        ]

    def test_files_it_names_are_tried(self) -> None:
        write("a.yaml", "listen:\n  tls:\n    cert: pair.pem\n    key: pair.pem\n")
        result = invoke("check-config", "a.yaml")
        assert result.exit_code == 2
        fault = "a.yaml:3: listen.tls.cert: there is no such file: pair.pem"
        assert result.stderr.splitlines() == [fault, "1 fault: not usable"]
        trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path("pair.pem")
        assert invoke("check-config", "a.yaml").exit_code == 0

    def test_one_fault(self) -> None:
        result = invoke("check-config", "none.yaml")
        assert result.exit_code == 2
        assert result.stderr.splitlines() == ["none.yaml: there is no such file", "1 fault: not usable"]

    def test_json_of_a_good_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ROLLOUT_PERCENT", "12.5")
        monkeypatch.setenv("SPLITTER_ADMIN_TOKEN", "hunter2")
        write("a.yaml", "rollout: {salt: 灰度}\n")
        result = invoke("check-config", "a.yaml", "--json")
        told = json.loads(result.stdout)
        assert (result.exit_code, told["ok"], told["file"], told["not_in_force"]) == (0, True, "a.yaml", [])
        assert told["values"]["rollout.percent"] == {"value": "12.5", "origin": "env:ROLLOUT_PERCENT"}
        assert told["values"]["rollout.salt"] == {"value": '"灰度"', "origin": "file:1"}
        assert told["values"]["admin.token"] == {"value": "(secret)", "origin": "env:SPLITTER_ADMIN_TOKEN"}
        assert "hunter2" not in result.output

    def test_json_of_a_faulty_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SPLITTER_WORKERS", "x")
        write("a.yaml", "rollout: {percent: 101}\n")
        result = invoke("check-config", "a.yaml", "--json")
        told = json.loads(result.stdout)
        assert (result.exit_code, result.stderr, told["ok"], told["file"]) == (2, "", False, "a.yaml")
        assert [(fault["source"], fault["line"], fault["path"]) for fault in told["faults"]] == [
            ("a.yaml", 1, "rollout.percent"),
            ("SPLITTER_WORKERS", None, "listen.workers"),
        ]
        assert told["faults"][0]["message"] == "must be a percent from 0 to 100, not 101"


class TestWhichFile:
    """Percent 1 is the option's, 2 the variable's, 3 the default place's, 10 nobody's."""

    def percent(self, *arguments: str) -> str:
        result = invoke("check-config", *arguments, "--json")
        return str(json.loads(result.stdout)["values"]["rollout.percent"]["value"])

    def test_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.percent() == "10"
        write("config/splitter.yaml", "rollout: {percent: 3}")
        assert self.percent() == "3"
        monkeypatch.setenv("SPLITTER_CONFIG", str(write("b.yaml", "rollout: {percent: 2}")))
        assert self.percent() == "2"
        write("a.yaml", "rollout: {percent: 1}")
        assert self.percent("a.yaml") == "1"
        monkeypatch.setenv("SPLITTER_CONFIG", "")
        assert self.percent() == "3"

    def test_a_variable_that_names_nothing_is_a_fault(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write("config/splitter.yaml", "rollout: {percent: 3}")
        monkeypatch.setenv("SPLITTER_CONFIG", "gone.yaml")
        result = invoke("check-config")
        assert (result.exit_code, result.stderr.splitlines()[0]) == (2, "gone.yaml: there is no such file")


class TestRun:
    @pytest.fixture
    def started(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Config, Path | None]]:
        calls: list[tuple[Config, Path | None]] = []

        def run(config: Config, path: Path | None = None) -> int:
            calls.append((config, path))
            return int(config.rollout.percent)

        monkeypatch.setattr(splitter.run, "run", run)
        return calls

    @pytest.mark.parametrize("option", ["--config", "-c"])
    def test_it_runs_what_the_file_says_and_ends_with_its_status(
        self, started: list[tuple[Config, Path | None]], option: str
    ) -> None:
        path = write("a.yaml", "rollout: {percent: 1}")
        assert invoke("run", option, "a.yaml").exit_code == 1
        ((config, given),) = started
        assert (config.rollout.percent, given) == (1.0, path)

    def test_it_runs_without_a_file(
        self, started: list[tuple[Config, Path | None]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ROLLOUT_PERCENT", "0")
        assert invoke("run").exit_code == 0
        assert [path for _, path in started] == [None]

    def test_it_does_not_start_with_a_fault(self, started: list[tuple[Config, Path | None]]) -> None:
        write("a.yaml", "rollout: {percent: 101}")
        result = invoke("run", "--config", "a.yaml")
        assert (result.exit_code, started, result.stdout) == (2, [], "")
        fault = Fault("rollout.percent", "must be a percent from 0 to 100, not 101", "a.yaml", 1)
        assert result.stderr.splitlines() == [str(fault), "1 fault: not usable"]


def execute(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_as_a_process() -> None:
    write("a.yaml", "rollout: {percent: 50}\n")
    good = execute(sys.executable, "-m", "splitter", "check-config", SPLITTER_CONFIG="a.yaml")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.endswith("a.yaml: usable\n")
    assert "\x1b" not in good.stdout  # no colours into a file
    bad = execute(sys.executable, "-m", "splitter", "run", SPLITTER_CONFIG="a.yaml", ROLLOUT_PERCENT="many")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.splitlines()[0] == 'ROLLOUT_PERCENT: rollout.percent: must be a percent from 0 to 100, not "many"'


def test_the_console_script_is_the_same() -> None:
    script = Path(sys.executable).with_name("splitter")
    result = execute(script, "explain", "--key", "alice", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["bucket"] == 9289
