"""One connection from a client: reads requests one after another, hands each to an exchange, writes what it answers.

Owns: the reading and framing of requests, pipelining, keep-alive. How it is written to and ends is `client_side`'s.
Must not know: backends, buckets, retries.
Invariants: at most one exchange at a time, so responses leave in the order of the requests; what the client has sent
beyond the request in hand is kept as bytes, unparsed and bounded; nothing is written once the client has gone.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from splitter.errors import BadRequest
from splitter.http1.chunked import ChunkedReader, ChunkError
from splitter.http1.request import CHUNKED, KNOWN_BYTES, OwnAnswer, RequestHead
from splitter.proxy.client_side import ClientSide, Phase
from splitter.proxy.flow import Hold, untaken_bytes
from splitter.proxy.tunnel import Tunnel

if TYPE_CHECKING:
    from splitter.proxy.plane import DataPlane
    from splitter.proxy.relay import Exchange
    from splitter.routing import Backend

_PIPELINE_BYTES: Final = 64 * 1024
# RFC 9112 section 2.2: empty lines before a request line are to be skipped.
_EMPTY_LINES: Final = re.compile(rb"\A(?:\r\n)+")
_CR: Final = 0x0D
_new: Final = object.__new__
"""Calling a class goes through C and back for its `__init__`, 1,500 instructions more than this and a method."""


# Aliases: Python 3.11 takes 40 ns to find a member through its class, and a request asks a dozen times.
_HEAD: Final = Phase.HEAD
_BODY: Final = Phase.BODY
_WAIT: Final = Phase.WAIT
_TUNNEL: Final = Phase.TUNNEL
_LINGER: Final = Phase.LINGER
_CLOSED: Final = Phase.CLOSED


class Downstream(ClientSide):
    """See the top of the file."""

    __slots__ = (
        "_body_bytes", "_chunks", "_exchange", "_head_begun", "_known", "_left_bytes", "_peer", "_proto", "_pumping",
        "_tunnel",
    )  # fmt: skip

    def __init__(self, plane: DataPlane, peer: str | None = None, proto: bytes = b"http") -> None:
        """`peer`: the client's address where the connection is not its own; `proto`: http, or https."""
        super().__init__(plane)
        self._peer = peer
        self._proto = proto
        self._exchange: Exchange | None = None
        self._tunnel: Tunnel | None = None
        self._known = plane.head_reader.known
        self._head_begun = False
        self._left_bytes = 0
        self._body_bytes = 0
        self._chunks: ChunkedReader | None = None
        self._pumping = False

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._take(transport)
        peer = self._peer
        if peer is None:
            name = transport.get_extra_info("peername")
            peer = name[0] if isinstance(name, tuple) else ""
        self.client = self._plane.client_at(peer, self._proto)
        self._plane.on_connected(self)
        self._plane.wheel.set(self, self._plane.first_byte_timeout_s)

    def data_received(self, data: bytes) -> None:
        plane, phase, size_bytes = self._plane, self._phase, len(data)
        plane.stats.downstream_read_bytes += size_bytes
        if phase is _HEAD:
            if self._buffer or not self._writable:
                self._keep(data)
                self._pump()
            elif size_bytes <= KNOWN_BYTES and (head := self._known.get(data)) is not None:
                self._head_begun = False
                self._phase = _WAIT
                exchange = self._exchange = _new(plane.exchange)
                exchange.begin(plane, self, head)
                exchange.start_known()
            elif self._read_head(data) and len(self._buffer) > 0:
                self._pump()
        elif phase is _BODY:
            self._read_body(data)
        elif phase is _TUNNEL:
            if self._tunnel is not None:
                self._tunnel.on_downstream_bytes(data)
        elif phase is _WAIT:
            self._keep(data)

    def eof_received(self) -> bool:
        if self._tunnel is not None:
            self._tunnel.on_downstream_eof()
            return True  # the other direction may go on
        # Anyone else who stops sending has left: like nginx and Envoy, don't work for a client that is gone.
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._phase = _CLOSED
        self._plane.wheel.forget(self)
        self._plane.on_disconnected(self)
        served = self._tunnel or self._exchange
        self._exchange = self._tunnel = None
        if served is not None:
            served.on_downstream_lost()

    def pause_writing(self) -> None:
        self._writable = False
        self._untaken_bytes = untaken_bytes(self.transport)
        served = self._tunnel or self._exchange
        if served is not None:
            served.on_downstream_full()

    def resume_writing(self) -> None:
        self._writable = True
        served = self._tunnel or self._exchange
        if served is not None:
            served.on_downstream_drained()
        elif self._phase is _HEAD:
            self.gate.release(Hold.PIPELINED)
            self._pump()

    def on_deadline(self) -> None:
        phase = self._phase
        if phase is _HEAD:
            if not self._buffer:
                self._close_when_taken()
            elif self._writable:
                error = BadRequest("the request head took too long", status=408, kind="request_timeout")
                self._refuse(error)
            else:
                self.abort()
        elif served := self._tunnel or self._exchange:
            served.on_timeout()
        else:
            self._close_when_taken()

    # --- for the exchange ---

    def leave(self, backend: Backend) -> None:
        """End what streams from this backend."""
        served = self._tunnel or self._exchange
        if served is not None and served.backend is backend:
            served.cut()

    def on_exchange_done(self, *, keep_alive: bool) -> None:
        """The response is written. What comes next depends on whether the connection may go on."""
        self._exchange = None
        if self._phase is _CLOSED:
            return
        if not keep_alive:
            self._linger()
            return
        self._phase = _HEAD
        self._served = True
        if self.gate.reasons:
            self.gate.release(Hold.ANY)
        self._plane.wheel.set(self, self._plane.keepalive_timeout_s)
        if self._buffer and not self._pumping:
            self._pump()

    def begin_tunnel(self, tunnel: Tunnel) -> None:
        """From now on bytes go to the tunnel as they come, first those that came early."""
        self._phase = _TUNNEL
        self._exchange = None
        self._tunnel = tunnel
        early, self._buffer = self._buffer, b""
        self.gate.release(Hold.PIPELINED)
        if early:
            tunnel.on_downstream_bytes(early)

    def end_tunnel(self) -> None:
        """Close once what was written is on its way, or the client takes no more of it."""
        if self._phase is _CLOSED:
            return
        self._tunnel = None
        self._phase = _LINGER
        self._watch_the_end()
        self.close()

    # --- reading ---

    def _keep(self, data: bytes) -> None:
        """Keep what can't be looked at yet; beyond a bound, read no more of it."""
        self._buffer += data
        if len(self._buffer) > _PIPELINE_BYTES and (self._phase is not _HEAD or not self._writable):
            self.gate.hold(Hold.PIPELINED)

    def _pump(self) -> None:
        """Start the next request, and the ones behind it as long as each ends at once."""
        self._pumping = True
        try:
            while self._phase is _HEAD and self._buffer and self._writable and not self.transport.is_closing():
                if not self._read_head(self._buffer):
                    break
        finally:
            self._pumping = False

    def _read_head(self, data: bytes) -> bool:
        """Start the request whose head `data` begins with; what lies behind is kept. False when there was none to start."""
        if data[0] == _CR:
            data = _EMPTY_LINES.sub(b"", data, 1)
        plane = self._plane
        end = data.find(b"\r\n\r\n")
        if end < 0 or end > plane.head_limits.header_bytes:
            self._keep_partial(data, end)
            return False
        end += 4
        block, rest = (data, b"") if end == len(data) else (data[:end], data[end:])
        self._buffer = rest
        try:
            head = plane.head_reader.read(block)
        except BadRequest as error:
            self._refuse(error)
            return False
        except OwnAnswer as answer:
            return self._answer(answer.head)
        self._head_begun = False
        exchange = self._exchange = _new(plane.exchange)
        exchange.begin(plane, self, head)
        if head.shape.body:
            self._buffer = b""
            self._begin_body(exchange, head, rest)
        else:
            self._phase = _WAIT
            if len(rest) > _PIPELINE_BYTES:
                self.gate.hold(Hold.PIPELINED)
            exchange.start()
        return True

    def _keep_partial(self, data: bytes, end: int) -> None:
        """Wait for the rest of a head, from its first byte on for so long and no longer."""
        self._buffer = data
        try:
            self._check_partial(data, end)
        except BadRequest as error:
            self._refuse(error)
            return
        if not self._head_begun:
            self._head_begun = True
            self._plane.wheel.set(self, self._plane.limits.header_timeout_s)

    def _answer(self, head: RequestHead) -> bool:
        """Tell what the splitter can do. With a body behind it the connection ends: nobody wants to read that."""
        keep_alive = head.shape.keep_alive and not head.shape.body and not self._plane.draining
        self._head_begun = False
        self.write(self._plane.own_options(head, close=not keep_alive))
        if keep_alive:
            self._plane.wheel.set(self, self._plane.keepalive_timeout_s)
            return True
        self._phase = _BODY if head.shape.body else _WAIT
        self._linger()
        return False

    def _check_partial(self, data: bytes, end: int) -> None:
        """Refuse early what can't become a good head any more, rather than wait for the rest of it."""
        limits = self._plane.head_limits
        line_end = data.find(b"\r\n")
        # The longest method and version around a target of the greatest length.
        if (line_end if line_end >= 0 else len(data)) > limits.target_bytes + 64:
            raise BadRequest(f"the target is longer than {limits.target_bytes} bytes", status=414, kind="uri_too_long")
        if end >= 0 or len(data) > limits.header_bytes:
            raise BadRequest(f"the head is larger than {limits.header_bytes} bytes", status=431, kind="headers_too_large")
        if data.count(b"\n") != data.count(b"\r\n"):
            raise BadRequest("a bare LF in the head")

    def _begin_body(self, exchange: Exchange, head: RequestHead, rest: bytes) -> None:
        self._phase = _BODY
        self._left_bytes = head.shape.body
        self._body_bytes = 0
        self._chunks = ChunkedReader(self._plane.head_limits.header_bytes) if head.shape.body == CHUNKED else None
        exchange.start()
        if rest and self._exchange is exchange:
            self._read_body(rest)

    def _read_body(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if self._chunks is not None:
            self._read_chunks(exchange, self._chunks, data)
            return
        left = self._left_bytes
        if len(data) < left:
            self._left_bytes = left - len(data)
            exchange.on_request_data(data)
            return
        self._left_bytes = 0
        self._phase = _WAIT
        if len(data) > left:
            data, self._buffer = data[:left], data[left:]
        exchange.on_request_data(data)
        if self._exchange is exchange:
            exchange.on_request_end([])

    def _read_chunks(self, exchange: Exchange, chunks: ChunkedReader, data: bytes) -> None:
        pieces: list[bytes] = []
        try:
            rest = chunks.feed(data, pieces)
        except ChunkError as error:
            exchange.fail(BadRequest(f"the request body is malformed: {error}"))
            return
        if pieces:
            piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._body_bytes += len(piece)
            limit = self._plane.head_limits.body_bytes
            if limit is not None and self._body_bytes > limit:
                message = f"the body is larger than {limit} bytes"
                exchange.fail(BadRequest(message, status=413, kind="content_too_large"))
                return
            exchange.on_request_data(piece)
        if chunks.done and self._exchange is exchange:
            self._phase = _WAIT
            self._buffer = rest
            exchange.on_request_end(chunks.trailers)

    def _refuse(self, error: BadRequest) -> None:
        """Answer a request that never became one, and close: where the next would begin is not certain."""
        self.write(self._plane.refusal(self.peer, error))
        self._linger()
