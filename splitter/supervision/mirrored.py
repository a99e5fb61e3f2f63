"""What the mirrors of all workers have found, the ended ones included.

Owns: asking all of them once for whoever asks at the same time, what the ended ones left, when a report begins anew.
Must not know: how a worker is asked, what is in a report.
Invariants: nothing is counted twice; a report never mixes what was found by different `mirror` sections, because what a new
rule covers would stay in it for ever; what a worker told last outlives it, what it had not told dies with a kill -9.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from splitter.compare import Tally
from splitter.config import Config
from splitter.supervision.member import Task, Worker
from splitter.tasks import Tasks


class Mirrored:
    """See the top of the file."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._ended = Tally()
        self._first_generation = 0
        self._config: Config | None = None
        self._asking: asyncio.Task[None] | None = None

    def on_generation(self, task: Task) -> None:
        """Workers of a new generation are ready: is what was found so far still what it would be?"""
        if self._config is not None and task.config.mirror != self._config.mirror:
            self._first_generation = task.generation
            self._ended = Tally()
        self._config = task.config

    def bury(self, worker: Worker) -> None:
        """Keep what a worker told before its end."""
        if worker.generation >= self._first_generation:
            self._ended.merge(worker.mirrored)

    async def over(self, living: Sequence[Worker]) -> Tally:
        """All of it. `living` is looked at again after asking: who ended meanwhile has been buried."""
        if self._asking is None or self._asking.done():
            self._asking = self._tasks.start(self._ask(list(living)), "mirror report")
        await asyncio.wait({self._asking})
        found = Tally()
        found.merge(self._ended)
        for worker in living:
            if worker.generation >= self._first_generation:
                found.merge(worker.mirrored)
        return found

    async def _ask(self, workers: Sequence[Worker]) -> None:
        await asyncio.gather(*(worker.collect_mirror() for worker in workers if worker.generation >= self._first_generation))
