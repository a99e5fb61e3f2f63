"""When a dead worker is followed by a new one: at once, unless it died at once.

Owns: the pauses. Must not know: clocks, workers.
"""

from __future__ import annotations

from typing import Final

QUICK_S: Final = 1.0
FIRST_S: Final = 0.25
LONGEST_S: Final = 10.0


class Backoff:
    """The pauses of one slot: none for one that had worked, else doubling ones up to `LONGEST_S`."""

    def __init__(self) -> None:
        self._next_s = FIRST_S

    def pause_s(self, worked_s: float) -> float:
        """How long to wait after a worker that had been ready for so long; 0 for one that never was."""
        if worked_s >= QUICK_S:
            self._next_s = FIRST_S
            return 0.0
        pause_s, self._next_s = self._next_s, min(self._next_s * 2, LONGEST_S)
        return pause_s
