"""The workers: how many there are, what they decide by, who follows a dead one.

Owns: generations and their slots, publishing and its promise, replacement, stuck workers, totals of the living and the dead.
Must not know: what is in a snapshot and why, how a worker is spoken to.
Invariants: `publish` returns when every process that could still decide has the snapshot, and the rest are dead; totals
never go down; a new generation takes over when all of it is ready, else the old one stays; no socket is closed before the
end.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from splitter.compare import Tally
from splitter.config import Config
from splitter.judged import Judged
from splitter.rendezvous import Orphan
from splitter.snapshot import Death, Gauges, Published, Snapshot, Totals, WorkerInfo, WorkerState
from splitter.stats import Stats
from splitter.supervision.backoff import Backoff
from splitter.supervision.cores import cores
from splitter.supervision.local import LocalWorker
from splitter.supervision.member import Edition, Task, Worker
from splitter.supervision.mirrored import Mirrored
from splitter.supervision.process import ProcessWorker
from splitter.supervision.sockets import SlotSockets
from splitter.tasks import Tasks

ACK_S: Final = 1.0
"""For confirming a snapshot. Who does not is killed: what is killed sends nothing to domain."""
PING_EVERY_S: Final = 1.0
STUCK_AFTER: Final = 5
"""Pings in a row without an answer."""
START_S: Final = 30.0
_REPLACED_S: Final = 5.0
_STOP_GRACE_S: Final = 2.0
_MOST_GENERATIONS: Final = 4
"""That may drain at a time. Each reload leaves one behind for as long as its longest stream, and some reload each minute."""


def _nobody() -> None:
    """Nobody wants to know."""


class CannotStartError(Exception):
    """A generation did not come up; the message says why, in one line."""


@dataclass(slots=True)
class _Slot:
    """The place of one worker: what it accepts on outlives it."""

    number: int
    worker: Worker | None = None
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    backoff: Backoff = field(default_factory=Backoff)

    def fill(self, worker: Worker) -> None:
        self.worker = worker
        self.filled.set()

    def vacate(self) -> None:
        self.worker = None
        self.filled.clear()


@dataclass(slots=True)
class _Generation:
    """The workers of one configuration."""

    task: Task
    slots: list[_Slot]
    shares: list[list[socket.socket]]
    retired: bool = False


class Crew:
    """See the top of the file. It is the `Plane` of the control plane."""

    def __init__(self, sockets: SlotSockets, internal_socket: str, rendezvous: str, tasks: Tasks) -> None:
        self._sockets = sockets
        self._internal_socket = internal_socket
        self._rendezvous = rendezvous
        self._tasks = tasks
        self._log = structlog.get_logger()
        self._seq = 0
        self._edition: Edition | None = None
        self._living: list[Worker] = []
        self._dead = Stats()
        self._mirrored = Mirrored(tasks)
        self._before_us = Judged()  # what orphans counted under an earlier supervisor, which judged it
        self._orphans: set[Worker] = set()  # that have told nothing yet
        self._report: Callable[[], None] = _nobody
        self._deaths = dict.fromkeys(Death, 0)
        self._generations = 0
        self._current: _Generation | None = None
        self._renewing = asyncio.Lock()
        self._stopping = False

    # --- for the control plane ---

    async def publish(self, snapshot: Snapshot) -> Published:
        started_s = time.monotonic()
        self._seq += 1
        edition = self._edition = Edition.of(self._seq, snapshot)
        told = [worker for worker in self._living if worker.configured]
        for worker in told:
            worker.put(edition)
        for worker in self._living:
            if worker.greeted and not worker.configured:
                worker.configure(edition)
        replaced = sum(await asyncio.gather(*(self._see_in_force(worker, edition.seq) for worker in told)))
        deciding = sum(info.state is WorkerState.READY for info in self.workers())
        return Published(deciding, replaced, time.monotonic() - started_s)

    async def _see_in_force(self, worker: Worker, seq: int) -> bool:
        """Whether the worker had to be killed for that."""
        if await worker.until_in_force(seq, ACK_S):
            return False
        self._log.error("worker_no_ack", slot=worker.slot, pid=worker.pid, within_s=ACK_S)
        slot = self._slot_of(worker)
        worker.kill(Death.NO_ACK)
        await worker.ended.wait()
        if slot is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REPLACED_S):
                    await slot.filled.wait()
        return True

    async def collect(self) -> Totals:
        await asyncio.gather(*(worker.collect() for worker in self._living))
        stats, gauges = Stats(), Gauges()
        stats.merge(self._dead)
        for worker in self._living:
            stats.merge(worker.stats)
            gauges.merge(worker.gauges)
        return Totals(stats, gauges, self.workers(), dict(self._deaths))

    async def mirror_report(self) -> Tally:
        return await self._mirrored.over(self._living)

    def judged(self) -> Judged:
        judged = Judged()
        judged.merge(self._dead.judged)
        for worker in self._living:
            judged.merge(worker.stats.judged)
        return judged.since(self._before_us)

    def on_report(self, listener: Callable[[], None]) -> None:
        self._report = listener

    def workers(self) -> Sequence[WorkerInfo]:
        infos = [worker.info() for worker in self._living]
        if self._current is not None:
            here = {(info.slot, info.generation) for info in infos}
            generation = self._current.task.generation
            infos += [
                WorkerInfo(slot.number, generation, 0, WorkerState.STARTING, 0.0)
                for slot in self._current.slots
                if (slot.number, generation) not in here
            ]
        return sorted(infos, key=lambda info: (info.slot, info.generation))

    # --- generations ---

    async def start(self, config: Config) -> None:
        """Let the first generation take over, from orphans if there are any. Raises CannotStartError."""
        self._tasks.start(self._watch(), "pings")
        await self.renew(config)

    async def renew(self, config: Config) -> None:
        """Start a generation made for this configuration; when all of it is ready, the one before drains.

        Raises CannotStartError; the one before stays then.
        """
        async with self._renewing:
            generation = await self._raise(config)
            if self._current is not None:
                self._current.retired = True
            self._current = generation
            self._mirrored.on_generation(generation.task)
            self._drain_strangers()
            self._limit_generations(config.limits.drain_timeout_s)

    async def _raise(self, config: Config) -> _Generation:
        """A generation that is ready as a whole, else nothing of it. Raises CannotStartError."""
        count = config.listen.workers
        slots = max(1, cores() if count == "auto" else count)
        self._generations += 1
        task = Task(self._generations, config, self._internal_socket, self._rendezvous)
        workers: list[Worker] = []
        up = False
        try:
            self._sockets.open(slots)
            generation = _Generation(task, [_Slot(number) for number in range(slots)], self._sockets.share(slots))
            for slot in generation.slots:
                workers.append(self._begin(generation, slot))  # noqa: PERF401 - those before one that fails must be known
            async with asyncio.timeout(START_S):
                await asyncio.gather(*(worker.until_ready() for worker in workers))
            failed = [worker for worker in workers if worker.ready_s is None or worker.ended.is_set()]
            if failed:
                raise CannotStartError(f"a worker could not start: {failed[0].why}")
            up = True
        except TimeoutError:
            raise CannotStartError(f"the workers were not ready within {START_S:g} s") from None
        except OSError as error:
            raise CannotStartError(f"the workers could not be started: {error.strerror or error}") from None
        finally:
            if not up:
                for worker in workers:
                    worker.drain(config.limits.drain_timeout_s)  # those that are ready have clients already
        for slot, worker in zip(generation.slots, workers, strict=True):
            slot.fill(worker)
        self._log.info("workers_ready", generation=task.generation, pids=[worker.pid for worker in workers])
        return generation

    def _begin(self, generation: _Generation, slot: _Slot) -> Worker:
        """A new worker for a slot, on its way to be ready. Raises OSError."""
        task, sockets = generation.task, generation.shares[slot.number]
        worker: Worker
        if task.config.listen.workers == 0:
            worker = LocalWorker(slot.number, task, sockets, self, self._tasks)
        else:
            worker = ProcessWorker.start(slot.number, task, sockets, self, self._tasks)
        self._living.append(worker)
        if worker.greeted:
            self.on_hello(worker)
        return worker

    def _limit_generations(self, timeout_s: float) -> None:
        draining = sorted({worker.generation for worker in self._living if worker.told_to_drain})
        for worker in self._living:
            if worker.told_to_drain and worker.generation in draining[:-_MOST_GENERATIONS]:
                worker.drain(timeout_s)

    def take_in(self, orphan: Orphan) -> None:
        """Count a worker that an earlier supervisor left behind as ours: it drains as soon as there are others."""
        try:
            worker = ProcessWorker.adopt(orphan, self, self._tasks)
        except OSError:
            orphan.channel.close()
            return
        self._living.append(worker)
        self._orphans.add(worker)
        self._log.info("worker_adopted", slot=worker.slot, pid=worker.pid)
        if self._edition is not None:
            worker.put(self._edition)

    def adopt(self, orphan: Orphan) -> None:
        """Take in one that comes late, and what it accepts on: a new generation accepts there too, before it drains."""
        is_new = self._sockets.adopt(orphan.sockets)
        self.take_in(orphan)
        if self._current is not None:
            if is_new:
                self._tasks.start(self._renew_as_it_is(self._current.task.config), "new sockets")
            else:
                self._drain_strangers()

    async def _renew_as_it_is(self, config: Config) -> None:
        try:
            await self.renew(config)
        except CannotStartError as error:
            self._log.error("orphan_not_replaced", why=str(error))

    def _drain_strangers(self) -> None:
        """Whoever is not of the current generation."""
        for worker in self._living:
            of_now = self._current is not None and worker.generation >= self._current.task.generation
            if not of_now and not worker.told_to_drain:
                worker.drain(None)

    def reload_certificates(self) -> None:
        """Let new connections have what is in the files now."""
        for worker in self._living:
            worker.reload_certificates()

    # --- what workers tell ---

    def on_hello(self, worker: Worker) -> None:
        if self._edition is not None:
            worker.configure(self._edition)

    def on_leaving(self, worker: Worker) -> None:
        slot = self._slot_of(worker)
        if slot is not None and not self._stopping:
            self._log.warning("worker_leaves", slot=worker.slot, pid=worker.pid, why="somebody told it to end")
            self._replace(slot, worker)

    def on_stats(self, worker: Worker) -> None:
        if worker in self._orphans:
            self._orphans.discard(worker)
            self._before_us.merge(worker.stats.judged)
        self._report()

    def on_end(self, worker: Worker) -> None:
        self._orphans.discard(worker)
        self._living.remove(worker)
        self._dead.merge(worker.stats)
        self._mirrored.bury(worker)
        slot = self._slot_of(worker)
        if slot is not None and not self._stopping:
            self._log.error("worker_died", slot=worker.slot, pid=worker.pid, why=worker.why, cause=worker.cause)
            self._replace(slot, worker)

    def _slot_of(self, worker: Worker) -> _Slot | None:
        """The slot that has to be filled again when this worker is gone."""
        for slot in self._current.slots if self._current is not None else ():
            if slot.worker is worker:
                return slot
        return None

    def _replace(self, slot: _Slot, worker: Worker) -> None:
        self._deaths[worker.cause or Death.EXITED] += 1
        slot.vacate()
        if self._current is not None:
            self._tasks.start(self._fill(self._current, slot, worker.worked_s()), f"slot {slot.number}")

    async def _fill(self, generation: _Generation, slot: _Slot, worked_s: float) -> None:
        """Start workers until one is ready."""
        while not (generation.retired or self._stopping):
            await asyncio.sleep(slot.backoff.pause_s(worked_s))
            try:
                worker = self._begin(generation, slot)
            except OSError as error:
                self._log.error("worker_not_started", slot=slot.number, why=str(error))
                worked_s = 0.0
                continue
            await worker.until_ready()
            if worker.ended.is_set():
                worked_s = worker.worked_s()
                self._deaths[worker.cause or Death.EXITED] += 1
                self._log.error("worker_died", slot=slot.number, pid=worker.pid, why=worker.why, cause=worker.cause)
            elif not worker.told_to_drain:
                slot.fill(worker)
                self._log.info("worker_replaced", slot=slot.number, pid=worker.pid)
                return

    async def _watch(self) -> None:
        """Ping every worker, and kill those that can't be working any more."""
        while True:
            await asyncio.sleep(PING_EVERY_S)
            now_s = time.monotonic()
            for worker in list(self._living):
                late = worker.ready_s is None and now_s - worker.born_s > START_S
                if late or worker.pings_unanswered >= STUCK_AFTER:
                    self._log.error("worker_stuck", slot=worker.slot, pid=worker.pid, pings=worker.pings_unanswered)
                    worker.kill(Death.STUCK)
                elif worker.greeted:
                    worker.ping()

    # --- the end ---

    async def drain(self, timeout_s: float) -> bool:
        """Stop accepting, let every request under way end, and the workers. False when some were cut off."""
        self._stopping = True
        workers = list(self._living)
        for worker in workers:
            worker.drain(timeout_s, for_good=True)
        self._sockets.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s + _STOP_GRACE_S):
                await asyncio.gather(*(worker.ended.wait() for worker in workers))
        await self._end([worker for worker in workers if not worker.ended.is_set()])
        return all(worker.complete for worker in workers if worker.configured)

    @property
    def can_go_on_alone(self) -> bool:
        """Whether there are workers that don't end with this process."""
        return any(isinstance(worker, ProcessWorker) and worker.configured for worker in self._living)

    def leave(self) -> None:
        """Let the workers go on alone, until another supervisor takes them over. Nothing may be published any more."""
        self._stopping = True
        for worker in self._living:
            if worker.configured:
                worker.release()
            else:
                worker.kill()

    async def abandon(self) -> None:
        """End what was started here, and leave orphans as they were found: this supervisor will not serve."""
        self._stopping = True
        own = [worker for worker in self._living if worker.generation]
        for worker in self._living:
            if not worker.generation:
                worker.release()
        await self._end(own)

    @staticmethod
    async def _end(workers: Sequence[Worker]) -> None:
        for worker in workers:
            worker.kill()
        await asyncio.gather(*(worker.ended.wait() for worker in workers))
