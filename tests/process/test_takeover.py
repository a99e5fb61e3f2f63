"""The supervisor is killed: its workers go on, and another takes their sockets over."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.process.recording import HALF, Recorders, urls
from tests.process.running import ROOT, alive, ask, same_place, splitter, until, wait_until
from tests.process.traffic import load
from tools.ports import free_port


async def test_the_supervisor_is_killed_and_another_takes_over(tmp_path: Path, recorders: Recorders) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with ExitStack() as stack:
        running = stack.enter_context(splitter(first, HALF, **urls(recorders)))
        orphans = running.workers
        async with load(running.port) as result:
            await result.more(200)
            running.process.kill()
            running.process.wait()
            await result.more(300)
            assert all(alive(pid) for pid in orphans), "traffic goes on"
            again = urls(recorders) | same_place(running)
            successor = await asyncio.to_thread(lambda: stack.enter_context(splitter(second, HALF, **again)))
            await until(lambda: not any(alive(pid) for pid in orphans))
            await result.more(300)
            successor.process.send_signal(signal.SIGUSR1)
            await until(lambda: successor.events("rolled_back"))
            answered_s = time.monotonic()
            await result.more(200)
            await asyncio.sleep(0.1)
        assert (result.failures, result.refused, set(result.statuses)) == ([], 0, {200})
        assert [time_s for time_s in recorders[1].arrivals if time_s > answered_s] == []
        assert len(successor.events("worker_adopted")) == 2
        assert len(successor.workers) == 2
        assert successor.stop() == 0


async def test_a_supervisor_leaves_and_the_next_one_costs_no_request(tmp_path: Path, recorders: Recorders) -> None:
    """And what was decided goes with it: the state file is where it was."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    state = {"SPLITTER_STATE_URL": f"file:{tmp_path}/state.json"}
    with ExitStack() as stack:
        running = stack.enter_context(splitter(first, HALF, **urls(recorders), **state))
        left_behind = running.workers
        async with load(running.port) as result:
            await result.more(100)
            running.process.send_signal(signal.SIGUSR1)
            running.process.send_signal(signal.SIGUSR2)
            assert await asyncio.to_thread(running.process.wait, 10) == 0
            assert running.events("left")
            rolled_back_s = time.monotonic()
            await result.more(200)
            assert all(alive(pid) for pid in left_behind)
            again = urls(recorders) | state | same_place(running)
            successor = await asyncio.to_thread(lambda: stack.enter_context(splitter(second, HALF, **again)))
            await until(lambda: not any(alive(pid) for pid in left_behind))
            await result.more(200)
        assert (result.failures, result.refused, set(result.statuses)) == ([], 0, {200})
        assert [time_s for time_s in recorders[1].arrivals if time_s > rolled_back_s] == []
        assert len(successor.workers) == 2


def test_without_workers_nobody_is_left_behind(tmp_path: Path, recorders: Recorders) -> None:
    with splitter(tmp_path, HALF, **urls(recorders) | {"SPLITTER_WORKERS": "0"}) as running:
        running.process.send_signal(signal.SIGUSR2)
        assert running.process.wait(10) == 0
        assert running.events("draining")
        with pytest.raises(ConnectionRefusedError):
            ask(running.port)


def test_an_orphan_that_does_not_answer_is_ended(tmp_path: Path, recorders: Recorders) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with splitter(first, HALF, **urls(recorders)) as running:
        orphans = running.workers
        running.process.kill()
        running.process.wait()
        os.kill(min(orphans), signal.SIGSTOP)
        with splitter(second, HALF, **urls(recorders), **same_place(running)) as successor:
            assert not alive(min(orphans))
            assert successor.events("orphan_stuck")[0]["pid"] == min(orphans)
            assert {ask(running.port)[0] for _ in range(20)} == {200}
            wait_until(lambda: not alive(max(orphans)))


def test_an_orphan_ends_when_it_is_told_to(tmp_path: Path, recorders: Recorders) -> None:
    with splitter(tmp_path, HALF, **urls(recorders)) as running:
        orphans = running.workers
        running.process.kill()
        running.process.wait()
        assert ask(running.port)[0] == 200
        for pid in orphans:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not any(alive(pid) for pid in orphans))
        with pytest.raises(ConnectionRefusedError):
            ask(running.port)


def test_two_living_splitters_do_not_share_a_port(tmp_path: Path, recorders: Recorders) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with splitter(tmp_path, HALF, **urls(recorders)) as running:
        before = running.workers
        for host in ("127.0.0.1", "localhost", "0.0.0.0"):
            environment = {
                "PYTHONPATH": str(ROOT),
                "SPLITTER_LISTEN": f"{host}:{running.port}",
                "SPLITTER_ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
            }
            done = subprocess.run(
                [sys.executable, "-m", "splitter", "run"],
                capture_output=True, text=True, timeout=20, cwd=other, env=environment, check=False,
            )  # fmt: skip
            assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
            assert f"{host}:{running.port} is in use" in done.stderr
        assert running.workers == before
        assert ask(running.port)[0] == 200


async def test_one_of_two_on_a_port_is_killed_and_taken_over(tmp_path: Path, recorders: Recorders) -> None:
    """With `listen.reuse_port` the other one is no obstacle, and is left alone."""
    folders = [tmp_path / name for name in ("one", "other", "again")]
    for folder in folders:
        folder.mkdir()
    config = HALF + "listen: {reuse_port: true}\n"
    with ExitStack() as stack:
        one = stack.enter_context(splitter(folders[0], config, **urls(recorders)))
        listen = {"SPLITTER_LISTEN": f"127.0.0.1:{one.port}", "SPLITTER_WORKERS": "1"}
        other = stack.enter_context(splitter(folders[1], config, **urls(recorders) | listen))
        orphans, neighbours = one.workers, other.workers
        async with load(one.port) as result:
            await result.more(200)
            one.process.kill()
            one.process.wait()
            await result.more(200)
            again = urls(recorders) | same_place(one)
            successor = await asyncio.to_thread(lambda: stack.enter_context(splitter(folders[2], config, **again)))
            await until(lambda: not any(alive(pid) for pid in orphans))
            await result.more(300)
            assert other.workers == neighbours
            for running in (successor, other):
                running.process.send_signal(signal.SIGUSR1)
                await until(partial(running.events, "rolled_back"))
            answered_s = time.monotonic()
            await result.more(200)
            await asyncio.sleep(0.1)
        assert (result.failures, result.refused, set(result.statuses)) == ([], 0, {200})
        assert [time_s for time_s in recorders[1].arrivals if time_s > answered_s] == []
        assert len(successor.events("worker_adopted")) == 2
        assert len(successor.workers) == 2
