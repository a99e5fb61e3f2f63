"""Throws a switch again and again under load, and takes the times from the backends' own counters.

Owns: one throw and what is read of it, the numbers over many. Must not know: how a switch is thrown, how it is printed.
Invariants: before each throw domain has traffic, by its own count, or nothing would be measured; what counts as too late is
what reached domain after the answer, however soon after.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.rollback.load import Met, load
from tools.rollback.rig import Rig
from tools.rollback.ways import Way

QUIET_S: Final = 0.25
"""How long is looked for latecomers after an answer; a request is at a backend of this machine within microseconds."""

KNOCK_S: Final = 0.005
_SETTLED: Final = 200
"""Requests that domain must have had again before the next throw."""


@dataclass(frozen=True, slots=True)
class Throw:
    """One throw. Times from the command on, in ms: until its answer, until the last request arrived at domain.

    `late`: requests that arrived after the answer. `closed_ms`: for how long nobody answered at the public port.
    """

    answer_ms: float
    last_ms: float
    late: int
    closed_ms: float


@dataclass(frozen=True, slots=True)
class Series:
    """All throws by one way, and what clients met meanwhile."""

    way: Way
    throws: Sequence[Throw]
    met: Met

    @property
    def late(self) -> int:
        return sum(throw.late for throw in self.throws)


def measure(rig: Rig, way: Way, times: int, requests_per_s: int, folder: Path) -> Series:
    """Throw `times` times under load. Raises RigError, LoadError, and what asking the splitter raises."""
    with load(rig.port, requests_per_s, folder) as running:
        throws = [throw(rig, way) for _ in range(times)]
        settle(rig)
        met = running.end()
    return Series(way, throws, met)


def throw(rig: Rig, way: Way, look: Callable[[], None] = lambda: None) -> Throw:
    """Throw once, and undo it; `look` is called in between."""
    settle(rig)
    with _Knocking(rig.port) as knocking:
        thrown_ns = time.time_ns()
        answered_ns = way.throw(rig)
        time.sleep(QUIET_S)
    look()
    recorded = rig.recorded("domain", answered_ns)
    way.undo(rig)
    return Throw(
        answer_ms=(answered_ns - thrown_ns) / 1e6,
        last_ms=max(0, recorded.last_ns - thrown_ns) / 1e6,
        late=recorded.after,
        closed_ms=knocking.closed_ms,
    )


class _Knocking:
    """Opens a connection every few ms, and remembers from when to when that was refused."""

    def __init__(self, port: int) -> None:
        self.closed_ms = 0.0
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._knock, daemon=True)

    def __enter__(self) -> _Knocking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _knock(self) -> None:
        refused_s: float | None = None
        while not self._stop.wait(KNOCK_S):
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                refused_s = refused_s or time.monotonic()
                self.closed_ms = (time.monotonic() - refused_s) * 1000


def settle(rig: Rig) -> None:
    """Return when domain has traffic. Raises RigError."""
    before = rig.recorded("domain").count
    rig.wait(lambda: rig.recorded("domain").count >= before + _SETTLED, "requests to reach domain")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of them don't exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
