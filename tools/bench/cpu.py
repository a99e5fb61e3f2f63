"""What a process and its descendants have used: CPU time and memory, from /proc.

Must not know: what the processes are. Invariant: reading costs the measured processes nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


class ProcessGone(Exception):
    """A process that was to be measured has ended; the message names it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """`cpu_s` since each process began, by pid; `rss_bytes` now, shared pages counted once for each process."""

    cpu_s: dict[int, float]
    rss_bytes: int


def usage(root_pid: int) -> Usage:
    """What the process and all its descendants have used. Raises ProcessGone."""
    pids = tree(root_pid)
    try:
        return Usage({pid: cpu_s(pid) for pid in pids}, sum(_rss_bytes(pid) for pid in pids))
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessGone(f"one of {pids} ended") from error


def cpu_between(before: Usage, after: Usage) -> float:
    """CPU seconds from one reading to the next. Raises ProcessGone if a process of the first is not in the second.

    What began in between is counted from its beginning.
    """
    gone = before.cpu_s.keys() - after.cpu_s.keys()
    if gone:
        raise ProcessGone(f"ended while it was measured: pid {sorted(gone)}")
    return sum(after.cpu_s.values()) - sum(before.cpu_s.values())


def tree(root_pid: int) -> list[int]:
    """The pid and those of all its descendants. Raises ProcessGone if there is no such process."""
    children: dict[int, list[int]] = {}
    for path in _PROC.glob("[0-9]*/stat"):
        try:
            children.setdefault(int(_stat_fields(path)[1]), []).append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # a process of somebody else that ended meanwhile
    if not (_PROC / str(root_pid)).exists():
        raise ProcessGone(f"pid {root_pid} ended")
    found = [root_pid]
    for pid in found:  # grows while it is walked
        found += children.get(pid, [])
    return found


def cpu_s(pid: int) -> float:
    """User and system time of a process.

    From schedstat, in nanoseconds, where the kernel has it: it counts single threads, so all are added up. The ticks of
    `stat` are 10 ms.
    """
    try:
        threads = list((_PROC / str(pid) / "task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
    except (FileNotFoundError, IndexError):
        fields = _stat_fields(_PROC / str(pid) / "stat")
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _stat_fields(path: Path) -> list[str]:
    """The fields of proc_pid_stat(5) from the third on; the second, the name, may hold spaces and brackets."""
    return path.read_text().rpartition(")")[2].split()


def _rss_bytes(pid: int) -> int:
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0  # a zombie has none
