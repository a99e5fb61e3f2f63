"""One worker, as the supervisor sees it: what it was told, what it confirmed, what it counted.

Owns: the bookkeeping that is the same for every kind of worker.
Must not know: how a worker is spoken to (the subclasses do), what follows from its end.
Invariants: `acked` only grows, and a worker that has ended decides nothing any more, so whoever waits for its word need not;
`stats` are the last totals it told and `mirrored` the last report, so what it counted is known after its end; `on_end`
comes exactly once.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, Protocol

from splitter.channel import encode
from splitter.compare import Tally
from splitter.config import Config
from splitter.snapshot import Death, Gauges, Snapshot, WorkerInfo, WorkerState
from splitter.stats import Stats

COLLECT_S: Final = 0.25
"""For fresh totals; who does not answer in time is counted by what it told last."""
MIRROR_S: Final = 2.0
"""The same for what the mirror found, which takes its time when there is much of it."""


@dataclass(frozen=True, slots=True)
class Edition:
    """A snapshot with its number, and the frame that carries it."""

    seq: int
    snapshot: Snapshot
    frame: bytes

    @classmethod
    def of(cls, seq: int, snapshot: Snapshot) -> Edition:
        return cls(seq, snapshot, encode({"type": "snapshot", "seq": seq, "snapshot": snapshot.to_wire()}))


@dataclass(frozen=True, slots=True)
class Task:
    """What workers of one generation are made for. `rendezvous`: where they look for a supervisor after this one."""

    generation: int
    config: Config
    internal_socket: str
    rendezvous: str


class Listener(Protocol):
    """Who hears of a worker's life."""

    def on_hello(self, worker: Worker) -> None:
        """It runs, and waits to be configured."""

    def on_leaving(self, worker: Worker) -> None:
        """It stops accepting, and nobody here has told it to."""

    def on_end(self, worker: Worker) -> None:
        """It is gone."""

    def on_stats(self, worker: Worker) -> None:
        """It told what it has counted."""


class Worker(ABC):
    """See the top of the file."""

    def __init__(self, slot: int, generation: int, listener: Listener) -> None:
        self.slot = slot
        self.generation = generation
        self.pid = 0
        self.state = WorkerState.STARTING
        self.stats = Stats()
        self.gauges = Gauges()
        self.mirrored = Tally()
        self.acked = 0
        self.greeted = False
        self.configured = False
        self.told_to_drain = False
        self.complete = False
        self.cause: Death | None = None
        self.why = ""
        self.pings_unanswered = 0
        self.ended = asyncio.Event()
        self.born_s = time.monotonic()
        self.ready_s: float | None = None
        self._settled = asyncio.Event()
        self._listener = listener
        self._acks: list[tuple[int, asyncio.Event]] = []

    # --- what is told to it ---

    @abstractmethod
    def configure(self, edition: Edition) -> None:
        """Let it begin, by this snapshot."""

    @abstractmethod
    def put(self, edition: Edition) -> None:
        """Let it decide by this snapshot from now on."""

    @abstractmethod
    def ping(self) -> None:
        """Ask for a sign of life."""

    @abstractmethod
    async def collect(self) -> None:
        """Bring `stats` and `gauges` up to date, within `COLLECT_S`."""

    @abstractmethod
    async def collect_mirror(self) -> None:
        """Bring `mirrored` up to date, within `MIRROR_S`."""

    @abstractmethod
    def reload_certificates(self) -> None:
        """Let new connections have the certificates that are in the files now."""

    @abstractmethod
    def drain(self, timeout_s: float | None, *, for_good: bool = False) -> None:
        """Let it end what is under way, and then itself; None: however long it takes. May be said again, to hurry it.

        `for_good`: nobody else goes on accepting on its sockets.
        """

    @abstractmethod
    def kill(self, cause: Death | None = None) -> None:
        """End it now."""

    @abstractmethod
    def release(self) -> None:
        """Let it be, without a supervisor."""

    # --- what is known of it ---

    async def until_ready(self) -> bool:
        """Wait until it accepts; False when it ended instead."""
        await self._settled.wait()
        return self.ready_s is not None

    async def until_in_force(self, seq: int, within_s: float) -> bool:
        """Wait until it decides by that snapshot or a later one, or not at all any more; False when the time is over."""
        if self.acked >= seq or self.ended.is_set():
            return True
        confirmed = asyncio.Event()
        self._acks.append((seq, confirmed))
        try:
            async with asyncio.timeout(within_s):
                await confirmed.wait()
        except TimeoutError:
            # Both may have become due while this process was kept from running; what was confirmed counts.
            await asyncio.sleep(0.05)
        finally:
            self._acks = [waiting for waiting in self._acks if waiting[1] is not confirmed]
        return confirmed.is_set() or self.acked >= seq

    def info(self) -> WorkerInfo:
        return WorkerInfo(self.slot, self.generation, self.pid, self.state, round(time.monotonic() - self.born_s, 3))

    def worked_s(self) -> float:
        """For how long it has been ready."""
        return 0.0 if self.ready_s is None else time.monotonic() - self.ready_s

    # --- for the subclasses ---

    def _on_ready(self) -> None:
        self.ready_s = time.monotonic()
        if self.state is WorkerState.STARTING:
            self.state = WorkerState.READY
        self._settled.set()

    def _on_ack(self, seq: int) -> None:
        self.acked = max(self.acked, seq)
        for wanted, confirmed in self._acks:
            if wanted <= self.acked:
                confirmed.set()

    def _on_end(self) -> None:
        if self.ended.is_set():
            return
        for _, confirmed in self._acks:
            confirmed.set()
        self._listener.on_end(self)
        self._settled.set()
        self.ended.set()
