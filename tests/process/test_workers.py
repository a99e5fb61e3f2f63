"""Supervisor and workers: who dies, who follows, and what clients see of it."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.process.load import load
from tests.process.recording import Recording, recording
from tests.process.running import ROOT, Splitter, alive, ask, splitter, wait_until
from tools.ports import free_port

QUIET = "access_log: {sample: 0}\n"
HALF = QUIET + "rollout: {percent: 50}\n"


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[tuple[Recording, Recording]]:
    with recording(tmp_path, "legacy") as legacy, recording(tmp_path, "domain") as domain:
        yield legacy, domain


def urls(sides: tuple[Recording, Recording]) -> dict[str, str]:
    return {
        "LEGACY_URL": f"http://127.0.0.1:{sides[0].port}",
        "DOMAIN_URL": f"http://127.0.0.1:{sides[1].port}",
        "SPLITTER_WORKERS": "2",
    }


def same_place(running: Splitter) -> dict[str, str]:
    return {
        "SPLITTER_LISTEN": f"127.0.0.1:{running.port}",
        "SPLITTER_ADMIN_LISTEN": f"127.0.0.1:{running.admin_port}",
    }


async def until(check: object, timeout_s: float = 15) -> None:
    """Wait without keeping the load from running."""
    assert callable(check)
    async with asyncio.timeout(timeout_s):
        while not await asyncio.to_thread(check):
            await asyncio.sleep(0.02)


def replaced(running: Splitter, gone: set[int], count: int = 2) -> bool:
    return len(running.workers) == count and not running.workers & gone


async def test_kill_9_of_a_worker_costs_what_it_had_in_flight(tmp_path: Path, sides: tuple[Recording, Recording]) -> None:
    with splitter(tmp_path, HALF, **urls(sides)) as running:
        async with load(running.port, kept=8, new=4) as result:
            seen = 0.0
            for _ in range(2):
                await result.more(200)
                victim = min(running.workers)
                await asyncio.sleep(0.3)  # its totals are told four times a second
                before = len(result.answers)
                os.kill(victim, signal.SIGKILL)
                await until(lambda victim=victim: replaced(running, {victim}))
                await result.more(200)
                counted = await asyncio.to_thread(running.metric, "splitter_requests_total")
                assert counted >= max(seen, before - 50), "totals of the dead are kept, and never go down"
                seen = counted
        assert len(result.failures) <= 2 * 12, "at most one for each connection and kill"
        assert result.refused == 0, "the socket outlives its worker"
        assert set(result.statuses) == {200}
        died = running.events("worker_died")
        assert [line["why"] for line in died] == ["SIGKILL", "SIGKILL"]
        assert running.metric('splitter_worker_deaths_total{cause="exited"}') == 2


async def test_a_worker_told_to_end_is_followed_without_a_loss(tmp_path: Path, sides: tuple[Recording, Recording]) -> None:
    with splitter(tmp_path, HALF, **urls(sides)) as running:
        async with load(running.port) as result:
            await result.more(200)
            victim = min(running.workers)
            os.kill(victim, signal.SIGTERM)
            await until(lambda: replaced(running, {victim}))
            await result.more(200)
        assert (result.failures, result.refused) == ([], 0)


async def test_a_stopped_worker_does_not_make_a_rollback_a_lie(tmp_path: Path, sides: tuple[Recording, Recording]) -> None:
    with splitter(tmp_path, HALF, **urls(sides)) as running:
        async with load(running.port, kept=12, new=0) as result:
            await result.more(300)
            victim = min(running.workers)
            os.kill(victim, signal.SIGSTOP)
            running.process.send_signal(signal.SIGUSR1)
            await until(lambda: running.events("rolled_back"))
            answered_s = time.monotonic()
            os.kill(victim, signal.SIGCONT) if alive(victim) else None
            assert not alive(victim)
            (rolled_back,) = running.events("rolled_back")
            assert 1 <= float(str(rolled_back["took_s"])) < 8
            assert len(running.workers) == 2, "replaced before the answer"
            await result.more(300)
            await asyncio.sleep(0.1)
        late = [time_s for time_s in sides[1].arrivals if time_s > answered_s]
        assert late == [], "nothing arrives at domain after the answer"
        assert len([time_s for time_s in sides[0].arrivals if time_s > answered_s]) >= 290
        assert running.metric('splitter_worker_deaths_total{cause="no_ack"}') == 1
        assert ask(running.port)[1]["x-splitter-reason"] == "rollback"


async def test_a_rollback_under_load_is_true_at_once(tmp_path: Path, sides: tuple[Recording, Recording]) -> None:
    with splitter(tmp_path, HALF, **urls(sides)) as running:
        async with load(running.port) as result:
            await result.more(300)
            running.process.send_signal(signal.SIGUSR1)
            await until(lambda: running.events("rolled_back"))
            answered_s = time.monotonic()
            await result.more(300)
            await asyncio.sleep(0.1)
        assert [time_s for time_s in sides[1].arrivals if time_s > answered_s] == []
        assert {answer.backend for answer in result.answers if answer.began_s > answered_s} == {"legacy"}
        assert (result.failures, result.refused, set(result.statuses)) == ([], 0, {200})


def test_a_stuck_worker_is_replaced(tmp_path: Path, sides: tuple[Recording, Recording]) -> None:
    with splitter(tmp_path, HALF, **urls(sides)) as running:
        victim = min(running.workers)
        os.kill(victim, signal.SIGSTOP)
        wait_until(lambda: replaced(running, {victim}))
        assert running.events("worker_stuck")[0]["pid"] == victim
        assert running.metric('splitter_worker_deaths_total{cause="stuck"}') == 1


async def test_the_supervisor_is_killed_and_another_takes_over(tmp_path: Path, sides: tuple[Recording, Recording]) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with ExitStack() as stack:
        running = stack.enter_context(splitter(first, HALF, **urls(sides)))
        orphans = running.workers
        async with load(running.port) as result:
            await result.more(200)
            running.process.kill()
            running.process.wait()
            await result.more(300)
            assert all(alive(pid) for pid in orphans), "traffic goes on"
            again = urls(sides) | same_place(running)
            successor = await asyncio.to_thread(lambda: stack.enter_context(splitter(second, HALF, **again)))
            await until(lambda: not any(alive(pid) for pid in orphans))
            await result.more(300)
            successor.process.send_signal(signal.SIGUSR1)
            await until(lambda: successor.events("rolled_back"))
            answered_s = time.monotonic()
            await result.more(200)
            await asyncio.sleep(0.1)
        assert (result.failures, result.refused, set(result.statuses)) == ([], 0, {200})
        assert [time_s for time_s in sides[1].arrivals if time_s > answered_s] == []
        assert len(successor.events("worker_adopted")) == 2
        assert len(successor.workers) == 2
        assert successor.stop() == 0


def test_an_orphan_that_does_not_answer_is_ended(tmp_path: Path, sides: tuple[Recording, Recording]) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with splitter(first, HALF, **urls(sides)) as running:
        orphans = running.workers
        running.process.kill()
        running.process.wait()
        os.kill(min(orphans), signal.SIGSTOP)
        with splitter(second, HALF, **urls(sides), **same_place(running)) as successor:
            assert not alive(min(orphans))
            assert successor.events("orphan_stuck")[0]["pid"] == min(orphans)
            assert {ask(running.port)[0] for _ in range(20)} == {200}
            wait_until(lambda: not alive(max(orphans)))


def test_an_orphan_ends_when_it_is_told_to(tmp_path: Path, sides: tuple[Recording, Recording]) -> None:
    with splitter(tmp_path, HALF, **urls(sides)) as running:
        orphans = running.workers
        running.process.kill()
        running.process.wait()
        assert ask(running.port)[0] == 200
        for pid in orphans:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not any(alive(pid) for pid in orphans))
        with pytest.raises(ConnectionRefusedError):
            ask(running.port)


def test_two_living_splitters_do_not_share_a_port(tmp_path: Path, sides: tuple[Recording, Recording]) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with splitter(tmp_path, HALF, **urls(sides)) as running:
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


async def test_reloads_under_load_lose_nothing(tmp_path: Path, sides: tuple[Recording, Recording]) -> None:
    with splitter(tmp_path, HALF, **urls(sides)) as running:
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


async def test_the_number_of_workers_changes_under_load(tmp_path: Path, sides: tuple[Recording, Recording]) -> None:
    variables = urls(sides)
    del variables["SPLITTER_WORKERS"]
    with splitter(tmp_path, QUIET + "listen: {workers: 2}\n", **variables) as running:
        file = tmp_path / "splitter.yaml"
        async with load(running.port, kept=4, new=6) as result:
            for count in (1, 3):
                before = running.workers
                file.write_text(QUIET + f"listen: {{workers: {count}}}\n")
                await until(lambda before=before, count=count: replaced(running, before, count))
                await result.more(300)
        assert (result.failures, result.refused, set(result.statuses)) == ([], 0, {200})


def test_a_generation_that_cannot_start_leaves_the_old_one(tmp_path: Path, sides: tuple[Recording, Recording]) -> None:
    variables = urls(sides)
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


def test_what_waits_for_a_restart_is_said(tmp_path: Path, sides: tuple[Recording, Recording]) -> None:
    with splitter(tmp_path, HALF, **urls(sides)) as running:
        before = running.workers
        (tmp_path / "splitter.yaml").write_text(HALF.replace("50", "0") + "state: {url: 'file:elsewhere.json'}\n")
        wait_until(lambda: "restart" in ask(running.admin_port, "/api/v1/monitoring/health")[2].decode())
        assert b"state" in ask(running.admin_port, "/api/v1/monitoring/health")[2]
        assert running.events("restart_needed")[0]["what"] == ["state"]
        assert ask(running.port)[1]["x-splitter-backend"] == "legacy", "the rest is in force"
        assert running.workers == before
        (tmp_path / "splitter.yaml").write_text(HALF)
        wait_until(lambda: b"restart" not in ask(running.admin_port, "/api/v1/monitoring/health")[2])


async def test_sigterm_under_load_answers_everybody_it_accepted(tmp_path: Path, sides: tuple[Recording, Recording]) -> None:
    with splitter(tmp_path, HALF, **urls(sides)) as running:
        async with load(running.port, kept=8, new=8) as result:
            await result.more(300)
            running.process.send_signal(signal.SIGTERM)
            await until(lambda: running.process.poll() is not None)
        assert running.process.returncode == 0
        assert set(result.statuses) == {200}
        # Between the last look at the queue and its end a connection may still slip in; without that look it is dozens.
        assert len(result.failures) <= 2, result.failures
        assert running.events("stopped")[0]["complete"] is True


def test_ctrl_c_reaches_the_whole_group_and_ends_it_well(tmp_path: Path, sides: tuple[Recording, Recording]) -> None:
    with splitter(tmp_path, HALF, **urls(sides)) as running:
        workers = running.workers
        assert ask(running.port)[0] == 200
        os.killpg(running.process.pid, signal.SIGINT)
        assert running.process.wait(10) == 0
        assert not any(alive(pid) for pid in workers)
        assert "Traceback" not in running.log.read_text()


async def test_both_planes_in_one_process(tmp_path: Path, sides: tuple[Recording, Recording]) -> None:
    with splitter(tmp_path, HALF, **(urls(sides) | {"SPLITTER_WORKERS": "0"})) as running:
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


def test_a_unix_socket_is_shared_by_all_workers(tmp_path: Path, sides: tuple[Recording, Recording]) -> None:
    path = tmp_path / "splitter.sock"
    with splitter(tmp_path, HALF, **(urls(sides) | {"SPLITTER_LISTEN": f"unix:{path}"})) as running:
        victim = min(running.workers)
        os.kill(victim, signal.SIGKILL)
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(str(path))
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-User-Id: u\r\nConnection: close\r\n\r\n")
                assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
        wait_until(lambda: replaced(running, {victim}))


def test_lines_of_several_workers_stay_whole_in_a_pipe(tmp_path: Path, sides: tuple[Recording, Recording]) -> None:
    port = free_port()
    environment = urls(sides) | {
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
