"""What was decided survives, and what goes wrong with its place ends in a known state that health names."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from splitter.state import GLOBAL, Record, from_json, set_percent, to_json
from tests.external.redis_server import redis_server
from tests.process.running import Splitter, ask, backend, says, splitter, wait_until

TEN = "rollout: {percent: 10}\naccess_log: {sample: 0}\nlisten: {workers: 0}\n"
WORKERS = TEN.replace("workers: 0", "workers: 2")
FULL_BYTES = 64 * 1024
"""Where a file may grow no more: beyond the log, before the end of a record with many events."""

EVERYBODY = set_percent(Record(), GLOBAL, 100, at_s=1.0, who="alice", why="all of them")


@pytest.fixture
def urls() -> Iterator[dict[str, str]]:
    with backend(says(b"legacy")) as legacy, backend(says(b"domain")) as domain:
        yield {"LEGACY_URL": f"http://127.0.0.1:{legacy}", "DOMAIN_URL": f"http://127.0.0.1:{domain}"}


def status(running: Splitter) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ask(running.admin_port, "/api/v1/rollout")[2])
    return found


def problems(running: Splitter) -> list[str]:
    found: list[str] = json.loads(ask(running.admin_port, "/api/v1/monitoring/health")[2])["problems"]
    return found


def side(running: Splitter) -> tuple[str, str]:
    _, headers, body = ask(running.port)
    return body.decode(), headers["x-splitter-reason"]


def roll_back(running: Splitter) -> None:
    running.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: side(running) == ("legacy", "rollback"), 5)


def kept(folder: Path, record: Record) -> Path:
    """A state file from before."""
    file = folder / "state" / "rollout.json"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(to_json(record))
    return file


def saved(folder: Path) -> Record:
    return from_json((folder / "state" / "rollout.json").read_bytes())


def test_a_rollback_survives_a_restart_and_a_kill(tmp_path: Path, urls: dict[str, str]) -> None:
    kept(tmp_path, EVERYBODY)
    with splitter(tmp_path, WORKERS, **urls) as running:
        assert side(running) == ("domain", "bucket")
        assert status(running)["percent"]["who"] == "alice"
        roll_back(running)
        wait_until(lambda: status(running)["store"]["saved"])
        assert problems(running) == []
        running.process.kill()
        running.process.wait()
    with splitter(tmp_path, WORKERS, **urls) as again:
        assert side(again) == ("legacy", "rollback")
        latch = status(again)["rolled_back"]
        assert (latch["value"], latch["from"], latch["who"], latch["why"]) == (True, "operator", "signal", "SIGUSR1")
        assert again.stop() == 0
    record = saved(tmp_path)
    assert [event.what for event in record.events] == ["percent", "config", "rollback"]
    assert record.overrides[GLOBAL].percent == 100, "what it was, for when somebody resumes"


def test_an_edit_while_it_was_stopped_replaces_what_was_set_at_run_time(tmp_path: Path, urls: dict[str, str]) -> None:
    kept(tmp_path, EVERYBODY)
    with splitter(tmp_path, TEN, **urls) as running:
        assert status(running)["percent"]["value"] == 100
    with splitter(tmp_path, "# a line more\n" + TEN, **urls) as running:
        assert status(running)["percent"]["value"] == 100
    with splitter(tmp_path, TEN, **urls, ROLLOUT_PERCENT="20") as running:
        assert status(running)["percent"] == {"value": 20, "from": "env:ROLLOUT_PERCENT"}
        (tmp_path / "splitter.yaml").write_text(TEN.replace("10", "30"))
    with splitter(tmp_path, TEN, **urls) as running:
        assert status(running)["percent"] == {"value": 10, "from": "file:1"}, "the variable was taken away"


def test_a_disk_that_is_full_keeps_no_rollback_away(tmp_path: Path, urls: dict[str, str]) -> None:
    record = EVERYBODY
    for number in range(200):
        record = record.noted(float(number), "alice", "percent", "x" * 500, "", "")
    kept(tmp_path, record)
    with splitter(tmp_path, WORKERS, **urls) as running:
        before = saved(tmp_path)
        pid = running.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (FULL_BYTES, limits[1]))
        roll_back(running)
        wait_until(lambda: len(problems(running)) == 2)
        down, unsaved = problems(running)
        assert down.startswith("the state store is down: file:state/rollout.json: File too large")
        assert unsaved.startswith("the rollback in force is not saved yet")
        assert b'"status": "degraded"' in ask(running.port, "/api/v1/monitoring/health")[2]
        assert b"rollout.json" not in ask(running.port, "/api/v1/monitoring/health")[2]
        assert saved(tmp_path) == before
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        wait_until(lambda: problems(running) == [])
        assert saved(tmp_path).latch is not None


@pytest.mark.parametrize("place", ["/proc/splitter/rollout.json", "/dev/null/rollout.json"])
def test_a_place_that_can_not_be_written_or_not_even_read(tmp_path: Path, urls: dict[str, str], place: str) -> None:
    with splitter(tmp_path, TEN.replace("10", "100"), **urls, SPLITTER_STATE_URL=f"file:{place}") as running:
        found = problems(running)
        assert found[0].startswith(f"the state store is down: file:{place}: ")
        if place.startswith("/dev/null"):
            assert found[1].startswith("nothing goes to domain until the state can be read")
            assert side(running) == ("legacy", "rollback")
        else:
            assert side(running) == ("domain", "bucket"), "there was nothing to read, so nothing is unknown"
        roll_back(running)
        assert "the rollback in force is not saved yet" in " ".join(problems(running))


@pytest.mark.parametrize("text", [b"", to_json(EVERYBODY)[:300], b"percent: 100\n"])
def test_a_file_that_can_not_be_understood_means_legacy_only(tmp_path: Path, urls: dict[str, str], text: bytes) -> None:
    file = kept(tmp_path, EVERYBODY)
    file.write_bytes(text)
    for start in (1, 2):
        with splitter(tmp_path, TEN.replace("10", "100"), **urls) as running:
            assert side(running) == ("legacy", "rollback")
            (problem,) = problems(running)
            assert problem.startswith("the state was lost, so nothing goes to domain until somebody resumes: file:state/")
            (aside,) = file.parent.glob("rollout.json.unreadable-*")
            assert aside.name in problem, f"start {start}"
            assert aside.read_bytes() == text
            assert b"unreadable" not in ask(running.port, "/api/v1/monitoring/health")[2]


def test_redis_comes_later_than_the_splitter(tmp_path: Path, urls: dict[str, str]) -> None:
    with redis_server(tmp_path) as redis:
        redis.kill()
        with splitter(tmp_path, TEN.replace("10", "100"), **urls, SPLITTER_STATE_URL=redis.url) as running:
            assert side(running) == ("legacy", "rollback")
            assert status(running)["rolled_back"]["from"] == "store"
            assert "until the state can be read" in " ".join(problems(running))
            assert ask(running.port, "/api/v1/monitoring/health/ready")[0] == 200, "legacy serves everybody meanwhile"
            redis.start()
            wait_until(lambda: side(running) == ("domain", "bucket"))
            wait_until(lambda: problems(running) == [])


def test_redis_that_freezes_keeps_no_rollback_away(tmp_path: Path, urls: dict[str, str]) -> None:
    with redis_server(tmp_path) as redis:
        with splitter(tmp_path, TEN.replace("10", "100"), **urls, SPLITTER_STATE_URL=redis.url) as running:
            assert side(running) == ("domain", "bucket")
            redis.freeze()
            roll_back(running)
            wait_until(lambda: "did not answer within 0.25 s" in " ".join(problems(running)))
            redis.thaw()
            wait_until(lambda: problems(running) == [])
        with splitter(tmp_path, TEN.replace("10", "100"), **urls, SPLITTER_STATE_URL=redis.url) as again:
            assert side(again) == ("legacy", "rollback")


def test_two_splitters_on_one_file_agree(tmp_path: Path, urls: dict[str, str]) -> None:
    """As while one takes over from the other."""
    url = f"file:{tmp_path}/state/rollout.json"
    folders = [tmp_path / name for name in ("a", "b")]
    with contextlib.ExitStack() as stack:
        for folder in folders:
            folder.mkdir()
        one, other = (stack.enter_context(splitter(f, TEN, **urls, SPLITTER_STATE_URL=url)) for f in folders)
        roll_back(one)
        wait_until(lambda: side(other) == ("legacy", "rollback"))
        roll_back(other)
        wait_until(lambda: status(one)["version"] == status(other)["version"] == 3)
        assert problems(one) == problems(other) == []
