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
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from splitter.errors import ExchangeError, no_connection, overload
from splitter.http1.response import ResponseHeadReader
from splitter.outlier import Breaker, State
from splitter.proxy.upstream import Upstream
from splitter.stats import Stats
from splitter.tasks import Tasks


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a backend: TCP host and port, or a unix socket's path when `host` is empty."""

    host: str
    port: int
    path: str = ""

    @property
    def authority(self) -> bytes:
        """What `Host` says of it."""
        if not self.host:
            return b"localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}".encode()


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """`max_connections` and `max_waiting` are for each endpoint; `idle_s` is how long an unused connection is kept."""

    connect_timeout_s: float
    idle_s: float
    max_connections: int
    max_waiting: int
    header_bytes: int
    headers: int


class Waiter(Protocol):
    """Who asks for a connection that isn't there yet."""

    waiting: bool

    def on_connection(self, upstream: Upstream) -> None: ...
    def on_no_connection(self, error: ExchangeError) -> None: ...


Dial = Callable[[Endpoint, Upstream], Awaitable[None]]
"""Connects the protocol to the endpoint; raises OSError."""


async def dial(endpoint: Endpoint, upstream: Upstream) -> None:
    """Open a socket. A host name is looked up again for each connection, so that a backend that moved is found."""
    loop = asyncio.get_running_loop()
    if endpoint.host:
        await loop.create_connection(lambda: upstream, endpoint.host, endpoint.port)
    else:
        # uvloop can't connect to a path of the abstract namespace. A unix socket connects at once or not at all.
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(0)
        try:
            sock.connect(endpoint.path)
        except OSError:
            sock.close()
            raise
        await loop.create_unix_connection(lambda: upstream, sock=sock)


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
        "_closed", "_connecting", "_idle", "_lent", "_limits", "_reader", "_shared", "_waiters", "breaker", "endpoint",
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
        self._limits = limits
        self._reader = ResponseHeadReader(limits.headers)
        self._idle: list[Upstream] = []
        self._lent: set[Upstream] = set()
        self._waiters: deque[Waiter] = deque()
        self._connecting = 0
        self._closed = False

    @property
    def outstanding(self) -> int:
        """Requests under way or waiting here."""
        return len(self._lent) + len(self._waiters)

    def counts(self) -> dict[str, int]:
        """Connections by state, for people and metrics."""
        return {"idle": len(self._idle), "active": len(self._lent), "connecting": self._connecting}

    def begin(self) -> None:
        """A request goes to this endpoint: the trial, if it was out."""
        if self.breaker.state is not State.CLOSED:
            self.breaker.begin(self._shared.clock())
            self._shared.on_breaker()

    def succeeded(self) -> None:
        """The endpoint answered well."""
        breaker = self.breaker
        if breaker.failures:
            was = breaker.state
            breaker.succeeded()
            if was is not State.CLOSED:
                self._shared.on_breaker()

    def failed(self) -> None:
        """The endpoint failed a request that it was sent."""
        was = self.breaker.state
        self.breaker.failed(self._shared.clock())
        if self.breaker.state is not was:
            self._shared.on_breaker()

    def tick(self) -> None:
        """Let time act on the breaker."""
        if self.breaker.state is not State.CLOSED and self.breaker.tick(self._shared.clock()):
            self._shared.on_breaker()

    def take_idle(self) -> Upstream | None:
        """The kept connection used last: the one least likely to have been closed by the backend meanwhile."""
        idle = self._idle
        while idle:
            upstream = idle.pop()
            if upstream.usable():
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
        upstream.idle_since_s = self._shared.clock()
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
            error = no_connection(cause.strerror or str(cause))
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

    __slots__ = ("endpoints", "name")

    def __init__(self, name: str, endpoints: tuple[EndpointPool, ...]) -> None:
        self.name = name
        self.endpoints = endpoints

    def choose(self) -> EndpointPool:
        """The least busy endpoint. Of equals the one whose turn it is, so that a quiet service uses all."""
        if len(self.endpoints) == 1:
            return self.endpoints[0]
        # When none is fit, all are tried: a request that can go nowhere else is worth a try.
        fit = [endpoint for endpoint in self.endpoints if endpoint.breaker.admits()] or self.endpoints
        best = min(fit, key=lambda endpoint: endpoint.outstanding)
        self.endpoints = (*(e for e in self.endpoints if e is not best), best)
        return best

    def fit(self) -> bool:
        """Whether any endpoint may be sent a request."""
        return any(endpoint.breaker.admits() for endpoint in self.endpoints)

    def tick(self) -> None:
        for endpoint in self.endpoints:
            endpoint.tick()

    def expire(self) -> None:
        for endpoint in self.endpoints:
            endpoint.expire()

    def close(self) -> None:
        for endpoint in self.endpoints:
            endpoint.close()
