"""The data plane of one process: what all its connections share.

Owns: the listening socket, the snapshot in force, the pools, the limits, the totals.
Must not know: who makes snapshots and why, how totals become metrics.
Invariants: a published snapshot is in force for every decision taken after `publish` returned; `stats` only grows.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from time import perf_counter
from typing import Final, Protocol

from splitter.errors import BadRequest, ExchangeError
from splitter.fallback import Budget, FallbackPolicy
from splitter.http1.reply import render_error
from splitter.http1.request import Forwarded, HeadLimits, RequestHeadReader
from splitter.keys import Network, is_trusted, parse_address
from splitter.outlier import Breaker
from splitter.proxy.deadlines import RESOLUTION_S, Wheel
from splitter.proxy.downstream import Downstream
from splitter.proxy.mirror import Mirror, MirrorSettings
from splitter.proxy.mirrored import MirroredExchange
from splitter.proxy.pool import BackendPool, Dial, Endpoint, EndpointPool, PoolLimits, Shared, dial
from splitter.proxy.relay import Exchange
from splitter.routing import Backend, Reason, Router
from splitter.snapshot import Gauges, Snapshot
from splitter.stats import Stats
from splitter.tasks import Tasks

_EXPIRE_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Of one backend: until the response head, of silence in a body, of silence in a tunnel."""

    response_s: float
    idle_s: float
    tunnel_s: float


@dataclass(frozen=True, slots=True)
class Ejection:
    """After how many failures in a row an endpoint is taken out, and for how long at first."""

    consecutive_failures: int
    for_s: float


@dataclass(frozen=True, slots=True)
class BackendSettings:
    endpoints: tuple[Endpoint, ...]
    timeouts: Timeouts
    pool: PoolLimits
    ejection: Ejection


@dataclass(frozen=True, slots=True)
class RunningBackend:
    """What an exchange needs of the backend it goes to."""

    timeouts: Timeouts
    pool: BackendPool


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    header_timeout_s: float
    keepalive_timeout_s: float


@dataclass(frozen=True, slots=True)
class PlaneSettings:
    """What a plane is made with; a change needs a new one. `replay_bytes`: how much of a body is held to send it again."""

    backends: Mapping[Backend, BackendSettings]
    head_limits: HeadLimits
    limits: ConnectionLimits
    replay_bytes: int
    fallback: FallbackPolicy
    trusted_proxies: tuple[Network, ...] = ()
    mirror: MirrorSettings = field(default_factory=MirrorSettings)


class AccessLog(Protocol):
    """Gets every request that ended, when it did."""

    def request(self, exchange: Exchange, duration_s: float) -> None: ...
    def refused(self, peer: str, error: BadRequest) -> None: ...


def _mark(backend: Backend, reason: Reason) -> bytes:
    if backend is Backend.INTERNAL:
        return b""
    return f"X-Splitter-Backend: {backend.value}\r\nX-Splitter-Reason: {reason.value}\r\n".encode()


def _pool(name: Backend, backend: BackendSettings, shared: Shared) -> BackendPool:
    ejection = backend.ejection
    pools = (
        EndpointPool(endpoint, backend.pool, Breaker(ejection.consecutive_failures, ejection.for_s), shared)
        for endpoint in backend.endpoints
    )
    return BackendPool(name.value, tuple(pools))


def _mirror_pools(settings: PlaneSettings, shared: Shared) -> dict[Backend, BackendPool]:
    """Connections of the mirror alone, so that copies take none away from clients."""
    most = settings.mirror.max_in_flight
    return {
        name: _pool(name, replace(backend, pool=replace(backend.pool, max_connections=most, max_waiting=most)), shared)
        for name, backend in settings.backends.items()
        if name is not Backend.INTERNAL
    }


