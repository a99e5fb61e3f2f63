"""One connection to a backend: sends a request head and body, reads one response at a time.

Owns: its transport, the reading and framing of responses. Must not know: clients, buckets, retries.
Invariants: at most one exchange is bound to it; every exchange hears of its end exactly once, by `on_response_end` or by
`on_upstream_lost`; a connection that has said anything unasked, or more than its response, is never used again.
"""

from __future__ import annotations

import asyncio
import select
from enum import Enum
from math import inf
from typing import Final, Protocol, cast

from splitter.errors import BadResponse
from splitter.http1.chunked import ChunkedReader, ChunkError
from splitter.http1.fields import Pair
from splitter.http1.request import CHUNKED, NO_BODY
from splitter.http1.response import SWITCHING, UNTIL_CLOSE, ResponseHead, ResponseHeadReader
from splitter.proxy.deadlines import Wheel
from splitter.proxy.flow import ReadGate, untaken_bytes
from splitter.stats import Stats

_HIGH_WATER_BYTES = 256 * 1024
_LOW_WATER_BYTES = 64 * 1024
_STALLED_S: Final = 60.0
_NEWS: Final = select.POLLIN | select.POLLRDHUP
_TLS_NEWS: Final = select.POLLRDHUP
"""What tells that an idle connection is none any more. TLS may have tickets for later in it, which tell nothing."""


class Listener(Protocol):
    """Who is told what the backend answers."""

    def on_interim(self, head: ResponseHead) -> None: ...
    def on_switch(self, head: ResponseHead, rest: bytes) -> None: ...
    def on_response(self, head: ResponseHead, body: bytes) -> None: ...
    def on_whole_response(self, head: ResponseHead, body: bytes) -> None: ...
    def on_response_data(self, data: bytes) -> None: ...
    def on_response_end(self, trailers: list[Pair]) -> None: ...
    def on_upstream_lost(self, error: Exception | None) -> None: ...
    def on_bad_response(self, error: BadResponse) -> None: ...
    def on_upstream_full(self) -> None: ...
    def on_upstream_drained(self) -> None: ...


class RawListener(Protocol):
    """Who is told of the bytes once they are no HTTP any more."""

    def on_upstream_bytes(self, data: bytes) -> None: ...
    def on_upstream_eof(self) -> None: ...
    def on_upstream_lost(self, error: Exception | None) -> None: ...
    def on_upstream_full(self) -> None: ...
    def on_upstream_drained(self) -> None: ...


class Owner(Protocol):
    """Where a connection belongs."""

    def give_back(self, upstream: Upstream) -> None: ...
    def on_gone(self, upstream: Upstream) -> None: ...


class Phase(Enum):
    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    TUNNEL = "tunnel"
    CLOSED = "closed"


# Aliases: Python 3.11 takes 40 ns to find a member through its class, and a request asks a dozen times.
_IDLE: Final = Phase.IDLE
_HEAD: Final = Phase.HEAD
_BODY: Final = Phase.BODY
_TUNNEL: Final = Phase.TUNNEL
_CLOSED: Final = Phase.CLOSED


