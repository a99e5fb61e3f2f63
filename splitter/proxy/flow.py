"""Backpressure: why a connection is not being read.

Owns: the reasons and the pausing. Must not know: what is relayed.
Invariant: reading resumes when no reason is left, so one part's resume can't undo another's pause.
"""

from __future__ import annotations

import asyncio
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
