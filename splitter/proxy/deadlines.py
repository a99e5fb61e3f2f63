"""Deadlines of connections, without a timer each.

Owns: when a connection is looked at. Must not know: what its deadline means.
Invariants: a connection is in at most one slot; moving a deadline further away costs one assignment, because the slot it
is in is looked at early and puts it back; a deadline fires at most two resolutions late, never early; time in which the
process stood still, for want of a processor or stopped, counts against nobody, because what came meanwhile was not read.
Why: `call_later` + `cancel` costs 1.4 µs and a request would need several; here a busy connection is put into a slot
about once per timeout.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final, Protocol

RESOLUTION_S: Final = 0.05
_LONGEST_STEP_S: Final = 4 * RESOLUTION_S
"""What one tick makes of any time since the last one that is longer."""


class Watched(Protocol):
    """What has a deadline. `deadline_s` is in the clock's seconds, `slot` belongs to the wheel (0: in none)."""

    deadline_s: float
    slot: int

    def on_deadline(self) -> None: ...


class Wheel:
    """Slots of `RESOLUTION_S`, each holding the connections to look at then. `now_s`: its time, as of the last tick."""

    __slots__ = ("_clock", "_done", "_seen_s", "_slots", "now_s")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._slots: dict[int, set[Watched]] = {}
        self.now_s = self._seen_s = clock()
        self._done = int(self.now_s / RESOLUTION_S)

    def set(self, watched: Watched, after_s: float) -> None:
        """Let `watched.on_deadline` be called when `after_s` seconds have passed, unless it is set again before."""
        # The time of the last tick, not a call of the clock: at most one resolution old, which is added.
        deadline_s = self.now_s + after_s + RESOLUTION_S
        watched.deadline_s = deadline_s
        slot = watched.slot
        if slot and deadline_s >= slot * RESOLUTION_S:
            return  # looked at before it is due, and put back then
        if slot:
            self._slots[slot].discard(watched)
        self._put(watched)

    def _put(self, watched: Watched) -> None:
        slot = max(int(watched.deadline_s / RESOLUTION_S) + 1, self._done + 1)
        watched.slot = slot
        found = self._slots.get(slot)
        if found is None:
            self._slots[slot] = {watched}
        else:
            found.add(watched)

    def forget(self, watched: Watched) -> None:
        """Take it out: it has no deadline any more."""
        watched.deadline_s = inf
        slot, watched.slot = watched.slot, 0
        if slot:
            self._slots[slot].discard(watched)

    def tick(self) -> None:
        """Look at every slot whose time has come. Call it about every `RESOLUTION_S`."""
        before_s, self._seen_s = self._seen_s, self._clock()
        now_s = self.now_s = self.now_s + min(self._seen_s - before_s, _LONGEST_STEP_S)
        for slot in range(self._done + 1, int(now_s / RESOLUTION_S) + 1):
            self._done = slot
            for watched in self._slots.pop(slot, ()):
                watched.slot = 0
                if watched.deadline_s <= now_s:
                    watched.on_deadline()
                elif watched.deadline_s != inf:
                    self._put(watched)
