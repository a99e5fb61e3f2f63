"""What is done to a splitter under load, and what it is told meanwhile.

Owns: the kinds of rounds and what happens in each. Must not know: what clients ask, what is judged.
Invariants: what was broken is whole again when a round ends; whatever can fail requests is in the ledger as a break; every
kill -9 is noted with its time.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from tools.soak.backend import FAULTS
from tools.soak.ledger import Ledger

_AFTER_S: Final = 0.3
"""How long what was broken may still be felt: connections that were reset, an endpoint that is out."""


@dataclass(slots=True)
class Kill:
    """A worker that was killed; `pending`: requests under way at that moment."""

    at_s: float
    pending: int


@dataclass(slots=True)
class Target:
    """The splitter under test, and its two backends. `workers`: the pids of its workers, the oldest first."""

    pid: int
    port: int
    admin_port: int
    backends: dict[str, int]
    config: Path
    workers: Callable[[], Sequence[int]]


@dataclass(slots=True)
class Trouble:
    """Does it. `counts`: how often what was done."""

    target: Target
    ledger: Ledger
    http: aiohttp.ClientSession
    kills: list[Kill] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    _random: random.Random = field(default_factory=lambda: random.Random(8))  # noqa: S311 - the same each time

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    async def calm(self, until_s: float) -> None:
        """Nothing happens."""
        await asyncio.sleep(max(0.0, until_s - time.monotonic()))

    async def percents(self, until_s: float) -> None:
        """The percent goes up and down, by the admin API."""
        while time.monotonic() < until_s:
            await self._tell("PUT", "percent", {"percent": self._random.randrange(10, 91)})
            await asyncio.sleep(0.7)

    async def rollbacks(self, until_s: float) -> None:
        """Back and forth, by API and by signal."""
        while time.monotonic() < until_s:
            if self._random.random() < 0.5:
                os.kill(self.target.pid, signal.SIGUSR1)
                self._count("rollback by signal")
            else:
                await self._tell("POST", "rollback", {"reason": "soak"})
            await asyncio.sleep(0.8)
            await self._tell("POST", "resume", {"reason": "soak"})
            await asyncio.sleep(0.8)

    async def faults(self, until_s: float) -> None:
        """Domain fails in every manner it can, one after the other."""
        for kind in self._random.sample(FAULTS[1:], len(FAULTS) - 1):
            left_s = until_s - time.monotonic()
            if left_s <= 0.5:
                break
            broken = self.ledger.begin_break(f"domain: {kind}", time.monotonic())
            await self._fault(kind, 0.2)
            await asyncio.sleep(min(left_s, 3.0))
            await self._fault("none", 0.0)
            broken.end_s = time.monotonic() + _AFTER_S + (3.0 if kind == "hang" else 0.0)
            self._count(f"domain: {kind}")
        await self.calm(until_s)

    async def reloads(self, until_s: float) -> None:
        """The file changes so that the workers have to follow each other."""
        sample = 0
        while until_s - time.monotonic() > 2.0:
            sample = 1 - sample
            text = self.target.config.read_text()
            lines = [
                line if "body_bytes" not in line else f"limits: {{body_bytes: {5_000_000 + sample}}}"
                for line in text.splitlines()
            ]
            self.target.config.write_text("\n".join([*lines, ""]))
            os.kill(self.target.pid, signal.SIGHUP)
            self._count("reload with new workers")
            await asyncio.sleep(5.0)
        await self.calm(until_s)

    async def kills_9(self, until_s: float) -> None:
        """A worker is killed: the youngest, so that another lives long enough to be watched."""
        await asyncio.sleep(1.5)
        while until_s - time.monotonic() > 3.0:
            workers = self.target.workers()
            if len(workers) < 2:
                await asyncio.sleep(0.2)
                continue
            broken = self.ledger.begin_break("a worker was killed", time.monotonic())
            self.kills.append(Kill(time.monotonic(), self.ledger.pending()))
            os.kill(workers[-1], signal.SIGKILL)
            self._count("kill -9 of a worker")
            await asyncio.sleep(1.0)
            broken.end_s = time.monotonic()
            await asyncio.sleep(3.0)
        await self.calm(until_s)

    async def _fault(self, kind: str, share: float) -> None:
        url = f"http://127.0.0.1:{self.target.backends['domain']}/soak/fault?kind={kind}&share={share}"
        async with self.http.get(url) as response:
            response.raise_for_status()

    async def _tell(self, method: str, what: str, body: dict[str, object]) -> None:
        url = f"http://127.0.0.1:{self.target.admin_port}/api/v1/rollout/{what}"
        async with self.http.request(method, url, json=body) as response:
            if response.status not in {200, 409}:  # 409: there is nothing to resume
                self.ledger.blame(f"{method} {what} was answered {response.status}: {await response.text()}")
        self._count(what)


Round = Callable[[Trouble, float], Awaitable[None]]

ROUNDS: Final[dict[str, Round]] = {
    "calm": Trouble.calm,
    "reloads": Trouble.reloads,
    "rollbacks": Trouble.rollbacks,
    "faults of domain": Trouble.faults,
    "kills": Trouble.kills_9,
    "percents": Trouble.percents,
}
