"""One rehearsal from start to end: the copy, its clients, the story, and that nothing of it is left.

Owns: their order, and the report. Must not know: who reads it, and how.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from splitter.config import Config
from splitter.rehearsal.clients import Clients
from splitter.rehearsal.private_copy import PrivateCopy
from splitter.rehearsal.promises import Promise
from splitter.rehearsal.script import Script
from splitter.rehearsal.story import Moment, Story


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it. `folder` is where its files are, None when they are gone."""

    trouble: str
    took_s: float
    requests: int
    notes: tuple[str, ...]
    timeline: tuple[Moment, ...]
    promises: tuple[Promise, ...]
    folder: str | None

    @property
    def is_good(self) -> bool:
        return all(promise.kept for promise in self.promises)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"ok": self.is_good, **asdict(self)}


async def rehearse(
    config: Config,
    script: Script,
    *,
    keep: bool,
    on_start: Callable[[PrivateCopy, Clients], None],
    on_moment: Callable[[Moment], None],
    before: Callable[[str], Awaitable[None]] | None,
) -> Report:
    """Play the script on a private copy. Raises CopyError when the copy can't be had; also then nothing is left."""
    started_s = time.monotonic()
    copy = PrivateCopy(config, script)
    left: list[str] = []
    try:
        await copy.start()
        clients = Clients(copy.addresses.port, config.rollout, script)
        on_start(copy, clients)
        story = Story(script, copy, clients, on_moment, before)
        async with _asking(clients):
            await story.play()
    finally:
        left = await copy.end(keep=keep)
    promises = (*story.promises, Promise("nothing of it is left", not left, ", ".join(left) or "no process, no port"))
    return Report(
        trouble=script.trouble.value,
        took_s=round(time.monotonic() - started_s, 1),
        requests=len(clients.answers),
        notes=script.notes,
        timeline=tuple(story.timeline),
        promises=promises,
        folder=str(copy.folder) if keep else None,
    )


@contextlib.asynccontextmanager
async def _asking(clients: Clients) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(clients.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