class Upstream(asyncio.Protocol):
    """See the top of the file. `reused` says whether a response came through it before the one awaited."""

    __slots__ = (
        "_buffer",
        "_chunks",
        "_head_keeps",
        "_header_bytes",
        "_known",
        "_left_bytes",
        "_listener",
        "_method",
        "_news",
        "_owner",
        "_phase",
        "_raw",
        "_reader",
        "_stats",
        "_untaken_bytes",
        "_wheel",
        "authority",
        "deadline_s",
        "gate",
        "heard",
        "idle_since_s",
        "reused",
        "slot",
        "transport",
    )

    def __init__(self, owner: Owner, authority: bytes, stats: Stats, reader: ResponseHeadReader, header_bytes: int) -> None:
        self.authority = authority
        self._owner = owner
        self._stats = stats
        self._header_bytes = header_bytes
        self._reader = reader
        self._known = reader.known
        self._phase = _IDLE
        self._listener: Listener | None = None
        self._raw: RawListener | None = None
        self._method = b""
        self._buffer = b""
        self._left_bytes = 0
        self._chunks: ChunkedReader | None = None
        self._head_keeps = False
        self.heard = False
        self.reused = False
        self.idle_since_s = 0.0
        self._untaken_bytes = 0
        self._wheel: Wheel | None = None
        self.deadline_s = inf
        self.slot = 0
        self.transport: asyncio.Transport

    def __repr__(self) -> str:
        return f"<Upstream {self._phase.value}{', reused' if self.reused else ''}>"

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(_HIGH_WATER_BYTES, _LOW_WATER_BYTES)
        self.gate = ReadGate(self.transport)
        self._news = _NEWS if transport.get_extra_info("sslcontext") is None else _TLS_NEWS

    def data_received(self, data: bytes) -> None:
        self._stats.upstream_read_bytes += len(data)
        phase = self._phase
        if self._raw is not None:
            self._raw.on_upstream_bytes(data)
            return
        listener = self._listener
        if listener is None:
            self.close()  # a backend that speaks unasked: what it says would be read as the next request's answer
            return
        self.heard = True
        if phase is _BODY:
            self._read_body(listener, data)
        elif phase is _HEAD:
            if self._buffer:
                data, self._buffer = self._buffer + data, b""
            block, end, rest = data.partition(b"\r\n\r\n")
            head = self._known.get(block) if end else None
            if head is None or self._method == b"HEAD":
                self._read_head(listener, data)
            elif head.body == len(rest):
                self._head_keeps = head.keep_alive
                listener.on_whole_response(head, rest)
            else:
                self._on_final(listener, head, rest)

    def eof_received(self) -> bool:
        if self._raw is not None:
            self._raw.on_upstream_eof()
            return self._news is not _TLS_NEWS  # the other direction may go on; asyncio's TLS knows only both
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        phase, self._phase = self._phase, _CLOSED
        listener, self._listener = self._listener, None
        raw, self._raw = self._raw, None
        if self._wheel is not None:
            self._wheel.forget(self)
        self._owner.on_gone(self)
        if raw is not None:
            raw.on_upstream_lost(exc)
        if listener is None:
            return
        if phase is _BODY and self._left_bytes == UNTIL_CLOSE and exc is None:
            listener.on_response_end([])
        else:
            listener.on_upstream_lost(exc)

    def pause_writing(self) -> None:
        self._untaken_bytes = untaken_bytes(self.transport)
        told = self._raw or self._listener
        if told is not None:
            told.on_upstream_full()

    def resume_writing(self) -> None:
        told = self._raw or self._listener
        if told is not None:
            told.on_upstream_drained()

    # --- for exchanges and pools ---

    def usable(self) -> bool:
        """Whether an idle connection can take a request, as far as anyone can tell."""
        return self._phase is _IDLE and not self.transport.is_closing()

    def stale(self) -> bool:
        """Whether this idle connection was closed by the backend, or said something, and the loop has not told us yet."""
        sock = self.transport.get_extra_info("socket")
        if sock is None:
            return False
        poll = select.poll()
        poll.register(sock.fileno(), self._news)
        return bool(poll.poll(0))

    def send(self, listener: Listener, method: bytes, data: bytes) -> None:
        """Begin a request, on a connection that is usable; the response is for this one."""
        self._listener = listener
        self._method = method
        self._phase = _HEAD
        self.heard = False
        self._stats.upstream_written_bytes += len(data)
        self.transport.write(data)

    def join(self, raw: RawListener) -> None:
        """After 101: what comes now are bytes for this one."""
        self._phase = _TUNNEL
        self._listener = None
        self._raw = raw

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self._stats.upstream_written_bytes += len(data)
            self.transport.write(data)

    def write_eof(self) -> None:
        if not self.transport.is_closing() and self.transport.can_write_eof():
            self.transport.write_eof()

    def close(self) -> None:
        """Leave: no exchange is told of it, it must have let go before."""
        self._listener = None
        self._raw = None
        self._phase = _CLOSED
        if not self.transport.is_closing():
            self.transport.abort()

    def close_when_sent(self, wheel: Wheel) -> None:
        """Leave once what was written is on its way, or the backend takes no more of it (the end of a tunnel)."""
        self._raw = None
        self._phase = _CLOSED
        if not self.transport.is_closing():
            self._untaken_bytes = untaken_bytes(self.transport)
            self._wheel = wheel
            wheel.set(self, _STALLED_S)
            self.transport.close()

    def on_deadline(self) -> None:
        """It is closing. A backend that still takes what it was sent may go on."""
        if self._wheel is not None and self.progressing():
            self._wheel.set(self, _STALLED_S)
        else:
            self.transport.abort()

    def progressing(self) -> bool:
        """Whether the backend has taken some of what waits for it since this was last asked."""
        before, self._untaken_bytes = self._untaken_bytes, untaken_bytes(self.transport)
        return self._untaken_bytes < before

    def finish(self, *, reusable: bool) -> None:
        """The exchange is over: back to the pool, or closed."""
        self._listener = None
        if reusable and self._head_keeps and not self.transport.is_closing():
            self._phase = _IDLE
            self.reused = True
            self._owner.give_back(self)
        else:
            self.close()

    # --- reading ---

    def _read_head(self, listener: Listener, data: bytes) -> None:
        while True:
            end = data.find(b"\r\n\r\n")
            if (end if end >= 0 else len(data)) > self._header_bytes:
                self._refuse(listener, BadResponse("the backend's head is too large"))
                return
            if end < 0:
                self._buffer = data
                return
            end += 4
            block, rest = (data, b"") if end == len(data) else (data[:end], data[end:])
            try:
                head = self._reader.read(block, self._method)
            except BadResponse as error:
                self._refuse(listener, error)
                return
            if head.status >= 200:
                break
            if head.status == SWITCHING:
                listener.on_switch(head, rest)
                return
            listener.on_interim(head)
            if not rest or self._listener is not listener:
                return
            data = rest
        self._on_final(listener, head, rest)

    def _on_final(self, listener: Listener, head: ResponseHead, rest: bytes) -> None:
        """The head of the answer is there, and what came behind it."""
        length = head.body
        if 0 <= length <= len(rest):
            # More than one answer to one request: this connection can't be trusted again.
            self._head_keeps = head.keep_alive and len(rest) == length
            listener.on_whole_response(head, rest[:length])
        else:
            self._begin_body(listener, head, rest)

    def _begin_body(self, listener: Listener, head: ResponseHead, rest: bytes) -> None:
        length = head.body
        self._head_keeps = head.keep_alive
        self._phase = _BODY
        self._left_bytes = length
        self._chunks = ChunkedReader(self._header_bytes) if length == CHUNKED else None
        if length == CHUNKED or not rest:
            listener.on_response(head, b"")
            if rest and self._listener is listener:
                self._read_body(listener, rest)
            return
        if length > NO_BODY:
            self._left_bytes = length - len(rest)
        listener.on_response(head, rest)

    def _read_body(self, listener: Listener, data: bytes) -> None:
        left = self._left_bytes
        if left > 0:
            if len(data) < left:
                self._left_bytes = left - len(data)
                listener.on_response_data(data)
                return
            if len(data) > left:
                self._head_keeps = False
                data = data[:left]
            self._left_bytes = 0
            listener.on_response_data(data)
            if self._listener is listener:
                listener.on_response_end([])
        elif left == UNTIL_CLOSE:
            listener.on_response_data(data)
        else:
            self._read_chunks(listener, data)

    def _read_chunks(self, listener: Listener, data: bytes) -> None:
        chunks = self._chunks
        if chunks is None:
            return
        pieces: list[bytes] = []
        error: ChunkError | None = None
        rest = b""
        try:
            rest = chunks.feed(data, pieces)
        except ChunkError as found:
            error = found
        if pieces:
            listener.on_response_data(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if error is not None and self._listener is listener:
            self._refuse(listener, BadResponse(f"the backend's body is malformed: {error}"))
            return
        if chunks.done and self._listener is listener:
            if rest:
                self._head_keeps = False
            listener.on_response_end(chunks.trailers)

    def _refuse(self, listener: Listener, error: BadResponse) -> None:
        self.close()
        listener.on_bad_response(error)
