"""Tells whoever waits that some camera changed, through whichever process.

Owns: looking at the database while somebody waits. Must not know: what changed; the one who waits reads that, beyond the
last number it has seen. So a slow reader holds up nobody and misses nothing.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable

from camera_data.errors import StoreBusyError

INTERVAL_S = 0.05  # what a client may notice; one look costs about 0.1 ms of CPU
RETRY_S = 1.0

log = logging.getLogger(__name__)


class ChangeWatch:
    """`newest` gives the number of the last change. `run` has to run for `beyond` to return."""

    def __init__(self, newest: Callable[[], Awaitable[int]], interval_s: float = INTERVAL_S) -> None:
        self._newest = newest
        self._interval_s = interval_s
        self._waiting = 0
        self._wanted = asyncio.Event()
        self._news = asyncio.Condition()
        self._seen = 0

    async def beyond(self, seq: int) -> None:
        """Return when there is a change with a number above `seq`."""
        self._waiting += 1
        self._wanted.set()
        try:
            async with self._news:
                await self._news.wait_for(lambda: self._seen > seq)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._wanted.clear()

    async def run(self) -> None:
        """Look again and again while somebody waits; ends when cancelled. A database that can't be read is tried again."""
        while True:
            await self._wanted.wait()
            try:
                newest = await self._newest()
            except (StoreBusyError, sqlite3.Error) as error:
                log.warning("can't look for changes: %s", error)
                await asyncio.sleep(RETRY_S)
                continue
            if newest > self._seen:
                async with self._news:
                    self._seen = newest
                    self._news.notify_all()
            await asyncio.sleep(self._interval_s)
