"""Connections to one backend: kept ones first, new ones up to a limit, a bounded queue behind that.

Owns: which connection serves which request, how many there are, when an idle one is given up.
Must not know: HTTP, why the backend was chosen, what is done with a connection once it is lent.
Invariants:
- a connection is idle, lent or gone, never two of these;
- connecting + idle + lent never exceeds `max_connections` of an endpoint;
- whoever waits is served in order, told of a failure, or was cancelled by its owner: nobody waits for ever.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from splitter.errors import ExchangeError, no_connection, overload
from splitter.http1.response import ResponseHeadReader
from splitter.outlier import Breaker, State
from splitter.proxy.dial import Dial, Endpoint, error_of
from splitter.proxy.settings import PoolLimits
from splitter.proxy.upstream import Upstream
from splitter.stats import Stats
from splitter.tasks import Tasks


class Waiter(Protocol):
    """Who asks for a connection that isn't there yet."""

    waiting: bool

    def on_connection(self, upstream: Upstream) -> None: ...
    def on_no_connection(self, error: ExchangeError) -> None: ...
    def reconsider(self) -> None:
        """Something changed that may make this the wrong place to wait at."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What the pools of a plane have in common; `on_breaker` is called when an endpoint goes out or comes back."""

    tasks: Tasks
    stats: Stats
    clock: Callable[[], float]
    dial: Dial
    on_breaker: Callable[[], None]


class EndpointPool:
    """The connections to one endpoint."""

    __slots__ = (
        "_closed", "_connecting", "_idle", "_lent", "_limits", "_now_s", "_reader", "_shared", "_trial", "_waiters",
        "breaker", "down", "endpoint", "name",
    )  # fmt: skip

    def __init__(
        self,
        endpoint: Endpoint,
        limits: PoolLimits,
        breaker: Breaker,
        shared: Shared,
    ) -> None:
        self.breaker = breaker
        self._shared = shared
        self.endpoint = endpoint
        self.name = endpoint.authority.decode()
        self._limits = limits
        self._reader = ResponseHeadReader(limits.headers)
        self._idle: list[Upstream] = []
        self._lent: set[Upstream] = set()
        self._waiters: deque[Waiter] = deque()
        self._connecting = 0
        self._closed = False
        self._trial: Waiter | None = None
        self._now_s = shared.clock()
        self.down = False

    @property
    def out(self) -> bool:
        """Whether nobody should wait here: probes say that it is down, or its breaker is open."""
        return self.down or self.breaker.state is State.OPEN

    def admits(self) -> bool:
        """Whether a request may be sent."""
        return not self.down and self.breaker.admits()

    @property
    def outstanding(self) -> int:
        """Requests under way or waiting here."""
        return len(self._lent) + len(self._waiters)

    def counts(self) -> dict[str, int]:
        """Connections by state, for people and metrics."""
        return {"idle": len(self._idle), "active": len(self._lent), "connecting": self._connecting}

    def begin(self, request: Waiter) -> None:
        """A request goes to this endpoint: the trial, if it was out."""
        if self.breaker.state is State.HALF_OPEN and self.breaker.admits():
            self._trial = request
            self.breaker.begin(self._shared.clock())
            self._shared.on_breaker()

    def tries(self, request: Waiter) -> bool:
        """Whether this request is the trial."""
        return self._trial is request

    def abandon(self, request: Waiter) -> None:
        """A request ended without an answer that tells anything of the endpoint. If it was the trial, another may try."""
        if self._trial is request:
            self._trial = None
            self.breaker.abandon()
            self._shared.on_breaker()

    def succeeded(self) -> None:
        """The endpoint answered well."""
        breaker = self.breaker
        if breaker.failures:
            was = breaker.state
            self._trial = None
            breaker.succeeded()
            if was is not State.CLOSED:
                self._shared.on_breaker()

    def failed(self, request: Waiter) -> None:
        """The endpoint failed a request that it was sent."""
        was = self.breaker.state
        if was is State.HALF_OPEN and self._trial is not request:
            return  # it began before the endpoint was taken out; the trial will tell
        self._trial = None
        self.breaker.failed(self._shared.clock())
        if self.breaker.state is not was:
            self._shared.on_breaker()

    def tick(self) -> None:
        """Let time act on the breaker, and tell idle connections by it: a call of the clock for each is 60 ns."""
        self._now_s = self._shared.clock()
        if self.breaker.state is not State.CLOSED and self.breaker.tick(self._now_s):
            self._shared.on_breaker()

    def take_idle(self, *, certain: bool) -> Upstream | None:
        """The kept connection used last: the one least likely to have been closed by the backend meanwhile.

        `certain`: the kernel is asked whether it was closed, 2 µs; for a request that can't be sent a second time.
        """
        idle = self._idle
        while idle:
            upstream = idle.pop()
            if upstream.transport.is_closing():
                continue
            if certain and upstream.stale():
                upstream.close()
                continue
            self._lent.add(upstream)
            return upstream
        return None

    def wait(self, waiter: Waiter) -> None:
        """Queue for a connection; one is opened while the limit allows. Raises ExchangeError when the queue is full."""
        if len(self._waiters) >= self._limits.max_waiting:
            raise overload("every connection to the backend is busy and the queue is full")
        waiter.waiting = True
        self._waiters.append(waiter)
        self._open_if_needed()

    def cancel(self, waiter: Waiter) -> None:
        """The waiter does not want a connection any more."""
        waiter.waiting = False
        try:
            self._waiters.remove(waiter)
        except ValueError:
            return  # it was served in this very moment

    def reconsider(self) -> None:
        """Have everyone who waits here look again whether it is the place to wait at."""
        for waiter in list(self._waiters):
            if waiter.waiting:
                waiter.reconsider()

    def give_back(self, upstream: Upstream) -> None:
        """A lent connection can be used again."""
        self._lent.discard(upstream)
        if self._closed:
            upstream.close()
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if waiter.waiting:
                waiter.waiting = False
                self._lent.add(upstream)
                waiter.on_connection(upstream)
                return
        upstream.idle_since_s = self._now_s
        self._idle.append(upstream)

    def on_gone(self, upstream: Upstream) -> None:
        """A connection was closed, by whichever side, in whichever state."""
        self._lent.discard(upstream)
        if upstream in self._idle:
            self._idle.remove(upstream)
        self._open_if_needed()

    def expire(self) -> None:
        """Close the connections nobody has used for a while. The oldest stand first."""
        limit_s = self._shared.clock() - self._limits.idle_s
        expired = 0
        for upstream in self._idle:
            if upstream.idle_since_s > limit_s:
                break
            expired += 1
        old, self._idle = self._idle[:expired], self._idle[expired:]
        for upstream in old:
            upstream.close()

    def close(self) -> None:
        """Keep nothing any more; what is lent is closed when it comes back."""
        self._closed = True
        idle, self._idle = self._idle, []
        for upstream in idle:
            upstream.close()

    def _open_if_needed(self) -> None:
        total = len(self._lent) + len(self._idle) + self._connecting
        if self._connecting < len(self._waiters) and total < self._limits.max_connections:
            self._connecting += 1
            self._shared.tasks.start(self._connect(), "connect")

    async def _connect(self) -> None:
        endpoint = self.endpoint
        upstream = Upstream(self, endpoint.authority, self._shared.stats, self._reader, self._limits.header_bytes)
        error: ExchangeError | None = None
        try:
            async with asyncio.timeout(self._limits.connect_timeout_s):
                await self._shared.dial(endpoint, upstream)
        except TimeoutError:
            error = no_connection(f"no connection within {self._limits.connect_timeout_s:g} s")
        except OSError as cause:
            error = error_of(cause)
        finally:
            self._connecting -= 1
        if error is None and not upstream.usable():
            error = no_connection("the backend closed the connection at once")
        if error is None:
            self._lent.add(upstream)
            self.give_back(upstream)
        else:
            self._fail_next(error)
        self._open_if_needed()

    def _fail_next(self, error: ExchangeError) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if waiter.waiting:
                waiter.waiting = False
                waiter.on_no_connection(error)
                return


