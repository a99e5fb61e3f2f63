"""Answers that last: multipart pictures, and WebSockets that end when any of several things does.

Owns: the bytes around a picture, and waiting for the first end. Must not know: cameras, or why an answer ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine

BOUNDARY = "frame"
STREAM_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
LAST_PART = f"--{BOUNDARY}--\r\n".encode()
HEARTBEAT_S = 20.0  # below the idle time-outs of usual proxies (60 s and more)
CLOSE_TIMEOUT_S = 0.3  # for the other side to answer a close; a service has a second to stop


def part(jpeg: bytes) -> bytes:
    """One picture of a stream. Its length lets a browser show it at once instead of with the next."""
    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
    return head.encode() + jpeg + b"\r\n"


async def until_first_ends(*work: Coroutine[object, object, None]) -> None:
    """Run all; when one ends, end the others. Raises what the first raised, but not that the client has gone."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(coroutine) for coroutine in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    with contextlib.suppress(ConnectionError):
        for task in done:
            task.result()


class Pace:
    """Wakes so many times a second, or when `stopping` is set."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping
        self._next_s = asyncio.get_running_loop().time()

    async def wait(self, per_second: float) -> bool:
        """Until the next beat. False: it is over. A client too slow for the pace gets fewer pictures, not old ones."""
        now_s = asyncio.get_running_loop().time()
        self._next_s = max(self._next_s + 1 / per_second, now_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._next_s - now_s)
        return not self._stopping.is_set()
