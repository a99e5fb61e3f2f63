"""The part of a request body that was sent, held so that it can be sent again.

Owns: the pieces and the bound. Must not know: where they go.
Invariant: once more than the bound was added after `bound`, nothing is held, and it can't be sent again.
"""

from __future__ import annotations


class HeldBody:
    """`whole` while everything added is still here."""

    __slots__ = ("_pieces", "size_bytes", "whole")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size_bytes = 0
        self.whole = True

    def add(self, data: bytes) -> None:
        if self.whole:
            self._pieces.append(data)
            self.size_bytes += len(data)

    def bound(self, most_bytes: int) -> None:
        """Give up when there is more: from then on streaming matters more than sending again."""
        if self.size_bytes > most_bytes:
            self.whole = False
            self._pieces.clear()

    def joined(self) -> bytes:
        return b"".join(self._pieces)
