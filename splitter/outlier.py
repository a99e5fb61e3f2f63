"""Is an endpoint fit to be sent requests? A circuit breaker told by real requests.

Owns: the states and how failures move them. Must not know: clocks (`now_s` is an argument), connections, what a failure was.
States: CLOSED (fit) → OPEN after `consecutive_failures` in a row → HALF_OPEN when its time is over: one request tries →
CLOSED if it succeeds, OPEN again and for longer if it fails.
Invariants: one success forgets all failures; an endpoint is never out for longer than `MAX_FACTOR` times its first time.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

MAX_FACTOR: Final = 8


class State(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


class Breaker:
    """One endpoint's breaker. Times in seconds of any one clock."""

    __slots__ = ("_factor", "_for_s", "_limit", "_trial_s", "_until_s", "failures", "state")

    def __init__(self, consecutive_failures: int, for_s: float) -> None:
        self._limit = consecutive_failures
        self._for_s = for_s
        self._factor = 1
        self._until_s = 0.0
        self._trial_s: float | None = None
        self.failures = 0
        self.state = State.CLOSED

    def admits(self) -> bool:
        """Whether a request may be sent: always while closed, one at a time while half open."""
        if self.state is State.CLOSED:
            return True
        return self.state is State.HALF_OPEN and self._trial_s is None

    def begin(self, now_s: float) -> None:
        """A request is sent. It is the trial when half open."""
        if self.state is State.HALF_OPEN:
            self._trial_s = now_s

    def abandon(self) -> None:
        """The trial ended without telling anything, as when its client left: another request may try."""
        self._trial_s = None

    def succeeded(self) -> None:
        self.failures = 0
        self._factor = 1
        self._trial_s = None
        self.state = State.CLOSED

    def failed(self, now_s: float) -> None:
        self.failures += 1
        if self.state is State.CLOSED and self.failures < self._limit:
            return
        if self.state is State.OPEN:
            return  # a request that began before it was opened
        if self.state is State.HALF_OPEN:
            self._factor = min(self._factor * 2, MAX_FACTOR)
        self.state = State.OPEN
        self._trial_s = None
        self._until_s = now_s + self._for_s * self._factor

    def tick(self, now_s: float) -> bool:
        """Let time act; True when that changed whether a request may be sent."""
        if self.state is State.OPEN and now_s >= self._until_s:
            self.state = State.HALF_OPEN
            return True
        # A trial whose client left before the answer tells nothing: after a while another may try.
        if self.state is State.HALF_OPEN and self._trial_s is not None and now_s - self._trial_s >= self._for_s:
            self._trial_s = None
            return True
        return False
