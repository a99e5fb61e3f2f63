"""The data plane of one process: what all its connections share.

Owns: the snapshot in force, the pools, the time, the order of stopping, the totals.
Must not know: who makes snapshots and why, how totals become metrics, how connections are accepted (`entrance`).
Invariants: a published snapshot is in force for every decision taken after `publish` returned, and requests that wait for
a connection are decided again by it; `stats` only grows.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import formatdate
from math import inf
from time import perf_counter, time
from typing import Final, Protocol

from splitter.errors import BadRequest, ExchangeError
from splitter.fallback import Budget
from splitter.hops import Trust, parse_address
from splitter.http1.forwarding import Client
from splitter.http1.reply import render_error, render_options
from splitter.http1.request import RequestHead, RequestHeadReader
from splitter.outlier import Breaker, State
from splitter.proxy.deadlines import RESOLUTION_S, Wheel
from splitter.proxy.dial import Dial, dial
from splitter.proxy.entrance import Connection, Entrance
from splitter.proxy.front import make_accept
from splitter.proxy.mirror import Mirror
from splitter.proxy.mirrored import MirroredExchange
from splitter.proxy.pool import BackendPool, EndpointPool, Shared
from splitter.proxy.recovery import Recovery
from splitter.proxy.relay import Exchange
from splitter.proxy.settings import BackendSettings, PlaneSettings, Timeouts
from splitter.routing import Backend, Reason, Router
from splitter.snapshot import Gauges, Snapshot
from splitter.stats import Stats
from splitter.tasks import Tasks

_ENDPOINT_IS: Final = {State.CLOSED: "back", State.OPEN: "out", State.HALF_OPEN: "on_trial"}

_CLIENTS_KEPT: Final = 4096
_TWO_DIGITS: Final = tuple(b"%02x" % number for number in range(256))
_UNHEALTHY: Final = Reason.UNHEALTHY
_EVERY_S: Final = 1.0
"""Of what need not be done at every tick."""

_LAST_CALL_S: Final = 1.0
"""While stopping, how long a connection without a request stays open: a client's next one may be on its way, and a close
would make it fail. nginx has `keepalive_min_timeout` for it."""


@dataclass(frozen=True, slots=True)
class RunningBackend:
    """What an exchange needs of the backend it goes to."""

    timeouts: Timeouts
    pool: BackendPool


class AccessLog(Protocol):
    """Hears of every request that ended, if it wants to, of every failure, and of every change of an endpoint's state."""

    wants_requests: bool

    def request(self, exchange: Exchange, duration_s: float) -> None: ...
    def refused(self, peer: str, error: BadRequest) -> None: ...
    def failed(self, exchange: Exchange, kind: str, detail: str, duration_s: float) -> None: ...
    def endpoint(self, backend: str, upstream: str, state: str) -> None: ...


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
        unix_time: Callable[[], float] = time,
        random_bits: Callable[[int], int] = secrets.randbits,
        dial: Dial = dial,
    ) -> None:
        self.clock = clock
        self._unix_time = unix_time
        self.stats = Stats()
        self.settings = settings
        self.head_limits = settings.head_limits
        self.limits = settings.limits
        self.replay_bytes = settings.replay_bytes
        self.draining = False
        self.epoch = 0
        self.domain_ejected = False
        self._unsettled = False
        self._leave_domain_s = inf
        self._next_s = clock()
        self.first_byte_timeout_s = settings.limits.header_timeout_s
        self.keepalive_timeout_s = settings.limits.keepalive_timeout_s
        self.wheel = Wheel(clock)
        self.marks = {(backend, reason): _mark(backend, reason) for backend in Backend for reason in Reason}
        self.head_reader = RequestHeadReader(settings.head_limits, rewrite_all=not settings.forward.is_plain)
        self.makes_trace = settings.forward.make_trace
        self.random_bits = random_bits
        self._trust = Trust(settings.trusted_proxies)
        self._clients: dict[tuple[str, bytes], Client] = {}
        self.fallback = settings.fallback
        self.budget = Budget()
        self._budgeted = 0
        self.requests = 0
        shared = Shared(tasks, self.stats, clock, dial, self._on_breaker)
        self.backends = {
            name: RunningBackend(backend.timeouts, _pool(name, backend, shared))
            for name, backend in settings.backends.items()
        }
        self._breakers: dict[EndpointPool, State] = {}
        unseen = Shared(tasks, Stats(), clock, dial, lambda: None)
        self.mirror = Mirror(settings.mirror, self, _mirror_pools(settings, unseen), tasks)
        self._tasks = tasks
        self._access_log = access_log
        self._log_request = access_log.request if access_log is not None and access_log.wants_requests else None
        self.tunnels = 0
        accept = make_accept(self, settings.certificates, Trust(settings.proxy_protocol))
        self.entrance = Entrance(accept, tasks, clock, settings.limits.max_connections)
        # A prefix no other process has, and a count: unique, unguessable from outside, and 0.2 µs instead of uuid4's 1.5.
        self._id_prefix = b"%016x" % random_bits(64)
        self._id_count = random_bits(62)
        self._id_block = b"%b%014x" % (self._id_prefix, self._id_count >> 8)
        self._ticking = False
        self.publish(snapshot)

    # --- for the control plane ---

    def publish(self, snapshot: Snapshot) -> None:
        """Put it in force: every decision from now on, also of requests that still wait for a connection."""
        self.snapshot = snapshot
        self.router = Router(snapshot.table)
        for name, backend in self.backends.items():
            backend.pool.mark_down(frozenset(url for of, url in snapshot.down if of == name))
        self.mirror.publish(snapshot)
        self.exchange = MirroredExchange if self.mirror.on else Exchange
        grace_s = snapshot.tunnel_grace_s
        if not snapshot.table.rolled_back or grace_s is None:
            self._leave_domain_s = inf
        elif self._leave_domain_s == inf:
            self._leave_domain_s = self.clock() + grace_s
        self._judge()
        self._settle()

    def _judge(self) -> None:
        """Domain is out when probes or its own answers say so, but only while legacy is fit to take over."""
        domain, legacy = self.backends[Backend.DOMAIN].pool, self.backends[Backend.LEGACY].pool
        self.domain_ejected = self.snapshot.domain_ejected or (not domain.fit() and legacy.fit())
        self.epoch += 1
        self._unsettled = True

    def _on_breaker(self) -> None:
        self._judge()
        for name, backend in self.backends.items():
            for pool in backend.pool.endpoints:
                before, state = self._breakers.get(pool, State.CLOSED), pool.breaker.state
                self._breakers[pool] = state
                if state is not before and self._access_log is not None:
                    self._access_log.endpoint(name, pool.name, _ENDPOINT_IS[state])

    def _settle(self) -> None:
        """Have requests that wait for a connection look whether they wait at the right place."""
        self._unsettled = False
        for backend in self.backends.values():
            backend.pool.reconsider()

    def gauges(self) -> Gauges:
        found = Gauges(downstream=len(self.entrance.connections), tunnels=self.tunnels)
        for backend in self.backends.values():
            for endpoint in backend.pool.endpoints:
                for state, count in endpoint.counts().items():
                    found.upstream[state] = found.upstream.get(state, 0) + count
        return found

    def serve(self, listening: socket.socket) -> None:
        """Accept clients on a socket that somebody listens on (`listening`)."""
        if not self._ticking:
            self._ticking = True
            self._tasks.start(self._keep_time(), "deadlines")
        self.entrance.listen(listening)

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(RESOLUTION_S)
            self.tick()

    def tick(self) -> None:
        """Let time act. Call it about every `RESOLUTION_S`."""
        self.wheel.tick()
        for backend in self.backends.values():
            backend.pool.tick()
        if self._unsettled:
            self._settle()
        now_s = self.clock()
        if now_s >= self._next_s:
            self._next_s = now_s + _EVERY_S
            for backend in self.backends.values():
                backend.pool.expire()
            self.mirror.expire()
            if now_s >= self._leave_domain_s:
                for connection in list(self.entrance.connections):
                    connection.leave(Backend.DOMAIN)

    async def drain(self, timeout_s: float | None, *, for_good: bool = True) -> bool:
        """Stop accepting, let every request under way end, close. False when some were cut off by the timeout.

        Asked again with a shorter time, the shorter one counts; None is however long it takes.

        `for_good`: no other process goes on with the listening sockets.
        """
        self.draining = True
        self.mirror.close()
        self.first_byte_timeout_s = min(self.first_byte_timeout_s, _LAST_CALL_S)
        self.keepalive_timeout_s = min(self.keepalive_timeout_s, _LAST_CALL_S)
        for connection in self.entrance.connections:
            if not connection.busy():
                connection.set_deadline(self.keepalive_timeout_s)
        await self.entrance.close(for_good=for_good and timeout_s != 0)
        complete = True
        try:
            async with asyncio.timeout(timeout_s):
                await self.entrance.empty()
        except TimeoutError:
            complete = False
        for connection in list(self.entrance.connections):
            connection.abort()
        for backend in self.backends.values():
            backend.pool.close()
        return complete

    # --- for connections and exchanges ---

    def client_at(self, peer: str, proto: bytes) -> Client:
        """What is known of a client by its address, empty on a unix socket. Remembered: reading an address takes 8 µs."""
        found = self._clients.get((peer, proto))
        if found is None:
            address = parse_address(peer) if peer else None
            text = "" if address is None else str(address)
            trusted = (address is not None or not peer) and address in self._trust
            found = Client(text, proto, self.settings.forward, trusted=trusted)
            if len(self._clients) >= _CLIENTS_KEPT:
                self._clients.clear()
            self._clients[peer, proto] = found
        return found

    def new_request_id(self) -> bytes:
        """32 hexadecimal digits no other request has."""
        count = self._id_count = (self._id_count + 1) & 0xFFFF_FFFF_FFFF_FFFF
        last = count & 0xFF
        if not last:
            self._id_block = b"%b%014x" % (self._id_prefix, count >> 8)
        return self._id_block + _TWO_DIGITS[last]

    def on_connected(self, connection: Connection) -> None:
        self.entrance.add(connection)

    def on_disconnected(self, connection: Connection) -> None:
        self.entrance.remove(connection)

    def may_fall_back(self, trigger: str, *, nothing_sent: bool, repeatable: bool) -> bool:
        """Whether legacy may answer a request that domain failed; uses up budget if so."""
        now_s = self.clock()
        self.budget.add_requests(self.requests - self._budgeted, now_s)
        self._budgeted = self.requests
        return self.fallback.allows(trigger, self.budget, now_s, nothing_sent=nothing_sent, repeatable=repeatable)

    def render_error(self, exchange: Recovery, error: ExchangeError, *, close: bool) -> bytes:
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

    def refusal(self, peer: str, error: BadRequest) -> bytes:
        """Count and log a head no backend may see; what to answer, and then the connection is to be closed."""
        self.stats.refuse(error.status)
        self.on_unusable(peer, error)
        return render_error(
            error.status,
            error.kind,
            error.message,
            self.new_request_id().decode(),
            mark=b"",
            date=formatdate(usegmt=True),
            close=True,
        )

    def on_unusable(self, peer: str, error: BadRequest) -> None:
        """A connection from which no request could be read: nothing to count, nobody to answer."""
        if self._access_log is not None:
            self._access_log.refused(peer, error)

    def own_options(self, head: RequestHead, *, close: bool) -> bytes:
        """The splitter's own answer to OPTIONS, counted."""
        self.stats.record(Backend.INTERNAL, Reason.OWN, "internal", head.method, 200, 0.0)
        return render_options(date=formatdate(usegmt=True), close=close, client_minor=head.minor)

    def on_failure(self, exchange: Exchange, kind: str, detail: str) -> None:
        """Count and log what the backend of a request did wrong."""
        self.stats.fail(exchange.decision.backend, kind)
        if self._access_log is not None:
            self._access_log.failed(exchange, kind, detail, perf_counter() - exchange.started_s)

    def record(self, exchange: Exchange) -> None:
        """Count a request that has ended, and log it when asked."""
        self.requests += 1
        duration_s = perf_counter() - exchange.started_s
        decision, status, failure, error = exchange.decision, exchange.status, exchange.failure, exchange.error
        backend, reason, route = decision.backend, decision.reason, decision.route
        latency_s = -1.0
        # What was forced or had no key says nothing about the rollout; an error without a failure was the client's.
        if decision.bucket >= 0 and (failure or not error):
            answered_s = exchange.answered_s or duration_s
            if status < 400 and not failure and reason is not _UNHEALTHY:
                latency_s = answered_s
            else:
                cut = bool(failure and error)
                self.stats.judged.record(backend, reason, route, status, failure, answered_s, cut=cut)
        self.stats.record(backend, reason, route, exchange.head.method, status, duration_s, latency_s)
        if exchange.traceparent or exchange.head.shape.trace_id:
            trace_id = exchange.trace_id.decode("latin-1")
            self.stats.show(backend, route, duration_s, trace_id, self._unix_time())
        if self._log_request is not None:
            self._log_request(exchange, duration_s)
