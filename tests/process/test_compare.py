"""`splitter compare` with real processes: legacy and domain are alike; what is planted in domain is found and named."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from splitter.cli import main
from splitter.cli.compare.request_list import read_request_list
from splitter.config import parse
from tests.process.running import ROOT, Splitter, ask, splitter
from tests.process.service import camera_backend

LIST = ROOT / "config" / "compare" / "camera_api.yaml"


@dataclass
class Service:
    """All three processes."""

    legacy: int
    domain: int
    splitter: Splitter

    @property
    def urls(self) -> dict[str, str]:
        return {"LEGACY_URL": f"http://127.0.0.1:{self.legacy}", "DOMAIN_URL": f"http://127.0.0.1:{self.domain}"}

    @property
    def via(self) -> list[str]:
        return ["--via", f"http://127.0.0.1:{self.splitter.port}"]

    @property
    def direct(self) -> list[str]:
        return ["--control", f"http://127.0.0.1:{self.legacy}", "--candidate", f"http://127.0.0.1:{self.domain}"]

    def plant(self, *faults: str) -> None:
        """Make domain wrong in these ways, and in no others."""
        assert ask(self.domain, "/fault", "PUT", json.dumps({"faults": faults}).encode())[0] == 200

    def cameras(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(ask(self.legacy, "/api/v1/cameras")[2])["cameras"]
        return found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("compared")
    with ExitStack() as stack:
        legacy = stack.enter_context(camera_backend("legacy", folder))
        domain = stack.enter_context(camera_backend("domain", folder, "--allow-faults"))
        urls = {"LEGACY_URL": f"http://127.0.0.1:{legacy}", "DOMAIN_URL": f"http://127.0.0.1:{domain}"}
        yield Service(legacy, domain, stack.enter_context(splitter(folder, **urls)))


@pytest.fixture(autouse=True)
def _unplanted(service: Service) -> None:
    service.plant()


def compare(*arguments: str | Path) -> Result:
    """In this process: starting another one takes longer than most comparisons."""
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def found(*arguments: str | Path) -> tuple[int, dict[str, Any]]:
    """Exit status, and the JSON that was printed."""
    done = compare(*arguments, "--json")
    assert done.stderr == ""
    return done.exit_code, json.loads(done.stdout)


def places(document: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(row["endpoint"], row["path"], row["kind"]) for row in document["mismatches"]}


@pytest.mark.parametrize(("way", "noise"), [("via", "--noise"), ("direct", "--no-noise")])
def test_unplanted_they_are_alike(service: Service, way: str, noise: str) -> None:
    before = service.cameras()
    status, document = found(LIST, *getattr(service, way), noise)
    assert (document["mismatches"], document["problems"], document["requests"]["failed"]) == ([], [], 0)
    assert (status, document["verdict"]) == (0, "match")
    assert document["requests"]["compared"] > 150
    assert service.cameras() == before, "what was made for the comparison is gone"
    assert document["latency"]["overall"]["pairs"] > 100
    assert document["latency"]["overall"]["ratio_low"] > 0


PLANTED = {
    "a renamed field": ("rename=state:status", ("GET /api/v1/cameras/{camera_id}/status", "$.state", "renamed")),
    "an int that became a string": ("stringify=fps", ("GET /api/v1/cameras", "$.cameras[*].fps", "type")),
    "a missing header": ("drop_header=Location", ("POST /api/v1/cameras", "header:location", "missing")),
    "a reordered list": ("reorder=logs", ("GET /api/v1/cameras/{camera_id}/logs", "$.logs", "order")),
    "another status": ("error=1:503", ("GET /api/v1/cameras", "status", "value")),
    "another shape": ("shape=1", ("GET /api/v1/cameras", "$.data", "extra")),
    "no answer": ("drop=1", ("GET /api/v1/cameras", "status", "no answer")),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_planted_is_found_and_named(service: Service, what: str) -> None:
    fault, place = PLANTED[what]
    service.plant(fault)
    status, document = found(LIST, *service.direct, "--repeat", "2")
    assert status == 1
    assert place in places(document)
    others = {path.rpartition(".")[2] for _, path, _ in places(document)} - {place[1].rpartition(".")[2]}
    if what in {"a renamed field", "an int that became a string", "a missing header", "a reordered list"}:
        assert not others, "nothing else is blamed"


def test_all_at_once_and_every_kind_of_report(service: Service, tmp_path: Path) -> None:
    service.plant("rename=state:status", "stringify=fps", "drop_header=Location", "reorder=cameras")
    files = {kind: tmp_path / f"report.{kind}" for kind in ("json", "junit", "html")}
    options = [part for kind, file in files.items() for part in (f"--{kind}", str(file))]
    done = subprocess.run(
        [sys.executable, "-m", "splitter", "compare", str(LIST), *service.via, "--repeat", "2", *options],
        capture_output=True, text=True, timeout=60, check=False, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    kinds = {(row["path"], row["kind"]) for row in json.loads(files["json"].read_text())["mismatches"]}
    expected = {
        "$.cameras": "order",
        "$.cameras[*].state": "renamed",
        "$.cameras[*].fps": "type",
        "header:location": "missing",
    }
    assert expected.items() <= kinds
    assert "\x1b" not in done.stdout
    assert "domain differs from legacy: 4 differences at " in done.stdout
    assert any("$.cameras[*].state" in line and "renamed" in line for line in done.stdout.splitlines())
    suite = ElementTree.parse(files["junit"]).getroot()[0]
    assert int(suite.get("failures", "0")) > 5
    assert "Domain differs from legacy: 4 differences" in files["html"].read_text()


def test_the_commands_of_the_page_do_what_it_shows(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "compare.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    Path("config").symlink_to(ROOT / "config")
    Path("access.log").write_text('{"event": "request", "method": "GET", "path": "/api/v1/cameras"}\n')
    ports = {"8000": service.splitter.port, "8001": service.legacy, "8002": service.domain}
    examples = re.findall(r"^\$ splitter (compare .*)\n((?:.+\n)*?)```", page, re.MULTILINE)
    assert len(examples) == 3
    for command, shown in examples:
        words = re.sub(r":(800[012])\b", lambda port: f":{ports[port[1]]}", command).split()
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        if shown:
            lines, expected = done.stdout.splitlines(), shown.splitlines()
            assert len(lines) == len(expected)
            assert (lines[0], lines[-1].partition(" (")[0]) == (expected[0], expected[-1].partition(" (")[0])
    things, mirror = (yaml for yaml in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    assert read_request_list(things, "things").title == "Things"
    assert parse(mirror, "mirror", {}).mirror.percent == 10
    rules = re.findall(r"^\| `((?:ignore|unordered|tolerance|headers|mask|endpoints): .*?)` \|", page, re.MULTILINE)
    assert len(rules) == 6
    parse("mirror:\n" + "\n".join(f"  {rule}" for rule in rules), "rules", {})


def test_a_bar_for_who_sits_at_a_terminal(service: Service) -> None:
    main_end, process_end = pty.openpty()
    with os.fdopen(main_end, "rb", buffering=0) as terminal:
        with os.fdopen(process_end, "wb") as stderr:
            done = subprocess.Popen(
                [sys.executable, "-m", "splitter", "compare", str(LIST), *service.direct, "--repeat", "1"],
                stdout=subprocess.DEVNULL, stderr=stderr,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm"},
            )  # fmt: skip
        shown = b""
        with contextlib.suppress(OSError):  # how a terminal says that nobody writes any more
            while piece := terminal.read(4096):
                shown += piece
        assert done.wait(30) == 0
    assert b"comparing" in shown


def test_a_slow_candidate(service: Service) -> None:
    service.plant("latency=20ms")
    done = compare(LIST, *service.direct, "--max-slower", "1.5", "--repeat", "2", "--no-noise")
    assert done.exit_code == 1
    assert "slower than --max-slower 1.5 allows: candidate takes " in done.stderr
    assert "candidate and control answer alike" in done.stdout


def test_an_access_log_of_the_splitter_is_sent_again(service: Service, tmp_path: Path) -> None:
    paths = ("/api/v1/cameras", "/api/v1/cameras/entrance/status", "/api/v1/cameras/nobody", "/api/v1/cameras/entrance")
    with splitter(tmp_path, **service.urls) as other:
        assert [ask(other.port, path)[0] for path in paths] == [200, 200, 404, 200]
        assert ask(other.port, "/api/v1/cameras/entrance/restart", "POST")[0] == 200
    log = tmp_path / "splitter.log"
    before = json.loads(ask(service.legacy, "/api/v1/cameras/entrance/logs")[2])["total"]
    status, document = found(log, *service.direct, "--concurrency", "4", "--repeat", "3")
    assert (status, document["mismatches"], document["requests"]["compared"]) == (0, [], 12)
    assert [each["why"] for each in document["skipped"]] == ["changes something: --unsafe sends it too"]
    assert json.loads(ask(service.legacy, "/api/v1/cameras/entrance/logs")[2])["total"] == before, "nothing was restarted"
    service.plant("rename=state:status")
    status, document = found(log, *service.direct)
    assert status == 1
    assert ("GET /api/v1/cameras", "$.cameras[*].state", "renamed") in places(document)


def test_rolled_back_or_down_is_no_match(service: Service, tmp_path: Path) -> None:
    with splitter(tmp_path, USE_DOMAIN_SERVICE="false", **service.urls) as switched_off:
        status, document = found(LIST, "--via", f"http://127.0.0.1:{switched_off.port}", "--repeat", "1")
    assert (status, document["verdict"], document["requests"]["compared"]) == (1, "failed", 0)
    failures = {why for step in document["steps"] for why in step["failures"]}
    assert "the splitter sent it to legacy, not to domain (disabled)" in failures
    done = compare(LIST, "--via", f"http://127.0.0.1:{switched_off.port}", "--repeat", "1")
    assert done.exit_code == 1
    assert "legacy: no connection: Connection refused" in done.stdout
