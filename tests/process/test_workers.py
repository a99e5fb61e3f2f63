"""Workers die, hang and leave: who follows, and what clients see of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

from tests.process.recording import HALF, Recorders, urls
from tests.process.running import ROOT, alive, ask, replaced, splitter, until, wait_until
from tests.process.traffic import load
from tools.ports import free_port


async def test_kill_9_of_a_worker_costs_what_it_had_in_flight(tmp_path: Path, recorders: Recorders) -> None:
    with splitter(tmp_path, HALF, **urls(recorders)) as running:
        async with load(running.port, kept=8, new=4) as result:
            seen, answered = 0.0, 0
            for _ in range(2):
                await result.more(200)
                victim = min(running.workers)
                told = len(result.answers)
                await asyncio.sleep(1)  # totals are told four times a second
                os.kill(victim, signal.SIGKILL)
                await until(partial(replaced, running, {victim}))
                await result.more(200)
                counted = await asyncio.to_thread(running.metric, "splitter_requests_total")
                # What the kill before cost, a quarter of a second of its worker, stays lost: this one is judged by itself.
                # `seen` may have had in it what was under way then, one request of each client.
                assert counted >= seen + max(0, told - answered - 12), "totals of the dead are kept, and never go down"
                seen, answered = counted, len(result.answers)
        assert len(result.failures) <= 2 * 12, "at most one for each connection and kill"
        assert result.refused == 0, "the socket outlives its worker"
        assert set(result.statuses) == {200}
        died = running.events("worker_died")
        assert [line["why"] for line in died] == ["SIGKILL", "SIGKILL"]
        assert running.metric('splitter_worker_restarts_total{cause="exited"}') == 2


async def test_a_worker_told_to_end_is_followed_without_a_loss(tmp_path: Path, recorders: Recorders) -> None:
    with splitter(tmp_path, HALF, **urls(recorders)) as running:
        async with load(running.port) as result:
            await result.more(200)
            victim = min(running.workers)
            os.kill(victim, signal.SIGTERM)
            await until(lambda: replaced(running, {victim}))
            await result.more(200)
        assert (result.failures, result.refused) == ([], 0)


async def test_a_stopped_worker_does_not_make_a_rollback_a_lie(tmp_path: Path, recorders: Recorders) -> None:
    with splitter(tmp_path, HALF, **urls(recorders)) as running:
        async with load(running.port, kept=12, new=0) as result:
            await result.more(300)
            victim = min(running.workers)
            os.kill(victim, signal.SIGSTOP)
            asked_s = time.monotonic()
            running.process.send_signal(signal.SIGUSR1)
            await until(lambda: running.events("rolled_back"))
            answered_s = time.monotonic()
            os.kill(victim, signal.SIGCONT) if alive(victim) else None
            assert not alive(victim)
            assert 1 <= answered_s - asked_s < 10
            assert running.events("rolled_back")[0]["replaced"] == 1
            assert len(running.workers) == 2, "replaced before the answer"
            await result.more(300)
            await asyncio.sleep(0.1)
        late = [time_s for time_s in recorders[1].arrivals if time_s > answered_s]
        assert late == [], "nothing arrives at domain after the answer"
        assert len([time_s for time_s in recorders[0].arrivals if time_s > answered_s]) >= 290
        assert running.metric('splitter_worker_restarts_total{cause="no_ack"}') == 1
        assert ask(running.port)[1]["x-splitter-reason"] == "rollback"


async def test_a_rollback_under_load_is_true_at_once(tmp_path: Path, recorders: Recorders) -> None:
    with splitter(tmp_path, HALF, **urls(recorders)) as running:
        async with load(running.port) as result:
            await result.more(300)
            running.process.send_signal(signal.SIGUSR1)
            await until(lambda: running.events("rolled_back"))
            answered_s = time.monotonic()
            await result.more(300)
            await asyncio.sleep(0.1)
        assert [time_s for time_s in recorders[1].arrivals if time_s > answered_s] == []
        assert {answer.backend for answer in result.answers if answer.began_s > answered_s} == {"legacy"}
        assert (result.failures, result.refused, set(result.statuses)) == ([], 0, {200})


def test_a_stuck_worker_is_replaced(tmp_path: Path, recorders: Recorders) -> None:
    with splitter(tmp_path, HALF, **urls(recorders)) as running:
        victim = min(running.workers)
        os.kill(victim, signal.SIGSTOP)
        wait_until(lambda: replaced(running, {victim}))
        assert running.events("worker_stuck")[0]["pid"] == victim
        assert running.metric('splitter_worker_restarts_total{cause="stuck"}') == 1


def test_a_unix_socket_is_shared_by_all_workers(tmp_path: Path, recorders: Recorders) -> None:
    path = tmp_path / "splitter.sock"
    with splitter(tmp_path, HALF, **(urls(recorders) | {"SPLITTER_LISTEN": f"unix:{path}"})) as running:
        victim = min(running.workers)
        os.kill(victim, signal.SIGKILL)
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(str(path))
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-User-Id: u\r\nConnection: close\r\n\r\n")
                assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
        wait_until(lambda: replaced(running, {victim}))


def test_lines_of_several_workers_stay_whole_in_a_pipe(tmp_path: Path, recorders: Recorders) -> None:
    port = free_port()
    environment = urls(recorders) | {
        "PYTHONPATH": str(ROOT),
        "SPLITTER_LISTEN": f"127.0.0.1:{port}",
        "SPLITTER_ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
    }
    command = [sys.executable, "-m", "splitter", "run"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=tmp_path) as process:
        assert process.stdout is not None
        lines: list[bytes] = []
        reader = threading.Thread(target=lambda out=process.stdout: lines.extend(out))
        reader.start()
        wait_until(lambda: any(b'"serving"' in line for line in lines))

        def client(name: int) -> None:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                file = connection.makefile("rb")
                for number in range(100):
                    path = b"/%d/%d/%b" % (name, number, b"x" * (number * 97 % 9000))
                    connection.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
                    while file.readline() != b"\r\n":
                        pass
                    file.read(6)

        clients = [threading.Thread(target=client, args=(name,)) for name in range(6)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join(20)
        process.terminate()
        assert process.wait(10) == 0
        reader.join(10)
    requests = [line for line in map(json.loads, lines) if line["event"] == "request"]
    assert len(requests) == 600
    assert len({tuple(str(line["path"]).split("/")[1:3]) for line in requests}) == 600
