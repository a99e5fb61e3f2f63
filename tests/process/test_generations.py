"""Reloads and stops: old workers end, new ones begin, and no client notices."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import time
from functools import partial
from pathlib import Path

from splitter.supervision.holders import listening_inodes
from tests.process.recording import HALF, QUIET, Recorders, urls
from tests.process.running import Splitter, alive, ask, replaced, splitter, until, wait_until
from tests.process.traffic import load


async def test_reloads_under_load_lose_nothing(tmp_path: Path, recorders: Recorders) -> None:
    with splitter(tmp_path, HALF, **urls(recorders)) as running:
        file = tmp_path / "splitter.yaml"
        async with load(running.port) as result:
            await result.more(200)
            before = running.workers
            file.write_text(HALF.replace("50", "60"))
            await until(lambda: running.events("reloaded"))
            assert running.workers == before, "a percent needs no new processes"
            await result.more(100)
            file.write_text(HALF + "limits: {keepalive_timeout: 20s}\n")
            await until(lambda: replaced(running, before))
            await result.more(200)
            before = running.workers
            running.process.send_signal(signal.SIGHUP)
            await until(lambda: len(running.events("reloaded")) == 3)
            assert running.workers == before, "nothing has changed"
        assert (result.failures, result.refused, set(result.statuses)) == ([], 0, {200})
        assert [line["new_workers"] for line in running.events("reloaded")] == [False, True, False]


async def test_the_number_of_workers_changes_under_load(tmp_path: Path, recorders: Recorders) -> None:
    variables = urls(recorders)
    del variables["SPLITTER_WORKERS"]
    with splitter(tmp_path, QUIET + "listen: {workers: 2}\n", **variables) as running:
        file = tmp_path / "splitter.yaml"
        async with load(running.port, kept=4, new=6) as result:
            for count in (1, 3):
                before = running.workers
                file.write_text(QUIET + f"listen: {{workers: {count}}}\n")
                await until(partial(replaced, running, before, count))
                await result.more(300)
                assert set(nonblocking(running)) == {True}, "or a worker would wait in accept"
        assert (result.failures, result.refused, set(result.statuses)) == ([], 0, {200})


def nonblocking(running: Splitter) -> list[bool]:
    """Of each listening socket of the supervisor, whether it does not block: true for all who share it."""
    inodes = {f"socket:[{inode}]" for inode in listening_inodes(socket.AF_INET, ("127.0.0.1", running.port))}
    process = Path(f"/proc/{running.process.pid}")
    fds = [link.name for link in (process / "fd").iterdir() if str(link.readlink()) in inodes]
    flags = [(process / "fdinfo" / fd).read_text().partition("flags:")[2].split()[0] for fd in fds]
    return [bool(int(octal, 8) & os.O_NONBLOCK) for octal in flags]


def test_a_generation_that_cannot_start_leaves_the_old_one(tmp_path: Path, recorders: Recorders) -> None:
    variables = urls(recorders)
    del variables["SPLITTER_WORKERS"]
    with splitter(tmp_path, QUIET + "listen: {workers: 1}\n", **variables) as running:
        before = running.workers
        open_files = len(list(Path(f"/proc/{running.process.pid}/fd").iterdir()))
        hard = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (open_files + 15, hard))
        (tmp_path / "splitter.yaml").write_text(QUIET + "listen: {workers: 40}\n")

        def health() -> dict[str, object]:
            found: dict[str, object] = json.loads(ask(running.admin_port, "/api/v1/monitoring/health")[2])
            return found

        wait_until(lambda: "Too many open files" in str(health()["problems"]))
        assert health()["status"] == "degraded"
        assert running.workers == before
        assert ask(running.port)[0] == 200
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        (tmp_path / "splitter.yaml").write_text(QUIET + "listen: {workers: 2, port: 1}\n")
        wait_until(lambda: replaced(running, before))
        assert health()["status"] == "ok", "SPLITTER_LISTEN says where to listen"


def test_what_waits_for_a_restart_is_said(tmp_path: Path, recorders: Recorders) -> None:
    with splitter(tmp_path, HALF, **urls(recorders)) as running:
        before = running.workers
        (tmp_path / "splitter.yaml").write_text(HALF.replace("50", "0") + "state: {url: 'file:elsewhere.json'}\n")
        wait_until(lambda: "restart" in ask(running.admin_port, "/api/v1/monitoring/health")[2].decode())
        assert b"state" in ask(running.admin_port, "/api/v1/monitoring/health")[2]
        assert running.events("restart_needed")[0]["what"] == ["state"]
        assert ask(running.port)[1]["x-splitter-backend"] == "legacy", "the rest is in force"
        assert running.workers == before
        (tmp_path / "splitter.yaml").write_text(HALF)
        wait_until(lambda: b"restart" not in ask(running.admin_port, "/api/v1/monitoring/health")[2])


async def test_sigterm_under_load_answers_everybody_it_accepted(tmp_path: Path, recorders: Recorders) -> None:
    with splitter(tmp_path, HALF, **urls(recorders)) as running:
        async with load(running.port, kept=8, new=8) as result:
            await result.more(300)
            running.process.send_signal(signal.SIGTERM)
            await until(lambda: running.process.poll() is not None)
        assert running.process.returncode == 0
        assert set(result.statuses) == {200}
        # Between the last look at the queue and its end a connection may still slip in; without that look it is dozens.
        assert len(result.failures) <= 2, result.failures
        assert running.events("stopped")[0]["complete"] is True


def test_ctrl_c_reaches_the_whole_group_and_ends_it_well(tmp_path: Path, recorders: Recorders) -> None:
    with splitter(tmp_path, HALF, **urls(recorders)) as running:
        workers = running.workers
        assert ask(running.port)[0] == 200
        os.killpg(running.process.pid, signal.SIGINT)
        assert running.process.wait(10) == 0
        assert not any(alive(pid) for pid in workers)
        assert "Traceback" not in running.log.read_text()


async def test_both_planes_in_one_process(tmp_path: Path, recorders: Recorders) -> None:
    with splitter(tmp_path, HALF, **(urls(recorders) | {"SPLITTER_WORKERS": "0"})) as running:
        async with load(running.port) as result:
            await result.more(200)
            assert running.workers == set()
            (tmp_path / "splitter.yaml").write_text(HALF + "limits: {keepalive_timeout: 20s}\n")
            await until(lambda: running.events("reloaded"))
            await result.more(200)
            running.process.send_signal(signal.SIGUSR1)
            await until(lambda: running.events("rolled_back"))
            answered_s = time.monotonic()
            await result.more(200)
            counted = await asyncio.to_thread(running.metric, "splitter_requests_total")
            assert counted >= 580
        assert (result.failures, result.refused, set(result.statuses)) == ([], 0, {200})
        assert {answer.backend for answer in result.answers if answer.began_s > answered_s} == {"legacy"}
        assert running.stop() == 0
