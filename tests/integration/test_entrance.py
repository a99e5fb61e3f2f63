"""Accepting clients: the limit on their number, and what happens at it."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import structlog

from splitter.listening import bind
from splitter.proxy.entrance import Entrance, _turn_away
from splitter.tasks import Tasks
from tests.integration.live import GET, LIMITS, OK, Live, Reader, Writer, at, live, on_uvloop, read_head, says, serving


@asynccontextmanager
async def at_most(most: int, port: int) -> AsyncIterator[Live]:
    async with live(at(port), limits=replace(LIMITS, max_connections=most)) as running:
        yield running


async def answered(reader: Reader, within_s: float = 3.0) -> bool:
    try:
        async with asyncio.timeout(within_s):
            return (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
    except TimeoutError:
        return False


class Gate:
    """A backend that answers when it is told to."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def handle(self, reader: Reader, writer: Writer) -> None:
        while await read_head(reader):
            await self.open.wait()
            writer.write(OK)


@on_uvloop
async def test_when_all_connections_are_busy_new_clients_wait_and_are_served_later() -> None:
    gate = Gate()
    async with serving(gate.handle) as port, at_most(4, port) as running:
        clients = [await running.connect() for _ in range(4)]
        for _, writer in clients:
            writer.write(GET)
        late = [await running.connect() for _ in range(3)]
        for _, writer in late:
            writer.write(GET)
        await asyncio.sleep(0.3)
        assert len(running.plane.entrance.connections) == 4, "the others are in the kernel's queue"
        gate.open.set()
        assert all([await answered(reader) for reader, _ in clients])
        clients[0][1].close()
        assert [await answered(reader, 0.5) for reader, _ in late].count(True) == 1
        clients[1][1].close()
        clients[2][1].close()
        late_answers = [await answered(reader, 3.0) for reader, _ in late[1:]]
        assert late_answers == [True, True]
        assert len(running.plane.entrance.connections) <= 4


@on_uvloop
async def test_connections_that_nobody_uses_are_given_up_for_new_clients() -> None:
    async with serving(says(b"ok")) as port, at_most(8, port) as running:
        clients = []
        for _ in range(8):
            reader, writer = await running.connect()
            writer.write(GET)
            assert await answered(reader)
            clients.append((reader, writer))
        await asyncio.sleep(1.1)
        for reader, writer in clients[1:]:  # all but the first are in use
            writer.write(GET)
            assert await answered(reader)
        reader, writer = await running.connect()
        writer.write(GET)
        assert await answered(reader)
        assert await clients[0][0].read() == b"", "the one that was silent for longest"
        for reader, writer in clients[1:]:
            writer.write(GET)
            assert await answered(reader)


@on_uvloop
async def test_a_burst_above_the_limit_never_exceeds_it() -> None:
    most = 32
    async with serving(says(b"ok")) as port, at_most(most, port) as running:
        seen: list[int] = []
        original = running.plane.entrance.add

        def add(connection: Any) -> None:
            original(connection)
            seen.append(len(running.plane.entrance.connections))

        running.plane.entrance.add = add  # type: ignore[method-assign]

        async def client() -> bool:
            reader, writer = await running.connect()
            writer.write(GET)
            found = await answered(reader, 15)
            writer.close()
            return found

        assert all(await asyncio.gather(*(client() for _ in range(400))))
        assert max(seen) <= most
        assert len(seen) == 400


class Accepts:
    """A listening socket whose `accept` fails as told."""

    def __init__(self, errors: list[int]) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.errors = errors
        self.calls = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.calls += 1
        if self.errors:
            raise OSError(self.errors.pop(0), "as told")
        return self._listening.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listening, name)


class Nothing(asyncio.Protocol):
    pass


@pytest.mark.parametrize(
    ("error", "waits"),
    [(errno.EMFILE, True), (errno.ENOMEM, True), (errno.EINVAL, True), (errno.ECONNABORTED, False), (errno.EPROTO, False)],
)
@on_uvloop
async def test_an_error_of_accept_neither_spins_nor_ends_the_listening(error: int, waits: bool) -> None:
    made: list[asyncio.Protocol] = []

    def make() -> asyncio.Protocol:
        made.append(Nothing())
        return made[-1]

    errors: list[BaseException] = []
    tasks = Tasks(lambda _name, failure: errors.append(failure))
    entrance = Entrance(make, tasks, asyncio.get_running_loop().time, 100)
    listening = Accepts([error])
    with structlog.testing.capture_logs() as logged:
        entrance.listen(listening)  # type: ignore[arg-type]
        _, writer = await asyncio.open_connection(*listening.getsockname())
        await asyncio.sleep(0.25)
        assert (len(made) == 0) is waits
        assert listening.calls == (1 if waits else 3), "one that fails, one client, and one that says there is no more"
        await asyncio.sleep(0.5)
        assert len(made) == 1
        assert [line["event"] for line in logged] == ["accept_failed"] * waits
        writer.close()
        await entrance.close(for_good=True)
        await tasks.close()
    assert not errors


@on_uvloop
async def test_a_stop_serves_whoever_the_kernel_has_let_in() -> None:
    async with serving(says(b"ok")) as port, live(at(port)) as running:
        loop = asyncio.get_running_loop()
        running.plane.entrance._pause()
        clients = [await running.connect() for _ in range(100)]
        for _, writer in clients:
            writer.write(GET)
        running.plane.entrance._paused = False
        assert await loop.create_task(running.plane.drain(10))
        assert all([await answered(reader) for reader, _ in clients])


def test_new_clients_of_a_port_that_is_shared_find_the_others() -> None:
    """What the kernel would have given to the socket that is about to be closed goes to the one beside it."""
    with bind(socket.AF_INET, ("127.0.0.1", 0), reuse_port=True) as goes:
        name = goes.getsockname()
        with bind(socket.AF_INET, name, reuse_port=True) as stays:
            for each in (goes, stays):
                each.setblocking(False)
                each.listen(1024)
            shared_out = [socket.create_connection(name) for _ in range(40)]
            in_its_queue = accept_all(goes)
            assert 0 < in_its_queue < 40
            assert _turn_away(goes)
            clients = [socket.socket() for _ in range(40)]
            for client in clients:
                client.setblocking(False)
                client.connect_ex(name)
            time.sleep(0.2)
            assert accept_all(goes) == 0
            found = accept_all(stays)
            assert found < 80 - in_its_queue, "half of them have not found anybody yet"
            goes.close()
            until_s = time.monotonic() + 5  # the first packet is sent again after a second
            while found < 80 - in_its_queue and time.monotonic() < until_s:
                time.sleep(0.02)
                found += accept_all(stays)
            assert found == 80 - in_its_queue
            for client in shared_out + clients:
                client.close()


def accept_all(listening: socket.socket) -> int:
    """How many waited there."""
    listening.settimeout(0)
    count = 0
    while True:
        try:
            listening.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1
