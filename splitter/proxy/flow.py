"""Backpressure: why a connection is not being read, and whether a peer takes what it is sent.

Owns: the reasons, the pausing, the measure. Must not know: what is relayed.
Invariant: reading resumes when no reason is left, so one part's resume can't undo another's pause.
"""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from typing import Final


class Hold:
    """A reason not to read from a connection. Bits of a plain int: an IntFlag would cost 1 µs at each use."""

    PEER_FULL: Final = 1  # what would be read has nowhere to go: the other side's write buffer is full
    NOT_SENT: Final = 2  # there is no backend connection yet to take the body
    PIPELINED: Final = 4  # the next requests wait for the one in hand
    ANY: Final = 7


class ReadGate:
    """Pauses one transport while any reason holds."""

    __slots__ = ("_transport", "reasons")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.reasons = 0

    def hold(self, reason: int) -> None:
        before = self.reasons
        self.reasons = before | reason
        if not before and not self._transport.is_closing():
            self._transport.pause_reading()

    def release(self, reason: int) -> None:
        before = self.reasons
        self.reasons = before & ~reason
        if before and not self.reasons and not self._transport.is_closing():
            self._transport.resume_reading()


def untaken_bytes(transport: asyncio.Transport) -> int:
    """What was written and the peer has not taken: here, and in the kernel, whose 4 MiB a slow peer may need minutes for.

    Without the kernel's part such a peer would look as if it had stopped: the kernel takes more of ours only when a third of
    its buffer is free. 2 µs.
    """
    waiting = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if sock is None:
        return waiting
    try:
        (in_kernel,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))
    except OSError:
        return waiting
    return waiting + int(in_kernel)
