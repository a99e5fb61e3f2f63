"""The data plane of one process: what all its connections share.

Owns: accepting on the sockets it is given, the snapshot in force, the pools, the limits, the totals.
Must not know: who makes snapshots and why, how totals become metrics.
Invariants: a published snapshot is in force for every decision taken after `publish` returned; `stats` only grows.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from splitter.proxy.pool import BackendPool, Dial, Endpoint, EndpointPool, PoolLimits, Shared, dial
from splitter.proxy.relay import Exchange
from splitter.routing import Backend, Reason, Router
from splitter.snapshot import Gauges, Snapshot
from splitter.stats import Stats
from splitter.tasks import Tasks

_EXPIRE_EVERY_S: Final = 1.0
_BACKLOG: Final = 1024
_LAST_CHANCE_S: Final = 1.0
"""What a drain leaves an idle connection: its client may be sending the next request just now, and would lose it."""


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
        # Lowered by a drain.
        self.first_byte_timeout_s = settings.limits.header_timeout_s
        self.keepalive_timeout_s = settings.limits.keepalive_timeout_s
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
        self._tasks = tasks
        self._access_log = access_log
        self._connections: set[Downstream] = set()
        self._tunnels = 0
        self._empty = asyncio.Event()
        self._empty.set()
        # A prefix no other process has, and a count: unique, unguessable from outside, and 0.2 µs instead of uuid4's 1.5.
        self._id_prefix = b"%016x" % random_bits(64)
        self._id_count = random_bits(62)
        self._servers: list[tuple[asyncio.Server, socket.socket]] = []
        self.publish(snapshot)

    # --- for the control plane ---

    def publish(self, snapshot: Snapshot) -> None:
        """Put it in force: every decision from now on, also of requests that still wait for a connection."""
        self.snapshot = snapshot
        self.router = Router(snapshot.table)
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

    async def serve(self, sock: socket.socket) -> None:
        """Accept on a bound socket, TCP or unix. The plane has it from then on; others may accept on it too.

        Raises OSError.
        """
        loop = asyncio.get_running_loop()
        sock.settimeout(0)
        same = sock.dup()
        if sock.family is socket.AF_UNIX:
            server = await loop.create_unix_server(lambda: Downstream(self), sock=sock, backlog=_BACKLOG)
        else:
            server = await loop.create_server(lambda: Downstream(self), sock=sock, backlog=_BACKLOG)
        if not self._servers:
            self._tasks.start(self._keep_time(), "deadlines")
        self._servers.append((server, same))

    async def _stop_accepting(self) -> None:
        """Close the sockets. Who is in a queue already was promised an answer: closing would reset them."""
        loop = asyncio.get_running_loop()
        servers, self._servers = self._servers, []
        for server, sock in servers:
            server.close()
            for _ in range(_BACKLOG):
                try:
                    accepted, _address = sock.accept()
                except OSError:  # none is left, or no more can be opened
                    break
                await loop.connect_accepted_socket(lambda: Downstream(self), accepted)
            sock.close()
        await asyncio.sleep(RESOLUTION_S)  # what the loop had just accepted is told to us in a later turn of it

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

    async def drain(self, timeout_s: float | None) -> bool:
        """Stop accepting, let every request under way end, close. False when some were cut off by the timeout.

        Asked again with a shorter time, the shorter one counts.
        """
        self.draining = True
        self.first_byte_timeout_s = min(self.first_byte_timeout_s, _LAST_CHANCE_S)
        self.keepalive_timeout_s = min(self.keepalive_timeout_s, _LAST_CHANCE_S)
        for connection in self._connections:
            if not connection.busy():
                connection.set_deadline(_LAST_CHANCE_S)
        if self._servers:
            await self._stop_accepting()
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
