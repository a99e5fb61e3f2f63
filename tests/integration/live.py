"""A data plane on real sockets and on uvloop, inside the test's process, with backends made of a few lines.

Owns: composing it, and stopping whatever was started. Must not know: what a test checks.
Invariant: time-outs are short where a test says so, and long enough not to matter everywhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Final

import uvloop

from splitter.config import KeySource
from splitter.fallback import FallbackPolicy
from splitter.http1.request import HeadLimits
from splitter.proxy.dial import Dial, Endpoint, dial
from splitter.proxy.plane import DataPlane
from splitter.proxy.settings import BackendSettings, ConnectionLimits, Ejection, PlaneSettings, PoolLimits, Timeouts
from splitter.routing import DEFAULT_ROUTE, Backend, Rule, Table
from splitter.snapshot import Snapshot
from splitter.tasks import Tasks

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Handler = Callable[[Reader, Writer], Awaitable[None]]

GET: Final = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_WHOLE_TEST_S: Final = 30.0

TIMEOUTS: Final = Timeouts(response_s=20, idle_s=20, tunnel_s=20)
POOL: Final = PoolLimits(
    connect_timeout_s=5, idle_s=20, max_connections=256, max_waiting=256, header_bytes=64 * 1024, headers=200
)
LIMITS: Final = ConnectionLimits(header_timeout_s=20, keepalive_timeout_s=20, max_connections=10_000)
FALLBACK: Final = FallbackPolicy(
    frozenset({"connect", "timeout", "reset", "502", "503", "504"}), frozenset({b"GET", b"HEAD", b"PUT"}), 1.0
)


def on_uvloop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on the loop that carries the traffic in earnest."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        uvloop.run(asyncio.wait_for(test(*arguments, **named), _WHOLE_TEST_S))

    return run


@contextlib.asynccontextmanager
async def serving(
    handle: Handler, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[int]:
    """A backend; yields its port."""
    connections: set[Writer] = set()

    async def guarded(reader: Reader, writer: Writer) -> None:
        connections.add(writer)
        try:
            await handle(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # whoever asked has left
        finally:
            writer.close()
            connections.discard(writer)

    server = await asyncio.start_server(guarded, host, port, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in list(connections):
            writer.transport.abort()


async def read_head(reader: Reader) -> bytes:
    """A head with its empty line; empty at the end of the connection."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def says(body: bytes) -> Handler:
    """Answers every request with this body, kept alive."""

    async def handle(reader: Reader, writer: Writer) -> None:
        while head := await read_head(reader):
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length: "):
                    await reader.readexactly(int(line[16:]))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    return handle


def at(port: int, host: str = "127.0.0.1") -> Endpoint:
    return Endpoint(host, port)


@dataclass
class Live:
    """A plane that listens at `port`."""

    plane: DataPlane
    port: int
    clients: list[Writer] = field(default_factory=list)

    async def connect(self) -> tuple[Reader, Writer]:
        """A client, closed at the end if it still is one."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.clients.append(writer)
        return reader, writer

    async def ask(self, request: bytes = GET) -> bytes:
        """One request on a connection of its own; all that comes back."""
        reader, writer = await self.connect()
        try:
            head, separator, body = request.partition(b"\r\n\r\n")
            writer.write(head + b"\r\nConnection: close" + separator + body)
            return await reader.read()
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def live(
    domain: Endpoint | tuple[Endpoint, ...],
    legacy: Endpoint | tuple[Endpoint, ...] = (),
    *,
    percent: float = 100,
    timeouts: Timeouts = TIMEOUTS,
    pool: PoolLimits = POOL,
    limits: ConnectionLimits = LIMITS,
    fallback: FallbackPolicy = FALLBACK,
    dial: Dial = dial,
) -> AsyncIterator[Live]:
    """A plane between those backends. Without a legacy there is no fallback."""
    errors: list[BaseException] = []
    tasks = Tasks(lambda _name, error: errors.append(error))

    def backend(endpoints: Endpoint | tuple[Endpoint, ...]) -> BackendSettings:
        all_of_them = endpoints if isinstance(endpoints, tuple) else (endpoints,)
        return BackendSettings(all_of_them or (at(9),), timeouts, pool, Ejection(5, 0.2))

    settings = PlaneSettings(
        backends={Backend.LEGACY: backend(legacy), Backend.DOMAIN: backend(domain), Backend.INTERNAL: backend(at(9))},
        head_limits=HeadLimits(64 * 1024, 16 * 1024, 200),
        limits=limits,
        replay_bytes=64 * 1024,
        fallback=fallback if legacy else FallbackPolicy(frozenset(), frozenset(), 0.0),
    )
    loop = asyncio.get_running_loop()
    plane = DataPlane(settings, Snapshot(table(percent)), tasks, None, clock=loop.time, dial=dial)
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    port = listening.getsockname()[1]
    plane.serve(listening)
    running = Live(plane, port)
    try:
        yield running
        assert not errors
    finally:
        for writer in running.clients:
            writer.close()
        await plane.drain(0)
        await tasks.close()


def table(percent: float, **switches: Any) -> Table:
    sources = (KeySource("header", "X-User-Id"), KeySource("client_ip", ""))
    return Table(Rule(DEFAULT_ROUTE, round(percent * 100), sources), **switches)


def with_timeouts(**changed: float) -> Timeouts:
    return replace(TIMEOUTS, **changed)
