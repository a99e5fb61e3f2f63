"""What the mirror found, from two workers to API, metrics and command line: planted faults are named, nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.running import ROOT, Splitter, ask, replaced, splitter, wait_until
from tests.process.test_mirror import MIRROR, PATHS, Backends, backends, outcomes

__all__ = ["backends"]

PLANTED = {
    "rename=state:status": ("GET /api/v1/cameras/{camera_id}/status", "$.state", "renamed"),
    "stringify=fps": ("GET /api/v1/cameras", "$.cameras[*].fps", "type"),
    "drop_header=Cache-Control": ("GET /api/v1/cameras/{camera_id}/preview", "header:cache-control", "missing"),
    "reorder=logs": ("GET /api/v1/cameras/{camera_id}/logs", "$.logs", "order"),
}


@pytest.fixture(autouse=True)
def _unplanted(backends: Backends) -> None:
    backends.plant()


@pytest.fixture
def running(tmp_path: Path, backends: Backends, request: pytest.FixtureRequest) -> Iterator[Splitter]:
    workers = getattr(request, "param", "2")
    with splitter(tmp_path, MIRROR, SPLITTER_WORKERS=workers, **backends.urls) as started:
        yield started


def traffic(port: int, *paths: str, times: int = 6) -> None:
    for path in paths * times:
        assert ask(port, path)[1]["x-splitter-backend"] == "legacy"


def found(running: Splitter, query: str = "") -> dict[str, Any]:
    status, _, body = ask(running.admin_port, f"/api/v1/rollout/mirror{query}")
    assert status == 200, body
    document: dict[str, Any] = json.loads(body)
    return document


def counted(running: Splitter, count: int) -> dict[str, Any]:
    """What was found, once so many requests have an outcome; the metrics say the same."""
    wait_until(lambda: sum(found(running)["outcomes"].values()) >= count)
    document = found(running)
    told = {outcome: number for outcome, number in document["outcomes"].items() if number}
    assert told == outcomes(running.port), "the metrics agree"
    compared = sum(told.get(name, 0) for name in ("match", "ignored", "noise", "mismatch", "failed"))
    assert document["compared"] == compared
    assert sum(endpoint["compared"] for endpoint in document["endpoints"]) == compared
    return document


def named(document: dict[str, Any]) -> set[tuple[str, str, str]]:
    rows = [place for place in document["places"] if place["verdict"] == "mismatch"]
    return {(row["endpoint"], row["path"], row["kind"]) for row in rows}


def cli(running: Splitter, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "splitter", "mirror", "--admin", f"http://127.0.0.1:{running.admin_port}", *options],
        cwd=ROOT, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}, timeout=30, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.parametrize("running", ["2", "0"], indirect=True, ids=["2 workers", "in one process"])
def test_what_is_planted_is_named_and_nothing_else(running: Splitter, backends: Backends) -> None:
    paths = (*PATHS, "/api/v1/cameras/workshop/preview")
    traffic(running.port, *paths)
    clean = counted(running, len(paths) * 6)
    assert named(clean) == set(), "unplanted traffic shows none"
    assert (clean["verdict"], clean["copying"], clean["mismatches"]) == ("match", True, 0)
    code, text = cli(running, "--fail")
    assert (code, text.splitlines()[-1]) == (0, f"domain and legacy answer alike ({clean['compared']} requests compared)")
    backends.plant(*PLANTED)
    traffic(running.port, *paths)
    document = counted(running, len(paths) * 12)
    assert set(PLANTED.values()) <= named(document)
    assert document["verdict"] == "mismatch"
    row = next(row for row in document["places"] if row["path"] == "$.cameras[*].fps")
    assert (row["differed"], row["compared"]) == (6, 12)
    assert row["samples"][0]["where"].startswith("$.cameras[0].fps")
    assert row["samples"][0]["domain"] == f'"{row["samples"][0]["legacy"]}"'
    one = found(running, "?limit=1&endpoint=GET%20/api/v1/cameras")
    assert [(place["endpoint"], one["mismatches"]) for place in one["places"]] == [
        ("GET /api/v1/cameras", document["mismatches"])
    ]
    code, text = cli(running, "--fail")
    assert code == 1
    for endpoint, path, _ in PLANTED.values():
        assert endpoint in text
        assert path in text
    assert json.loads(cli(running, "--json")[1])["mismatches"] == document["mismatches"]
    assert cli(running)[0] == 0


def test_nothing_is_lost_by_a_reload_and_only_other_rules_begin_anew(
    running: Splitter, backends: Backends, tmp_path: Path
) -> None:
    backends.plant("stringify=fps")
    traffic(running.port, "/api/v1/cameras")
    before = counted(running, 6)
    gone = running.workers
    config = tmp_path / "splitter.yaml"
    config.write_text(f"{MIRROR}limits: {{headers: 90}}\n")
    wait_until(lambda: replaced(running, gone))
    traffic(running.port, "/api/v1/cameras")
    after = counted(running, 12)
    assert after["since"] == before["since"]
    (row,) = (row for row in after["places"] if row["path"] == "$.cameras[*].fps")
    assert (row["differed"], row["compared"]) == (12, 12)
    gone = running.workers
    config.write_text(MIRROR.replace('"$.requests"', '"$.requests", "$..fps"'))
    wait_until(lambda: replaced(running, gone))
    traffic(running.port, "/api/v1/cameras")
    wait_until(lambda: found(running)["compared"] == 6)
    assert found(running)["verdict"] == "match", "what is ruled out now is not shown any more"


def test_what_a_killed_worker_had_told_is_kept(running: Splitter, backends: Backends) -> None:
    backends.plant("stringify=fps")
    traffic(running.port, "/api/v1/cameras", times=10)
    assert counted(running, 10)["outcomes"]["mismatch"] == 10
    gone = running.workers
    for pid in gone:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: replaced(running, gone))
    assert found(running)["outcomes"]["mismatch"] == 10
    traffic(running.port, "/api/v1/cameras", times=5)
    assert counted(running, 15)["outcomes"]["mismatch"] == 15


def test_a_rollback_ends_it_at_once_and_keeps_what_was_found(running: Splitter, backends: Backends) -> None:
    traffic(running.port, "/api/v1/cameras")
    counted(running, 6)
    headers = {"Content-Type": "application/json"}
    assert ask(running.admin_port, "/api/v1/rollout/rollback", "POST", b"{}", headers)[0] == 200
    asked_before = json.loads(ask(backends.domain, "/health")[2])["requests"]
    traffic(running.port, "/api/v1/cameras")
    document = counted(running, 6)
    assert (document["copying"], document["off_because"], document["compared"]) == (False, "rolled back", 6)
    status = json.loads(ask(running.admin_port, "/api/v1/rollout")[2])
    assert status["mirror"] == {"percent": 100, "to": "domain", "copying": False}
    asked_after = json.loads(ask(backends.domain, "/health")[2])["requests"]
    assert asked_after - asked_before <= 3, "probes, and these two questions"
    assert cli(running)[1].splitlines()[0] == "nothing is copied now: rolled back"
