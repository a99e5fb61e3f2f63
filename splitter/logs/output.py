"""Where lines go: a file descriptor that may be slow, full, unread or closed.

Owns: the thread that writes, what waits for it, the count of what was lost. Must not know: what a line says.
Invariants: `write` never waits, whatever the descriptor does, and what waits is bounded; lines of several processes on one
pipe don't tear, because each write to a pipe is whole lines that fit into PIPE_BUF (pipe(7)); every line is written or
counted as lost.

Why a thread and not O_NONBLOCK: the descriptor is shared with the shell and with other processes, who would get EAGAIN
too; and a file on a slow disk blocks all the same.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Final

WAITING_BYTES: Final = 4 << 20
_RETRY_S: Final = 0.5


class Output:
    """`fd` None: nowhere. `report` makes the line that says how many lines were lost, and why, once lines come through
    again."""

    def __init__(self, fd: int | None, report: Callable[[str, int], bytes], *, waiting_bytes: int = WAITING_BYTES) -> None:
        self._fd = -1 if fd is None else fd
        self._report = report
        self._limit_bytes = waiting_bytes
        self._is_pipe = fd is not None and stat.S_ISFIFO(os.fstat(fd).st_mode)
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        """As new: a forked child has neither the thread nor a right to write what its parent still holds."""
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._closing = False
        self._thread: threading.Thread | None = None
        self._lost: Counter[str] = Counter()
        self._untold: Counter[str] = Counter()

    def write(self, data: bytes) -> None:
        """Have these lines written. They are lost when too much waits already."""
        if self._fd < 0:
            return
        with self._changed:
            if self._closing or self._waiting_bytes + len(data) > self._limit_bytes:
                self._lose("unread", data)
                return
            self._waiting.append(data)
            self._waiting_bytes += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log output", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def take_lost(self) -> dict[str, int]:
        """How many lines were lost since this was last asked, by why."""
        with self._changed:
            lost, self._lost = self._lost, Counter()
        return lost

    def close(self, timeout_s: float = 1.0) -> None:
        """Let what waits be written, for this long at most."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _lose(self, why: str, data: bytes) -> None:
        lines = data.count(b"\n")
        self._lost[why] += lines
        self._untold[why] += lines

    # --- the thread ---

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._closing:
                        return
                    self._changed.wait()
                data = self._waiting.popleft()
            if self._put(data):
                self._tell()
            with self._changed:
                self._waiting_bytes -= len(data)

    def _tell(self) -> None:
        for why, lines in list(self._untold.items()):
            if self._put(self._report(why, lines)):
                with self._changed:
                    self._untold[why] -= lines
                    self._untold = +self._untold

    def _put(self, data: bytes) -> bool:
        """Write it all, however long that takes. False when the descriptor refuses it."""
        written = 0
        for end in self._ends(data):
            while written < end:
                try:
                    written += os.write(self._fd, memoryview(data)[written:end])
                except BlockingIOError:  # somebody else made it non-blocking
                    select.select([], [self._fd], [], _RETRY_S)
                except OSError:
                    with self._changed:
                        self._lose("failed", data[written:])
                    return False
        return True

    def _ends(self, data: bytes) -> Iterator[int]:
        """Where one write is to end and the next to begin."""
        end = 0
        while self._is_pipe and len(data) - end > select.PIPE_BUF:
            begin, end = end, data.rfind(b"\n", end, end + select.PIPE_BUF) + 1
            if end <= begin:  # one line longer than that
                end = data.find(b"\n", begin) + 1 or len(data)
            yield end
        if end < len(data):
            yield len(data)
