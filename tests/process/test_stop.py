"""Stopping: one of two instances behind a port goes, and no request is lost."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop

from tests.process.running import Splitter, backend, says, splitter, wait_until
from tools.ports import free_port

RATE = 2000
"""Requests a second, half of them on kept connections, half on a new one each."""

KEPT = 50
SECONDS = 4.0
STOP_AT_S = 1.5
CONFIG = "access_log: {sample: 0}\nrollout: {percent: 0}\nlisten: {reuse_port: true}\n"


@dataclass
class Load:
    """What was asked and what became of it."""

    port: int
    answers: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0

    async def run(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        async with asyncio.TaskGroup() as clients:
            for number in range(KEPT):
                clients.create_task(self._kept(number / KEPT, end_s))
            started_s = time.monotonic()
            for count in range(int(RATE / 2 * seconds)):
                clients.create_task(self._new())
                await asyncio.sleep(max(0.0, started_s + count / (RATE / 2) - time.monotonic()))

    async def _kept(self, offset: float, end_s: float) -> None:
        pause_s = KEPT / (RATE / 2)
        await asyncio.sleep(offset * pause_s)
        streams = None
        while time.monotonic() < end_s:
            started_s = time.monotonic()
            try:
                if streams is None:
                    streams = await asyncio.open_connection("127.0.0.1", self.port)
                if not await self._ask(*streams, b""):
                    streams[1].close()
                    streams = None
            except (OSError, asyncio.IncompleteReadError) as error:
                self.answers[f"kept: {type(error).__name__}"] += 1
                streams = None
            await asyncio.sleep(max(0.0, started_s + pause_s - time.monotonic()))
        if streams is not None:
            streams[1].close()

    async def _new(self) -> None:
        try:
            streams = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                await self._ask(*streams, b"Connection: close\r\n")
            finally:
                streams[1].close()
        except (OSError, asyncio.IncompleteReadError) as error:
            self.answers[f"new: {type(error).__name__}"] += 1

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, field: bytes) -> bool:
        """Whether the connection may be used again."""
        started_s = time.monotonic()
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n" % field)
        head = await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(2) == b"ok"
        self.answers[head.split(b"\r\n")[0].decode()] += 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - started_s)
        return b"Connection: close\r\n" not in head


def two_instances(stack: ExitStack, folder: Path, port: int, backend_port: int) -> list[Splitter]:
    found = []
    for name in ("one", "two"):
        (folder / name).mkdir()
        urls = {"LEGACY_URL": f"http://127.0.0.1:{backend_port}", "DOMAIN_URL": f"http://127.0.0.1:{backend_port}"}
        found.append(stack.enter_context(splitter(folder / name, CONFIG, SPLITTER_LISTEN=f"127.0.0.1:{port}", **urls)))
    return found


@pytest.mark.parametrize("stopped", [0, 1])
def test_one_of_two_instances_stops_and_nothing_is_lost(tmp_path: Path, stopped: int) -> None:
    with ExitStack() as stack:
        backend_port = stack.enter_context(backend(says(b"ok")))
        port = free_port()
        instances = two_instances(stack, tmp_path, port, backend_port)
        load = Load(port)

        async def stop() -> None:
            """As on a machine that has no time for it just then: clients wait in its queue, requests in its sockets."""
            process = instances[stopped].process
            await asyncio.sleep(STOP_AT_S)
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)

        async def scenario() -> None:
            async with asyncio.TaskGroup() as both:
                both.create_task(stop())
                both.create_task(load.run(SECONDS))

        uvloop.run(scenario())
        assert set(load.answers) == {"HTTP/1.1 200 OK"}, load.answers
        assert load.answers["HTTP/1.1 200 OK"] > RATE * SECONDS * 0.6, "the load was too small to show anything"
        assert instances[stopped].process.wait(10) == 0
        assert instances[1 - stopped].process.poll() is None


def test_a_client_that_is_silent_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    with backend(says(b"ok")) as port:
        urls = {"LEGACY_URL": f"http://127.0.0.1:{port}", "DOMAIN_URL": f"http://127.0.0.1:{port}"}
        with splitter(tmp_path, "rollout: {percent: 0}\n", **urls) as running:
            with socket.create_connection(("127.0.0.1", running.port)) as kept:
                kept.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert kept.recv(1000).endswith(b"ok")
                started_s = time.monotonic()
                running.process.send_signal(signal.SIGTERM)
                wait_until(lambda: "draining" in running.log.read_text())
                assert kept.recv(1000) == b""
                assert running.process.wait(10) == 0
                assert time.monotonic() - started_s < 4
