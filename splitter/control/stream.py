"""Server-sent events: what changes, to whoever listens, as it changes.

Owns: the listeners, what each message looks like, the sampling of rates while anybody listens.
Must not know: who may listen, how a change comes about.
Invariants: a new listener first gets the state as it is; every audit line it was not shown comes before the state that
follows from it; who reads too slowly is let go, and never holds up a change, the sampler or another listener.

The messages (https://html.spec.whatwg.org/multipage/server-sent-events.html): `status`, the body of GET /api/v1/rollout, and
`event`, one line of the audit list, both with the record's version as id, so that a browser that comes back (Last-Event-ID)
gets what it missed; `stats`, each second, without an id.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

import orjson
import structlog
from aiohttp import web

from splitter.rates import rates
from splitter.stats import Stats
from splitter.tasks import Tasks

LISTENERS: Final = 64
WAITING: Final = 64
"""Messages a listener may be behind: a minute of `stats`."""

SAMPLE_EVERY_S: Final = 1.0
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
        self._told_version = int(source.status()["version"])
        self._sampler: asyncio.Task[None] | None = None
        self._is_closed = False
        source.subscribe(self._changed)

    @property
    def has_room(self) -> bool:
        return len(self._listeners) < LISTENERS and not self._is_closed

    def close(self) -> None:
        """Let every listener go, as when the splitter stops."""
        if not self._is_closed:
            self._is_closed = True
            self._source.unsubscribe(self._changed)
            self._tell(None)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer with the stream, until its listener leaves, falls behind, or the splitter stops."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        listener = _Listener(request.transport)
        await response.prepare(request)
        missed = self._events_after(_last_id(request)) if "Last-Event-ID" in request.headers else b""
        self._listeners.add(listener)
        try:
            self._put(listener, b"retry: %d\n\n" % _RETRY_MS + missed + _status(self._source.status()))
            if self._sampler is None or self._sampler.done():
                self._sampler = self._tasks.start(self._sample(), "rates")
            await self._relay(listener, response)
        except ConnectionError:
            pass  # it left
        finally:
            self._listeners.discard(listener)
            if not self._listeners and self._sampler is not None:
                self._sampler.cancel()
                self._sampler = None
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
        before, before_s = await self._totals(), time.monotonic()
        while True:
            await asyncio.sleep(SAMPLE_EVERY_S)
            after, now_s = await self._totals(), time.monotonic()
            sides = {side: asdict(numbers) for side, numbers in rates(before, after, now_s - before_s).items()}
            self._tell(_message("stats", {"interval_s": round(now_s - before_s, 3), **sides}))
            before, before_s = after, now_s

    def _changed(self) -> None:
        status = self._source.status()
        told, self._told_version = self._told_version, int(status["version"])
        if self._listeners:
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
