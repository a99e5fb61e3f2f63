"""`splitter rehearse`: each fault as promised, a promise that is broken, and nothing left whatever happens."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from splitter.rehearsal.script import Trouble
from splitter.rehearsal.story import RULES
from tests.process.running import ROOT, wait_until

PLAN = "rollout: {plan: [{percent: 20, hold: 1d, approve: true}, {percent: 100}]}\n"


class Rehearsal:
    """One that runs, with a folder of its own for the copy's files."""

    def __init__(self, folder: Path, config: str, *options: str, stdin: int = subprocess.DEVNULL) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        file = folder / "splitter.yaml"
        file.write_text(config)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "splitter", "rehearse", "--config", str(file), *options],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(self.temporary)},
            cwd=folder,
        )

    @property
    def copies(self) -> list[Path]:
        return list(self.temporary.iterdir())

    def processes(self) -> list[str]:
        """The command lines of those that are there: they work in the copy's folder."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "cwd").readlink().is_relative_to(self.temporary):
                    found.append((process / "cmdline").read_text())
            except OSError:
                continue  # it ended meanwhile, or is another user's
        return found

    def end(self, timeout_s: float = 60) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, out.decode(), err.decode()


def broken(report: dict[str, Any]) -> list[str]:
    return [f"{promise['name']}: {promise['detail']}" for promise in report["promises"] if not promise["kept"]]


@pytest.mark.parametrize("fault", ["down", "errors", "slow", "none"])
def test_everything_goes_as_promised(tmp_path: Path, fault: str) -> None:
    rehearsal = Rehearsal(tmp_path, PLAN, "--json", "--fault", fault)
    status, out, err = rehearsal.end()
    report = json.loads(out)
    assert broken(report) == []
    assert (status, report["ok"], err) == (0, True, "")
    assert report["requests"] > 1000
    assert report["took_s"] < 45
    page = (ROOT / "docs" / "rehearsal.md").read_text()
    told = [promise["name"] for promise in report["promises"] if promise["name"] != "a good domain is not rolled back"]
    assert [name for name in told if f"| {name} |" not in page] == []
    lines = [line["what"] for line in report["timeline"]]
    if fault != "none":
        rules = [f"rolled back by guardrail:{rule}" for rule in RULES[Trouble(fault)]]
        assert len(set(rules) & set(lines)) == 1, lines
        assert len(report["promises"]) == 13
    assert lines[-1] == "stage 2 of 2: 100 % of clients"
    assert rehearsal.copies == []
    assert rehearsal.processes() == []


def test_a_guardrail_that_only_alerts_breaks_a_promise(tmp_path: Path) -> None:
    config = PLAN + "guardrails: {action: alert}\n"
    status, out, _ = Rehearsal(tmp_path, config, "--json", "--fault", "down").end()
    report = json.loads(out)
    assert (status, report["ok"]) == (1, False)
    found = broken(report)
    assert len(found) == 1
    assert found[0].startswith("a guardrail rolls back: not within")
    assert "guardrails.action is alert" in found[0]
    assert [line["what"] for line in report["timeline"]][-1] == "stage 2 of 2: 100 % of clients"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_one_that_is_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    rehearsal = Rehearsal(tmp_path, PLAN, "--fault", "none")
    wait_until(lambda: len(rehearsal.processes()) >= 5)  # two services, a supervisor, two workers
    rehearsal.process.send_signal(number)
    status, _, err = rehearsal.end()
    assert (status, err) == (130, "interrupted; nothing of it is left\n")
    assert rehearsal.copies == []
    assert rehearsal.processes() == []


def test_no_process_outlives_one_that_is_killed(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, PLAN, "--fault", "none")
    wait_until(lambda: len(rehearsal.processes()) >= 5)
    rehearsal.process.kill()
    rehearsal.end()
    wait_until(lambda: rehearsal.processes() == [])


def test_step_by_step_and_kept(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    rehearsal = Rehearsal(tmp_path, PLAN, "--step", "--keep", "--fault", "down", stdin=theirs)
    os.close(theirs)
    assert rehearsal.process.stdout is not None
    out = ""
    while "Enter: the end" not in out:
        line = rehearsal.process.stdout.readline().decode()
        assert line, out
        out += line
        if "Enter: domain is killed" in line:
            time.sleep(5)  # longer than the stage is held: the plan waits for the person
        if "Enter:" in line:
            os.write(ours, b"\n")
    status, rest, err = rehearsal.end()
    os.close(ours)
    assert (status, err) == (0, ""), out + rest
    assert out.count("Enter:") == 4
    assert "stage 2 of 2" not in out.partition("domain is killed\n")[2].partition("rolled back by")[0]
    (kept,) = rehearsal.copies
    assert f"its files: {kept}" in rest
    assert json.loads((kept / "splitter.yaml").read_text())["rollout"]["percent"] == 0


def test_a_faulty_configuration_is_told_first(tmp_path: Path) -> None:
    status, out, err = Rehearsal(tmp_path, "rollout: {percnt: 1}").end()
    assert (status, out) == (2, "")
    assert "rollout.percnt: unknown key; did you mean percent?" in err
