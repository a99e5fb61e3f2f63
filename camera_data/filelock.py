"""One writer at a time, across processes.

Owns: waiting for a lock, and giving up. Must not know: what it protects.
Invariant: the kernel drops the lock with the process that holds it, so a crash blocks nobody.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from camera_data.errors import StoreBusyError

RETRY_S = 0.001  # a holder needs a few milliseconds, most of them in fsync


@contextmanager
def locked(directory: Path, timeout_s: float) -> Iterator[None]:
    """Hold the lock of a directory. Raises StoreBusyError after `timeout_s`, OSError if there is no such directory.

    The lock is on the directory itself: a lock file beside the data would have to be cleaned up by somebody, and the
    file that is protected can't carry it, because it is replaced.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _acquire(descriptor, directory, time.monotonic() + timeout_s)
        yield
    finally:
        os.close(descriptor)  # and with it the lock


def _acquire(descriptor: int, directory: Path, until_s: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until_s:
                message = f"another process keeps the lock of {directory}; nothing was changed"
                raise StoreBusyError(message) from None
            time.sleep(RETRY_S)
        else:
            return
