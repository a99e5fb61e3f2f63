"""Where blocking work goes, so that the event loop never waits for a disk or a lock.

Owns: the threads. Must not know: the work.
Invariant: however long one change waits for a lock, reading goes on, because a process has one change at a time under
way and several threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

THREADS = 4

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Threads:
    """A few threads that belong to one service."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="camera-data")
        self._changing = asyncio.Lock()

    async def read(self, work: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Run `work`, which changes nothing, and give its result or its exception."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(*args, **kwargs))

    async def change(self, work: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Run `work`, which takes locks, after the changes before it."""
        async with self._changing:
            return await self.read(work, *args, **kwargs)

    def close(self) -> None:
        """Wait for what runs. Nothing can be run afterwards."""
        self._pool.shutdown(wait=True, cancel_futures=True)