class DataPlane:
    """See the top of the file."""

    def __init__(
        self,
        settings: PlaneSettings,
        snapshot: Snapshot,
        tasks: Tasks,
        access_log: AccessLog | None,
        *,
        clock: Callable[[], float],
        random_bits: Callable[[int], int] = secrets.randbits,
        dial: Dial = dial,
    ) -> None:
        self.clock = clock
        self.stats = Stats()
        self.settings = settings
        self.head_limits = settings.head_limits
        self.limits = settings.limits
        self.replay_bytes = settings.replay_bytes
        self.draining = False
        self.wheel = Wheel(clock)
        self.marks = {(backend, reason): _mark(backend, reason) for backend in Backend for reason in Reason}
        self.head_reader = RequestHeadReader(settings.head_limits)
        self.fallback = settings.fallback
        self.budget = Budget()
        self._budgeted = 0
        self.requests = 0
        shared = Shared(tasks, self.stats, clock, dial, self._judge_domain)
        self.backends = {
            name: RunningBackend(backend.timeouts, _pool(name, backend, shared))
            for name, backend in settings.backends.items()
        }
        unseen = Shared(tasks, Stats(), clock, dial, lambda: None)
        self.mirror = Mirror(settings.mirror, self, _mirror_pools(settings, unseen), tasks)
        self._tasks = tasks
        self._access_log = access_log
        self._connections: set[Downstream] = set()
        self._tunnels = 0
        self._empty = asyncio.Event()
        self._empty.set()
        # A prefix no other process has, and a count: unique, unguessable from outside, and 0.2 µs instead of uuid4's 1.5.
        self._id_prefix = b"%016x" % random_bits(64)
        self._id_count = random_bits(62)
        self._servers: list[asyncio.Server] = []
        self.publish(snapshot)

    # --- for the control plane ---

    def publish(self, snapshot: Snapshot) -> None:
        """Put it in force: every decision from now on, also of requests that still wait for a connection."""
        self.snapshot = snapshot
        self.router = Router(snapshot.table)
        self.mirror.publish(snapshot)
        self.exchange = MirroredExchange if self.mirror.on else Exchange
        self._judge_domain()

    def _judge_domain(self) -> None:
        """Domain is out when probes or its own answers say so, but only while legacy is fit to take over."""
        domain, legacy = self.backends[Backend.DOMAIN].pool, self.backends[Backend.LEGACY].pool
        self.domain_ejected = self.snapshot.domain_ejected or (not domain.fit() and legacy.fit())

    def gauges(self) -> Gauges:
        found = Gauges(downstream=len(self._connections), tunnels=self._tunnels)
        for backend in self.backends.values():
            for endpoint in backend.pool.endpoints:
                for state, count in endpoint.counts().items():
                    found.upstream[state] = found.upstream.get(state, 0) + count
        return found

    async def serve_tcp(self, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the address bound, which tells the port when 0 was asked for. Raises OSError."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Downstream(self), host, port, backlog=1024)
        self._started(server)
        name = server.sockets[0].getsockname()
        return name[0], name[1]

    async def serve_unix(self, path: str) -> None:
        loop = asyncio.get_running_loop()
        self._started(await loop.create_unix_server(lambda: Downstream(self), path, backlog=1024))

    def _started(self, server: asyncio.Server) -> None:
        if not self._servers:
            self._tasks.start(self._keep_time(), "deadlines")
        self._servers.append(server)

    async def _keep_time(self) -> None:
        until_expiry_s = _EXPIRE_EVERY_S
        while True:
            await asyncio.sleep(RESOLUTION_S)
            self.wheel.tick()
            for backend in self.backends.values():
                backend.pool.tick()
            until_expiry_s -= RESOLUTION_S
            if until_expiry_s <= 0:
                until_expiry_s = _EXPIRE_EVERY_S
                for backend in self.backends.values():
                    backend.pool.expire()
                self.mirror.expire()

    async def drain(self, timeout_s: float) -> bool:
        """Stop accepting, let every request under way end, close. False when some were cut off by the timeout."""
        self.draining = True
        self.mirror.close()
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            if not connection.busy():
                connection.close()
        complete = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            complete = False
        for connection in list(self._connections):
            connection.abort()
        for backend in self.backends.values():
            backend.pool.close()
        return complete

    # --- for connections and exchanges ---

    def forwarded_for(self, peer: str) -> Forwarded:
        address = parse_address(peer) if peer else None
        if address is None:
            return Forwarded(b"", b"http", trusted=False)
        trusted = is_trusted(address, self.settings.trusted_proxies)
        return Forwarded(str(address).encode(), b"http", trusted=trusted)

    def new_request_id(self) -> bytes:
        """32 hexadecimal digits no other request has."""
        self._id_count = (self._id_count + 1) & 0xFFFF_FFFF_FFFF_FFFF
        return b"%b%016x" % (self._id_prefix, self._id_count)

    def on_connected(self, downstream: Downstream) -> None:
        self._connections.add(downstream)
        self._empty.clear()

    def on_disconnected(self, downstream: Downstream) -> None:
        self._connections.discard(downstream)
        if not self._connections:
            self._empty.set()

    def may_fall_back(self, trigger: str, method: bytes, *, nothing_sent: bool, body_held: bool) -> bool:
        """Whether legacy may answer a request that domain failed; uses up budget if so."""
        now_s = self.clock()
        self.budget.add_requests(self.requests - self._budgeted, now_s)
        self._budgeted = self.requests
        return self.fallback.allows(trigger, method, self.budget, now_s, nothing_sent=nothing_sent, body_held=body_held)

    def on_tunnel(self, change: int) -> None:
        self._tunnels += change

    def render_error(self, exchange: Exchange, error: ExchangeError, *, close: bool) -> bytes:
        """A whole response that says what went wrong and with which backend."""
        decision = exchange.decision
        return render_error(
            error.status,
            error.kind,
            error.message,
            exchange.request_id.decode("latin-1"),
            mark=self.marks[decision.backend, decision.reason],
            date=formatdate(usegmt=True),
            close=close,
            head_only=exchange.head.method == b"HEAD",
        )

    def on_refused(self, downstream: Downstream, error: BadRequest) -> None:
        """A head no backend may see."""
        reply = render_error(
            error.status,
            error.kind,
            error.message,
            self.new_request_id().decode(),
            mark=b"",
            date=formatdate(usegmt=True),
            close=True,
        )
        downstream.write(reply)
        self.stats.record(Backend.NONE, Reason.REFUSED, "none", b"", error.status, 0.0)
        if self._access_log is not None:
            self._access_log.refused(downstream.peer, error)

    def record(self, exchange: Exchange) -> None:
        """Count a request that has ended, and log it when asked."""
        self.requests += 1
        duration_s = perf_counter() - exchange.started_s
        decision = exchange.decision
        self.stats.record(
            decision.backend, decision.reason, decision.route, exchange.head.method, exchange.status, duration_s
        )
        if self._access_log is not None:
            self._access_log.request(exchange, duration_s)
