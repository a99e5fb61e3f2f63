"""Child processes that never outlive the one that started them.

Owns: how such a child is started, and what becomes of its process group. Must not know: what the child is.
Invariants: each child leads a process group of its own, so that Ctrl-C of a terminal reaches only its parent, which
stops the children in the right order; when the parent is gone, even by SIGKILL, the kernel sends each child SIGTERM.

Why the kernel's parent-death signal (prctl(2), PR_SET_PDEATHSIG) and not a pipe that the child watches: it needs
nothing of the child, so nginx gets it too. Why SIGTERM and not SIGKILL: the child may have workers, and only it can
stop them. The signal comes when the *thread* that started the child ends: start children from the main thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def start(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    cpus: Collection[int] = (),
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child whose output goes to the file `log`, on these CPUs only if any are named. Raises OSError.

    The file and not a pipe: then what the child writes is there for whoever asks, however either of the two ends.
    """
    with log.open("wb") as file:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=environment,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=_bound(cpus),  # noqa: PLW1509 -- it takes no lock that another thread could hold at the fork
        )


def _bound(cpus: Collection[int]) -> Callable[[], None]:
    parent_pid = os.getpid()

    def in_child() -> None:
        if cpus:
            os.sched_setaffinity(0, cpus)
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent_pid:  # it ended between fork and prctl: no signal will come
            os._exit(1)

    return in_child


def end_group(leader_pid: int) -> None:
    """Kill what is left of the group that a child leads, the child itself or workers that it left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader_pid, signal.SIGKILL)
