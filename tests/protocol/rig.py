"""A data plane without sockets: fake transports, a clock that stands still, connections made when the test says so.

Owns: the fakes. Must not know: what any test checks.
Invariant: nothing here waits for real time, and everything written to either side is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from splitter.config import KeySource
from splitter.fallback import FallbackPolicy
from splitter.http1.forwarding import ForwardPolicy
from splitter.http1.request import HeadLimits
from splitter.proxy.dial import Endpoint
from splitter.proxy.downstream import Downstream
from splitter.proxy.mirror import MirrorSettings
from splitter.proxy.plane import DataPlane
from splitter.proxy.settings import BackendSettings, ConnectionLimits, Ejection, PlaneSettings, PoolLimits, Timeouts
from splitter.proxy.upstream import Upstream
from splitter.routing import DEFAULT_ROUTE, Backend, Rule, Table
from splitter.snapshot import Snapshot
from splitter.tasks import Tasks

HEADER = KeySource("header", "X-User-Id")
CLIENT_IP = KeySource("client_ip", "")
NO_FALLBACK = FallbackPolicy(frozenset(), frozenset(), 0.0)


class FakeTransport(asyncio.Transport):
    """Keeps what is written. Losing the connection is told at once, not in a later turn of a loop."""

    def __init__(self, protocol: asyncio.Protocol, peer: tuple[str, int] | str = ("192.0.2.1", 4711)) -> None:
        super().__init__({"peername": peer})
        self.protocol = protocol
        self.written = bytearray()
        self.unsent_bytes = 0
        self.closing = False
        self.aborted = False
        self.eof_sent = False
        self.reading = True
        self.lost = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = cast(asyncio.Protocol, protocol)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        assert not self.closing, "written to a closed transport: uvloop raises RuntimeError"
        assert not self.eof_sent, "written after EOF"
        self.written += data

    def take(self) -> bytes:
        data = bytes(self.written)
        self.written.clear()
        return data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True
        self.lose(None)

    def abort(self) -> None:
        self.aborted = True
        self.closing = True
        self.lose(None)

    def lose(self, error: Exception | None) -> None:
        """The connection is gone."""
        self.closing = True
        if not self.lost:
            self.lost = True
            self.protocol.connection_lost(error)

    def eof(self) -> None:
        """The other side sends no more."""
        if not self.protocol.eof_received() and not self.lost:
            self.close()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof_sent = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes


class Rig:
    """A plane whose backends are in the test's hands."""

    def __init__(
        self,
        *,
        percent: float = 0,
        limits: HeadLimits | None = None,
        max_connections: int = 8,
        replay_bytes: int = 64 * 1024,
        trusted_proxies: tuple[Any, ...] = (),
        forward: ForwardPolicy | None = None,
        fallback: FallbackPolicy | None = None,
        sources: tuple[KeySource, ...] = (HEADER, CLIENT_IP),
        domain_ports: tuple[int, ...] = (8002,),
        mirror: MirrorSettings | None = None,
    ) -> None:
        self.now_s = 1000.0
        self.errors: list[BaseException] = []
        self.tasks = Tasks(lambda _name, error: self.errors.append(error))
        self.upstreams: list[FakeTransport] = []
        self.refuse: OSError | None = None
        self.refuse_ports: set[int] = set()  # none of these: every one
        self.hold_connects: asyncio.Event | None = None
        backend = self._backend(max_connections)
        self.plane = DataPlane(
            PlaneSettings(
                backends={
                    Backend.LEGACY: backend((8001,)),
                    Backend.DOMAIN: backend(domain_ports),
                    Backend.INTERNAL: backend((8090,)),
                },
                head_limits=limits or HeadLimits(64 * 1024, 16 * 1024, 200),
                limits=ConnectionLimits(header_timeout_s=10, keepalive_timeout_s=75, max_connections=1000),
                replay_bytes=replay_bytes,
                fallback=fallback or NO_FALLBACK,
                trusted_proxies=trusted_proxies,
                forward=forward or ForwardPolicy(),
                mirror=mirror or MirrorSettings(),
            ),
            Snapshot(table(percent, sources)),
            self.tasks,
            None,
            clock=lambda: self.now_s,
            random_bits=lambda _bits: 1,
            dial=self._dial,
        )

    @staticmethod
    def _backend(max_connections: int) -> Callable[[tuple[int, ...]], BackendSettings]:
        return lambda ports: BackendSettings(
            tuple(Endpoint("127.0.0.1", port) for port in ports),
            Timeouts(response_s=30, idle_s=60, tunnel_s=3600),
            PoolLimits(2, 60, max_connections, 4, 64 * 1024, 200),
            Ejection(5, 10),
        )

    async def _dial(self, endpoint: Endpoint, upstream: Upstream) -> None:
        if self.hold_connects is not None:
            await self.hold_connects.wait()
        if self.refuse is not None and (not self.refuse_ports or endpoint.port in self.refuse_ports):
            raise self.refuse
        transport = FakeTransport(upstream, (endpoint.host, endpoint.port))
        upstream.connection_made(transport)
        self.upstreams.append(transport)

    def client(self, peer: tuple[str, int] | str = ("192.0.2.1", 4711)) -> FakeTransport:
        """A connected client; feed it with `send`."""
        downstream = Downstream(self.plane)
        transport = FakeTransport(downstream, peer)
        downstream.connection_made(transport)
        return transport

    async def settle(self) -> None:
        """Let the tasks that connect run."""
        for _ in range(5):
            await asyncio.sleep(0)

    def pass_time(self, seconds: float) -> None:
        """Time goes on, in steps as fine as the real ticker's."""
        steps = max(1, round(seconds / 0.05))
        for _ in range(steps):
            self.now_s += seconds / steps
            self.plane.tick()

    def at(self, port: int) -> list[FakeTransport]:
        """The connections to the endpoint at this port, those that are closed too."""
        return [upstream for upstream in self.upstreams if upstream.get_extra_info("peername")[1] == port]

    @property
    def backend(self) -> FakeTransport:
        """The only backend connection."""
        assert len(self.upstreams) == 1, self.upstreams
        return self.upstreams[0]

    def counts(self) -> dict[tuple[str, int], int]:
        """Ended requests by backend and status."""
        found: dict[tuple[str, int], int] = {}
        for (backend, _, _, _, status), count in self.plane.stats.requests.items():
            found[str(backend), status] = found.get((str(backend), status), 0) + count
        return found


def table(percent: float, sources: tuple[KeySource, ...] = (HEADER, CLIENT_IP), **switches: Any) -> Table:
    return Table(Rule(DEFAULT_ROUTE, round(percent * 100), sources), **switches)


def send(transport: FakeTransport, data: bytes) -> None:
    """Bytes arrive on this transport, unless nobody reads it any more."""
    if not transport.lost:
        transport.protocol.data_received(data)
