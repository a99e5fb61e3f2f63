"""Memory and open files of the splitter's processes, over their lives.

Owns: taking them down, and telling growth from warming up. Must not know: what is done to the processes.
Invariant: a process that ended is judged by what it had.
"""

from __future__ import annotations

import contextlib
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tools.bench import cpu
from tools.bench.work import MIB

_LEAST_S: Final = 60.0
"""Who lived shorter says nothing about growth."""
_ALLOWED_MIB: Final = 3.0
_ALLOWED_SHARE: Final = 0.03


@dataclass(frozen=True, slots=True)
class Sample:
    at_s: float
    rss_mib: float
    files: int


def sample(pid: int, now_s: float) -> Sample:
    """Raises OSError when the process is gone."""
    folder = Path(f"/proc/{pid}")
    rss = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("VmRSS:"))
    return Sample(now_s, int(rss.split()[1]) * 1024 / MIB, len(list((folder / "fd").iterdir())))


def open_files(pid: int) -> list[str]:
    """What they are, for a person. Raises OSError when the process is gone."""
    return sorted(str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir())


@dataclass(slots=True)
class Watch:
    """All processes of a splitter, by pid."""

    pid: int
    seen: dict[int, list[Sample]] = field(default_factory=dict)

    def workers(self) -> list[int]:
        """The oldest first."""
        living = [pid for pid in cpu.tree(self.pid) if pid != self.pid]
        return sorted(living, key=lambda pid: (self.seen[pid][0].at_s if pid in self.seen else float("inf"), pid))

    def look(self, now_s: float) -> None:
        """Take down what each has now."""
        for pid in cpu.tree(self.pid):
            with contextlib.suppress(OSError, StopIteration):  # it ended meanwhile
                self.seen.setdefault(pid, []).append(sample(pid, now_s))

    def files(self) -> dict[int, int]:
        """Open files of each process now."""
        now: dict[int, int] = {}
        for pid in cpu.tree(self.pid):
            with contextlib.suppress(OSError, StopIteration):
                now[pid] = sample(pid, 0.0).files
        return now

    def grown(self) -> list[str]:
        """Who grew after warming up: from the second quarter of its life to the last."""
        return [fault for pid in self.seen if (fault := self._growth(pid))]

    def _growth(self, pid: int) -> str:
        samples = self.seen[pid]
        if samples[-1].at_s - samples[0].at_s < _LEAST_S:
            return ""
        before, after = self.warm_and_last(pid)
        if after <= before * (1 + _ALLOWED_SHARE) + _ALLOWED_MIB:
            return ""
        return f"{self.name(pid)} grew from {before:.1f} to {after:.1f} MiB"

    def warm_and_last(self, pid: int) -> tuple[float, float]:
        """MiB, in the second quarter of a process' life and in its last; medians."""
        samples = self.seen[pid]
        quarter = max(1, len(samples) // 4)
        warm, last = samples[quarter : 2 * quarter] or samples, samples[-quarter:]
        return statistics.median(s.rss_mib for s in warm), statistics.median(s.rss_mib for s in last)

    def name(self, pid: int) -> str:
        return "the supervisor" if pid == self.pid else f"worker {pid}"

    def longest(self) -> list[int]:
        """The processes worth telling of: the supervisor, and the workers that lived longest."""
        by_life = sorted(self.seen, key=lambda pid: self.seen[pid][0].at_s - self.seen[pid][-1].at_s)
        return [self.pid, *(pid for pid in by_life if pid != self.pid)][:3]
