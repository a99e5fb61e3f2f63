"""A connection from a client as something to write to: how much of it is taken, and how it ends.

Owns: the transport, the deadline, the ends: closed when all was taken, reset when something is missing, lingering.
Must not know: what is read from it (`downstream`), requests.
Invariants: nothing is written once the client has gone; a client that takes nothing any more does not keep the connection,
one that takes it slowly does.
"""

from __future__ import annotations

import asyncio
import struct
from abc import ABC, abstractmethod
from enum import Enum
from math import inf
from socket import SO_LINGER, SOL_SOCKET
from typing import TYPE_CHECKING, Final, cast

from splitter.proxy.flow import Hold, ReadGate, untaken_bytes

if TYPE_CHECKING:
    from splitter.http1.forwarding import Client
    from splitter.proxy.plane import DataPlane

_HIGH_WATER_BYTES: Final = 256 * 1024
_LOW_WATER_BYTES: Final = 64 * 1024
_LINGER_S: Final = 5.0
_STALLED_S: Final = 60.0
"""As long as a backend may be silent in mid-response, a client may be in taking the last one."""
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Phase(Enum):
    HEAD = "head"  # between requests, or in the middle of a head
    BODY = "body"  # an exchange is under way and its request is not complete
    WAIT = "wait"  # an exchange is under way and its request is complete
    TUNNEL = "tunnel"
    LINGER = "linger"  # the last response was sent; what still comes is thrown away
    CLOSED = "closed"


_HEAD: Final = Phase.HEAD
_WAIT: Final = Phase.WAIT
_LINGER: Final = Phase.LINGER


class ClientSide(asyncio.Protocol, ABC):
    """See the top of the file."""

    __slots__ = (
        "_buffer", "_phase", "_plane", "_served", "_untaken_bytes", "_writable", "client", "deadline_s", "gate", "slot",
        "transport",
    )  # fmt: skip

    transport: asyncio.Transport
    gate: ReadGate
    client: Client

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._phase = _HEAD
        self._buffer = b""
        self._served = False
        self._untaken_bytes = 0
        self._writable = True
        self.deadline_s = inf
        self.slot = 0

    @abstractmethod
    def on_deadline(self) -> None: ...

    def _take(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(_HIGH_WATER_BYTES, _LOW_WATER_BYTES)
        self.gate = ReadGate(self.transport)

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

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self._plane.stats.downstream_written_bytes += len(data)
            self.transport.write(data)

    def write_eof(self) -> None:
        if not self.transport.is_closing() and self.transport.can_write_eof():
            self.transport.write_eof()

    def set_deadline(self, after_s: float) -> None:
        self._plane.wheel.set(self, after_s)

    # --- the end ---

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