class BackendPool:
    """The endpoints of one backend; a request goes to the one with the least outstanding."""

    __slots__ = ("endpoints", "name", "only")

    def __init__(self, name: str, endpoints: tuple[EndpointPool, ...]) -> None:
        self.name = name
        self.endpoints = endpoints
        self.only = endpoints[0] if len(endpoints) == 1 else None

    def choose(self) -> EndpointPool:
        """The least busy endpoint. Of equals the one whose turn it is, so that a quiet service uses all."""
        return self._least_busy(self.endpoints)

    def another(self, tried: tuple[EndpointPool, ...]) -> EndpointPool | None:
        """An endpoint that is none of those and may be sent a request."""
        left = tuple(endpoint for endpoint in self.endpoints if endpoint not in tried and endpoint.admits())
        return self._least_busy(left) if left else None

    def _least_busy(self, among: tuple[EndpointPool, ...]) -> EndpointPool:
        # When none is fit, all are tried: a request that can go nowhere else is worth a try.
        fit = [endpoint for endpoint in among if endpoint.admits()] or among
        best = min(fit, key=lambda endpoint: endpoint.outstanding)
        self.endpoints = (*(e for e in self.endpoints if e is not best), best)
        return best

    def fit(self) -> bool:
        """Whether any endpoint may be sent a request."""
        return any(endpoint.admits() for endpoint in self.endpoints)

    def mark_down(self, urls: frozenset[str]) -> None:
        """Probes found these endpoints down, and the others up."""
        for endpoint in self.endpoints:
            endpoint.down = endpoint.endpoint.url in urls

    def reconsider(self) -> None:
        for endpoint in self.endpoints:
            endpoint.reconsider()

    def tick(self) -> None:
        for endpoint in self.endpoints:
            endpoint.tick()

    def expire(self) -> None:
        for endpoint in self.endpoints:
            endpoint.expire()

    def close(self) -> None:
        for endpoint in self.endpoints:
            endpoint.close()
