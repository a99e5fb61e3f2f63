"""Background tasks that are neither lost nor silent.

Owns: the references that keep tasks alive (asyncio itself keeps only weak ones) and what happens to their exceptions.
Must not know: what the tasks do.
Invariant: a task that ends with an exception nobody awaited is reported, never swallowed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

_AGAIN_S: Final = 1.0


class Tasks:
    """A set of running tasks; `on_error` gets every exception that ends one."""

    def __init__(self, on_error: Callable[[str, BaseException], None]) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._on_error = on_error

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` until it ends or `close` is called."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_error(task.get_name(), error)

    async def close(self) -> None:
        """Cancel what still runs and wait for it to end; again and again, because what is awaited may swallow it."""
        while self._running:
            for task in self._running:
                task.cancel()
            await asyncio.wait(self._running, timeout=_AGAIN_S)
