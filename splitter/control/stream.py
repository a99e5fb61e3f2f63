"""Server-sent events: what changes, to whoever listens, as it changes.

Owns: the listeners, what each message looks like, the sampling of rates, the last quarter of an hour of them.
Must not know: who may listen, how a change comes about.
Invariants: a new listener first gets the state as it is; every audit line it was not shown comes before the state that
follows from it; who reads too slowly is let go, and never holds up a change, the sampler or another listener.

The messages (https://html.spec.whatwg.org/multipage/server-sent-events.html): `status`, the body of GET /api/v1/rollout, and
`event`, one line of the audit list, both with the record's version as id, so that a browser that comes back (Last-Event-ID)
gets what it missed; without an id `stats`, each second, `history`, the points of the last quarter of an hour, once after the
first `status`, and `point`, each five seconds. Points are taken whether or not anybody listens: who is called at night opens
the page after it has happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

import orjson
import structlog
from aiohttp import web

from splitter.control.times import when
from splitter.rates import incidents, latencies, rates
from splitter.stats import BOUNDS_S, Stats
from splitter.tasks import Tasks

LISTENERS: Final = 64
WAITING: Final = 64
"""Messages a listener may be behind: a minute of `stats`."""

SAMPLE_EVERY_S: Final = 1.0
POINT_EVERY_S: Final = 5.0
POINTS: Final = 180
"""A quarter of an hour."""

HEARTBEAT_S: Final = 10.0
_RETRY_MS: Final = 1000

Document = Mapping[str, Any]


class Source(Protocol):
    """What the stream tells of. `events` are oldest first."""

    def status(self) -> Document: ...
    def events(self) -> Sequence[Document]: ...
    def subscribe(self, listener: Callable[[], None]) -> None: ...
    def unsubscribe(self, listener: Callable[[], None]) -> None: ...


@dataclass(slots=True, eq=False)
class _Listener:
    transport: asyncio.Transport | None
    queue: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(WAITING))


class Hub:
    """All listeners of one splitter. `dropped` counts those that read too slowly."""

    def __init__(self, source: Source, totals: Callable[[], Awaitable[Stats]], tasks: Tasks) -> None:
        self.dropped = 0
        self._source = source
        self._totals = totals
        self._tasks = tasks
        self._listeners: set[_Listener] = set()
        self._told_version = 0  # set when somebody listens
        self._points: deque[Document] = deque(maxlen=POINTS)
        self._sampler: asyncio.Task[None] | None = None
        self._listened_to = asyncio.Event()
        self._is_closed = False
        source.subscribe(self._changed)

    @property
    def has_room(self) -> bool:
        return len(self._listeners) < LISTENERS and not self._is_closed

    def start(self) -> None:
        """Begin to sample; again, should that have ended by a fault."""
        if self._sampler is None or self._sampler.done():
            self._sampler = self._tasks.start(self._sample(), "rates")

    def close(self) -> None:
        """Let every listener go, as when the splitter stops."""
        if not self._is_closed:
            self._is_closed = True
            self._source.unsubscribe(self._changed)
            self._tell(None)
            if self._sampler is not None:
                self._sampler.cancel()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer with the stream, until its listener leaves, falls behind, or the splitter stops."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        listener = _Listener(request.transport)
        await response.prepare(request)
        missed = self._events_after(_last_id(request)) if "Last-Event-ID" in request.headers else b""
        status = self._source.status()
        if not self._listeners:
            self._told_version = int(status["version"])  # who comes first is shown all up to here
        self._listeners.add(listener)
        try:
            now = _status(status) + self._history()
            self._put(listener, b"retry: %d\n\n" % _RETRY_MS + missed + now)
            self.start()
            self._listened_to.set()
            await self._relay(listener, response)
        except ConnectionError:
            pass  # it left
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._listened_to.clear()
        return response

    async def _relay(self, listener: _Listener, response: web.StreamResponse) -> None:
        while True:
            try:
                message = await asyncio.wait_for(listener.queue.get(), HEARTBEAT_S)
            except TimeoutError:
                message = b": alive\n\n"
            if message is None:
                return
            await response.write(message)

    async def _sample(self) -> None:
        """A message each second for who listens, a point each five; nothing in between is collected for nobody."""
        before, before_s = await self._totals(), time.monotonic()
        marked, marked_s = before, before_s
        while True:
            await self._until_due(marked_s + POINT_EVERY_S - time.monotonic())
            after, now_s = await self._totals(), time.monotonic()
            if self._listeners:
                sides = {side: asdict(numbers) for side, numbers in rates(before, after, now_s - before_s).items()}
                self._tell(_message("stats", {"interval_s": round(now_s - before_s, 3), **sides}))
            before, before_s = after, now_s
            if now_s - marked_s >= POINT_EVERY_S:
                point = _point(marked, after, now_s - marked_s)
                self._points.append(point)
                self._tell(_message("point", point))
                marked, marked_s = after, now_s

    async def _until_due(self, point_in_s: float) -> None:
        if self._listeners:
            await asyncio.sleep(SAMPLE_EVERY_S)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._listened_to.wait(), max(0.0, point_in_s))

    def _history(self) -> bytes:
        told = {"at": when(time.time()), "every_s": POINT_EVERY_S, "bounds_s": BOUNDS_S, "points": tuple(self._points)}
        return _message("history", told)

    def _changed(self) -> None:
        if not self._listeners:
            return  # verdicts change every other second, and nobody is to be told
        status = self._source.status()
        told, self._told_version = self._told_version, int(status["version"])
        self._tell(self._events_after(told) + _status(status))

    def _tell(self, message: bytes | None) -> None:
        for listener in tuple(self._listeners):
            self._put(listener, message)

    def _put(self, listener: _Listener, message: bytes | None) -> None:
        try:
            listener.queue.put_nowait(message)
        except asyncio.QueueFull:
            self.dropped += 1
            self._listeners.discard(listener)
            structlog.get_logger().warning("listener_dropped", why="it reads too slowly", waiting=WAITING)
            if listener.transport is not None:
                listener.transport.abort()

    def _events_after(self, version: int) -> bytes:
        events = [event for event in self._source.events() if event["version"] > version]
        return b"".join(_message("event", event, event["version"]) for event in events)


def _point(before: Stats, after: Stats, interval_s: float) -> Document:
    """What happened between two readings, with the latencies' histogram of each side so that points can be added up."""
    counts = latencies(before, after)
    sides = {
        side: asdict(numbers) | {"latency_counts": counts[side]}
        for side, numbers in rates(before, after, interval_s).items()
    }
    return {"at": when(time.time()), "interval_s": round(interval_s, 3), **sides, **incidents(before, after)}


def _status(status: Document) -> bytes:
    return _message("status", status, status["version"])


def _last_id(request: web.Request) -> int:
    """What the listener was shown last; everything there is for one that doesn't say it in our form."""
    text = request.headers["Last-Event-ID"]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _message(name: str, body: Document, version: int | None = None) -> bytes:
    """One message. Its data is one line: JSON has no line break outside of what it escapes."""
    mark = b"" if version is None else b"id: %d\n" % version
    return mark + b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(body))
