"""One connection from a client: reads requests one after another, hands each to an exchange, writes what it answers.

Owns: its transport, the reading and framing of requests, pipelining, keep-alive, lingering.
Must not know: backends, buckets, retries.
Invariants: at most one exchange at a time, so responses leave in the order of the requests; what the client has sent
beyond the request in hand is kept as bytes, unparsed and bounded; nothing is written once the client has gone.
"""

from __future__ import annotations

import asyncio
import re
import struct
from enum import Enum
from math import inf
from socket import SO_LINGER, SOL_SOCKET
from typing import TYPE_CHECKING, Final, cast

from splitter.errors import BadRequest
from splitter.http1.chunked import ChunkedReader, ChunkError
from splitter.http1.request import CHUNKED, OwnAnswer, RequestHead
from splitter.proxy.flow import Hold, ReadGate, untaken_bytes
from splitter.proxy.tunnel import Tunnel

if TYPE_CHECKING:
    from splitter.http1.forwarding import Client
    from splitter.proxy.plane import DataPlane
    from splitter.proxy.relay import Exchange
    from splitter.routing import Backend

_HIGH_WATER_BYTES: Final = 256 * 1024
_LOW_WATER_BYTES: Final = 64 * 1024
_PIPELINE_BYTES: Final = 64 * 1024
_LINGER_S: Final = 5.0
_STALLED_S: Final = 60.0
"""As long as a backend may be silent in mid-response, a client may be in taking the last one."""
# RFC 9112 section 2.2: empty lines before a request line are to be skipped.
_EMPTY_LINES: Final = re.compile(rb"\A(?:\r\n)+")
_CR: Final = 0x0D
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Phase(Enum):
    HEAD = "head"  # between requests, or in the middle of a head
    BODY = "body"  # an exchange is under way and its request is not complete
    WAIT = "wait"  # an exchange is under way and its request is complete
    TUNNEL = "tunnel"
    LINGER = "linger"  # the last response was sent; what still comes is thrown away
    CLOSED = "closed"


# Aliases: Python 3.11 takes 40 ns to find a member through its class, and a request asks a dozen times.
_HEAD: Final = Phase.HEAD
_BODY: Final = Phase.BODY
_WAIT: Final = Phase.WAIT
_TUNNEL: Final = Phase.TUNNEL
_LINGER: Final = Phase.LINGER
_CLOSED: Final = Phase.CLOSED


class Downstream(asyncio.Protocol):
    """See the top of the file."""

    __slots__ = (
        "_body_bytes",
        "_buffer",
        "_chunks",
        "_exchange",
        "_head_begun",
        "_left_bytes",
        "_peer",
        "_phase",
        "_plane",
        "_proto",
        "_pumping",
        "_served",
        "_tunnel",
        "_untaken_bytes",
        "_writable",
        "client",
        "deadline_s",
        "gate",
        "slot",
        "transport",
    )

    transport: asyncio.Transport
    gate: ReadGate
    client: Client

    def __init__(self, plane: DataPlane, peer: str | None = None, proto: bytes = b"http") -> None:
        """`peer`: the client's address where the connection is not its own; `proto`: http, or https."""
        self._plane = plane
        self._peer = peer
        self._proto = proto
        self._phase = _HEAD
        self._buffer = b""
        self._exchange: Exchange | None = None
        self._tunnel: Tunnel | None = None
        self._head_begun = False
        self._left_bytes = 0
        self._body_bytes = 0
        self._chunks: ChunkedReader | None = None
        self._pumping = False
        self._served = False
        self._untaken_bytes = 0
        self._writable = True
        self.deadline_s = inf
        self.slot = 0

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(_HIGH_WATER_BYTES, _LOW_WATER_BYTES)
        self.gate = ReadGate(self.transport)
        peer = self._peer
        if peer is None:
            name = transport.get_extra_info("peername")
            peer = name[0] if isinstance(name, tuple) else ""
        self.client = self._plane.client_at(peer, self._proto)
        self._plane.on_connected(self)
        self._plane.wheel.set(self, self._plane.first_byte_timeout_s)

    def data_received(self, data: bytes) -> None:
        self._plane.stats.downstream_read_bytes += len(data)
        phase = self._phase
        if phase is _HEAD:
            if self._buffer or not self._writable:
                self._keep(data)
                self._pump()
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

    @property
    def peer(self) -> str:
        """The client's address, empty on a unix socket."""
        return self.client.address

    @property
    def writable(self) -> bool:
        return self._writable

    def progressing(self) -> bool:
        """Whether the client has taken some of what waits for it since this was last asked."""
        before, self._untaken_bytes = self._untaken_bytes, untaken_bytes(self.transport)
        return self._untaken_bytes < before

    def busy(self) -> bool:
        """Whether something would be lost by closing now."""
        return self._phase is not _HEAD or bool(self._buffer)

    def idle_s(self) -> float:
        """For how long nothing has happened on a connection that nobody needs; 0 for any other."""
        if self.busy() or self.transport.get_write_buffer_size():
            return 0.0
        timeout_s = self._plane.keepalive_timeout_s if self._served else self._plane.first_byte_timeout_s
        return max(0.0, self._plane.wheel.now_s + timeout_s - self.deadline_s)

    def leave(self, backend: Backend) -> None:
        """End what streams from this backend."""
        served = self._tunnel or self._exchange
        if served is not None and served.backend is backend:
            served.cut()

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self._plane.stats.downstream_written_bytes += len(data)
            self.transport.write(data)

    def write_eof(self) -> None:
        if not self.transport.is_closing() and self.transport.can_write_eof():
            self.transport.write_eof()

    def set_deadline(self, after_s: float) -> None:
        self._plane.wheel.set(self, after_s)

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

    def abort(self) -> None:
        """Cut the connection so that the client can tell that its response is not complete."""
        if self.transport.is_closing():
            return
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(SOL_SOCKET, SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    def close(self) -> None:
        """Close once what was written is on its way."""
        if not self.transport.is_closing():
            self.transport.close()

    def _linger(self) -> None:
        # Closing with unread bytes makes the kernel send a reset, which may destroy the response on its way (RFC 9112
        # section 9.6): stop writing, read on for a moment, then close.
        self.gate.release(Hold.ANY)
        all_read = self._phase is _WAIT and not self._buffer
        self._phase = _LINGER
        self._buffer = b""
        self._watch_the_end()
        if all_read:
            self.close()
        else:
            self.write_eof()

    def end_tunnel(self) -> None:
        """Close once what was written is on its way, or the client takes no more of it."""
        if self._phase is _CLOSED:
            return
        self._tunnel = None
        self._phase = _LINGER
        self._watch_the_end()
        self.close()

    def _watch_the_end(self) -> None:
        self._untaken_bytes = untaken_bytes(self.transport)
        self._plane.wheel.set(self, _STALLED_S if self.transport.get_write_buffer_size() else _LINGER_S)

    def _close_when_taken(self) -> None:
        """A client that still takes its last response may go on; one that does not, or only sends, is cut off."""
        left, seen_before = self.transport.get_write_buffer_size(), self._untaken_bytes
        lingers = self._phase is _LINGER
        progressing = self.progressing() or (left and not seen_before)
        if progressing and (left or lingers):
            self._plane.wheel.set(self, _STALLED_S if left else _LINGER_S)
        elif left or lingers:
            self.transport.abort()
        else:
            self.transport.close()

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
        exchange = self._exchange = plane.exchange(plane, self, head)
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
