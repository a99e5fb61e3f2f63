"""The pool of a backend under any order of events."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from hypothesis import given, settings
from hypothesis import strategies as st

from splitter.errors import ExchangeError
from splitter.outlier import Breaker
from splitter.proxy.dial import Endpoint
from splitter.proxy.pool import BackendPool, EndpointPool, Shared
from splitter.proxy.settings import PoolLimits
from splitter.proxy.upstream import Upstream
from splitter.stats import Stats
from splitter.tasks import Tasks
from tests.protocol.rig import FakeTransport

MOST = 2
QUEUE = 3
ENDPOINTS = (Endpoint("a", 1), Endpoint("b", 2), Endpoint("c", 3))


class Client:
    """A request: where it waits, what it got."""

    def __init__(self, pool: EndpointPool) -> None:
        self.pool = pool
        self.waiting = False
        self.upstream: Upstream | None = None
        self.told: list[str] = []

    def on_connection(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.told.append("connection")

    def on_no_connection(self, error: ExchangeError) -> None:
        self.told.append(error.kind)

    def reconsider(self) -> None:
        """Stays: what is tried here is the pool."""


class World:
    """A pool, its clients, and connects that end when the test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.connects: list[tuple[asyncio.Future[None], Upstream]] = []
        self.errors: list[BaseException] = []
        shared = Shared(
            Tasks(lambda _name, error: self.errors.append(error)), Stats(), lambda: self.now_s, self._dial, lambda: None
        )
        limits = PoolLimits(60, 60, MOST, QUEUE, 4096, 50)
        self.pool = BackendPool("x", tuple(EndpointPool(e, limits, Breaker(2, 1), shared) for e in ENDPOINTS))
        self.clients: list[Client] = []

    def _dial(self, endpoint: Endpoint, upstream: Upstream) -> Awaitable[None]:
        ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.connects.append((ending, upstream))
        return ending

    def request(self) -> None:
        chosen = self.pool.choose()
        fit = [endpoint for endpoint in self.pool.endpoints if endpoint.admits()] or list(self.pool.endpoints)
        assert chosen in fit
        assert chosen.outstanding == min(endpoint.outstanding for endpoint in fit)
        client = Client(chosen)
        chosen.begin(client)
        client.upstream = chosen.take_idle(certain=False)
        if client.upstream is None:
            try:
                chosen.wait(client)
            except ExchangeError as error:
                assert len([one for one in self.clients if one.waiting and one.pool is chosen]) == QUEUE
                client.told.append(error.kind)
                return
        self.clients.append(client)

    def of(self, number: int, *, served: bool) -> Client | None:
        found = [one for one in self.clients if (one.upstream is not None if served else one.waiting)]
        return found[number % len(found)] if found else None

    def end(self, number: int, how: str) -> None:
        """A request under way ends: its connection is given back, breaks, or the backend failed it."""
        client = self.of(number, served=True)
        if client is None or client.upstream is None:
            return
        upstream = client.upstream
        if how == "fail":
            client.pool.failed(client)
        elif how == "ok":
            client.pool.succeeded()
        else:
            client.pool.abandon(client)
        self.clients.remove(client)
        if how == "break":
            upstream.close()
        else:
            client.pool.give_back(upstream)

    def leave(self, number: int) -> None:
        client = self.of(number, served=False)
        if client is not None:
            client.pool.cancel(client)
            client.pool.abandon(client)
            self.clients.remove(client)

    def connect(self, number: int, error: OSError | None) -> None:
        if self.connects:
            ending, upstream = self.connects.pop(number % len(self.connects))
            if error is None:
                upstream.connection_made(FakeTransport(upstream))
                ending.set_result(None)
            else:
                ending.set_exception(error)

    def check(self) -> None:
        assert not self.errors
        for endpoint in self.pool.endpoints:
            counts = endpoint.counts()
            waiting = [one for one in self.clients if one.waiting and one.pool is endpoint]
            assert sum(counts.values()) <= MOST
            assert counts["active"] == len([one for one in self.clients if one.upstream and one.pool is endpoint])
            assert len(waiting) <= QUEUE
            assert not (waiting and counts["idle"]), "nobody waits beside a connection that nobody uses"
            assert not waiting or sum(counts.values()) == MOST or counts["connecting"] >= len(waiting)
        assert all(len(client.told) <= 1 for client in self.clients)
        self.clients = [one for one in self.clients if one.waiting or one.upstream is not None]
        held = [one.upstream for one in self.clients if one.upstream is not None]
        assert len(held) == len(set(held)), "a connection serves one request"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["request"] * 4 + ["ok", "fail", "break", "leave", "connect", "connect", "refuse", "down", "time"]),
        st.integers(0, 5),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_any_order_of_events(steps: list[tuple[str, int]]) -> None:
    asyncio.run(_run(steps))


async def _run(steps: list[tuple[str, int]]) -> None:
    world = World()
    for step, number in steps:
        match step:
            case "request":
                world.request()
            case "ok" | "fail" | "break":
                world.end(number, step)
            case "leave":
                world.leave(number)
            case "connect" | "refuse":
                await asyncio.sleep(0)
                world.connect(number, None if step == "connect" else ConnectionRefusedError(111, "refused"))
            case "down":
                world.pool.mark_down(frozenset(e.url for e in ENDPOINTS[: number % 4]))
            case "time":
                world.now_s += number
                world.pool.tick()
                world.pool.expire()
        for _ in range(4):
            await asyncio.sleep(0)
        world.check()
    world.pool.close()
    for ending, _ in world.connects:
        ending.cancel()
    await asyncio.sleep(0)
