"""Publishing, generations and replacement, with workers in the test's hands: no process, no socket but bound ones."""

from __future__ import annotations

import asyncio

import pytest

from splitter.compare import Context, Differences, Mask, Tally
from splitter.config import Config, Listen, parse
from splitter.control.table import table_of
from splitter.snapshot import Death, Snapshot, WorkerState
from splitter.stats import Stats
from splitter.supervision import crew as crew_module
from splitter.supervision.backoff import LONGEST_S, Backoff
from splitter.supervision.crew import CannotStartError, Crew
from splitter.supervision.member import Edition, Listener, Task, Worker
from splitter.supervision.process import ProcessWorker
from splitter.supervision.sockets import SlotSockets
from splitter.tasks import Tasks

SNAPSHOT = Snapshot(table_of(Config()))


class FakeWorker(Worker):
    """Does at once what it is told, unless the test says otherwise."""

    born: list[FakeWorker]
    dies_at_start = 0
    deaf = False

    def __init__(self, slot: int, task: Task, listener: Listener) -> None:
        super().__init__(slot, task.generation, listener)
        self.pid = 1000 + len(FakeWorker.born)
        self.config = task.config
        self.editions: list[int] = []
        self.drains: list[float | None] = []
        self.pings = 0
        self.reloads = 0
        self.mirror_asked = 0
        self.for_good = False
        FakeWorker.born.append(self)
        asyncio.get_running_loop().call_soon(self._greet)

    def _greet(self) -> None:
        if FakeWorker.dies_at_start:
            FakeWorker.dies_at_start -= 1
            self.why = "it does not feel like it"
            self._on_end()
        elif not self.ended.is_set():
            self.greeted = True
            self._listener.on_hello(self)

    def configure(self, edition: Edition) -> None:
        self.configured, self.acked = True, edition.seq
        self._on_ready()

    def put(self, edition: Edition) -> None:
        self.editions.append(edition.seq)
        if not self.deaf:
            self._on_ack(edition.seq)

    def ping(self) -> None:
        self.pings += 1
        self.pings_unanswered = self.pings_unanswered + 1 if self.deaf else 0

    async def collect(self) -> None:
        await asyncio.sleep(0)

    async def collect_mirror(self) -> None:
        self.mirror_asked += 1
        await asyncio.sleep(0)

    def reload_certificates(self) -> None:
        self.reloads += 1

    def drain(self, timeout_s: float | None, *, for_good: bool = False) -> None:
        self.told_to_drain = True
        self.for_good = for_good
        self.state = WorkerState.DRAINING
        self.drains.append(timeout_s)

    def kill(self, cause: Death | None = None) -> None:
        self.cause = self.cause or cause
        self._on_end()

    def release(self) -> None:
        self.drains.append(None)


class Rig:
    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.tasks = Tasks(lambda _name, error: self.errors.append(error))
        self.sockets = SlotSockets(Listen(host="127.0.0.1", port=0))
        self.crew = Crew(self.sockets, "", "", self.tasks)

    @staticmethod
    def config(workers: int = 2, extra: str = "") -> Config:
        return parse(f"listen: {{workers: {workers}}}\n{extra}", "a", {})

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def close(self) -> None:
        await self.tasks.close()
        self.sockets.close()
        assert self.errors == []


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> list[FakeWorker]:
    FakeWorker.born = []
    FakeWorker.dies_at_start = 0
    monkeypatch.setattr(
        ProcessWorker, "start", lambda slot, task, _sockets, listener, _tasks: FakeWorker(slot, task, listener)
    )
    monkeypatch.setattr(crew_module, "ACK_S", 0.05)
    monkeypatch.setattr(crew_module, "START_S", 1.0)
    return FakeWorker.born


@pytest.fixture
async def rig() -> Rig:
    return Rig()


async def test_nobody_is_configured_before_there_is_a_snapshot(rig: Rig, fakes: list[FakeWorker]) -> None:
    starting = asyncio.get_running_loop().create_task(rig.crew.start(rig.config()))
    await rig.settle()
    assert [worker.configured for worker in fakes] == [False, False]
    await rig.crew.publish(SNAPSHOT)
    await starting
    assert [worker.configured for worker in fakes] == [True, True]
    published = await rig.crew.publish(SNAPSHOT)
    assert (published.workers, published.replaced) == (2, 0)
    await rig.close()


async def started(rig: Rig, config: Config | None = None) -> None:
    await rig.crew.publish(SNAPSHOT)
    await rig.crew.start(config or rig.config())


async def test_one_that_does_not_confirm_is_killed_and_replaced_before_the_answer(rig: Rig, fakes: list[FakeWorker]) -> None:
    await started(rig)
    fakes[0].deaf = True
    published = await rig.crew.publish(SNAPSHOT)
    assert (published.workers, published.replaced) == (2, 1)
    assert fakes[0].ended.is_set()
    assert [info.pid for info in rig.crew.workers()] == [fakes[2].pid, fakes[1].pid]
    totals = await rig.crew.collect()
    assert totals.deaths == {Death.EXITED: 0, Death.STUCK: 0, Death.NO_ACK: 1}
    await rig.close()


async def test_one_that_dies_meanwhile_is_not_waited_for(rig: Rig, fakes: list[FakeWorker]) -> None:
    await started(rig)
    fakes[0].deaf = True
    publishing = asyncio.get_running_loop().create_task(rig.crew.publish(SNAPSHOT))
    await asyncio.sleep(0)
    fakes[0].kill()
    assert (await publishing).replaced == 0
    await rig.close()


async def test_of_several_at_once_each_waits_for_its_own_or_a_later_one(rig: Rig, fakes: list[FakeWorker]) -> None:
    await started(rig)
    fakes[0].deaf = True
    loop = asyncio.get_running_loop()
    first, second = loop.create_task(rig.crew.publish(SNAPSHOT)), loop.create_task(rig.crew.publish(SNAPSHOT))
    await rig.settle()
    assert not first.done()
    assert fakes[0].editions == [2, 3], "in order"
    fakes[0]._on_ack(3)
    assert (await first).replaced == (await second).replaced == 0
    await rig.close()


async def test_draining_workers_are_told_too(rig: Rig, fakes: list[FakeWorker]) -> None:
    await started(rig)
    await rig.crew.renew(rig.config(extra="limits: {headers: 100}"))
    old, new = fakes[:2], fakes[2:]
    assert [worker.drains for worker in old] == [[None], [None]], "however long their streams last"
    assert [worker.config.limits.headers for worker in new] == [100, 100]
    old[0].deaf = True
    published = await rig.crew.publish(SNAPSHOT)
    assert (published.workers, published.replaced) == (2, 1)
    assert len(fakes) == 4, "one that drained has no follower"
    assert old[1].editions == new[0].editions == [2]
    await rig.close()


async def test_a_generation_that_does_not_come_up_leaves_the_one_before(rig: Rig, fakes: list[FakeWorker]) -> None:
    await started(rig)
    FakeWorker.dies_at_start = 1
    with pytest.raises(CannotStartError, match="it does not feel like it"):
        await rig.crew.renew(rig.config(3))
    assert [worker.drains for worker in fakes[:2]] == [[], []]
    assert [worker.drains for worker in fakes[2:] if not worker.ended.is_set()] == [[30.0], [30.0]], "they may have clients"
    for worker in fakes[2:]:
        worker.kill()
    assert [info.pid for info in rig.crew.workers()] == [fakes[0].pid, fakes[1].pid]
    await rig.close()


async def test_who_follows_one_that_died_at_once_waits_longer_and_longer(
    rig: Rig, fakes: list[FakeWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    real = Backoff.pause_s

    def pause_s(self: Backoff, worked_s: float) -> float:
        pauses.append(real(self, worked_s))
        return 0.0

    monkeypatch.setattr(Backoff, "pause_s", pause_s)
    await started(rig)
    FakeWorker.dies_at_start = 3
    fakes[0].ready_s = (fakes[0].ready_s or 0.0) - 5
    fakes[0].kill()
    async with asyncio.timeout(5):
        while not any(worker.slot == 0 and worker.state is WorkerState.READY for worker in fakes[2:]):
            await asyncio.sleep(0)
    assert pauses == [0.0, 0.25, 0.5, 1.0]
    assert (await rig.crew.collect()).deaths[Death.EXITED] == 4
    await rig.close()


def test_pauses_double_to_a_bound_and_are_forgotten_when_one_works() -> None:
    backoff = Backoff()
    pauses = [backoff.pause_s(0.9) for _ in range(8)]
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, LONGEST_S, LONGEST_S]
    assert backoff.pause_s(1.0) == 0
    assert backoff.pause_s(0.0) == 0.25


async def test_totals_of_the_dead_are_kept(rig: Rig, fakes: list[FakeWorker]) -> None:
    await started(rig)
    for worker, times in zip(fakes, (3, 4), strict=True):
        worker.stats = Stats()
        for _ in range(times):
            worker.stats.record("domain", "bucket", "default", b"GET", 200, 0.01)
        worker.gauges.downstream = times
        worker.ready_s = (worker.ready_s or 0.0) - 5

    async def counted() -> tuple[int, int]:
        totals = await rig.crew.collect()
        return sum(totals.stats.requests.values()), totals.gauges.downstream

    assert await counted() == (7, 7)
    fakes[0].kill()
    assert await counted() == (7, 4)
    assert await counted() == (7, 4), "counting does not change what is counted"
    await asyncio.sleep(0.01)
    fakes[2].stats.record("legacy", "bucket", "default", b"GET", 200, 0.01)
    assert (await counted())[0] == 8
    await rig.close()


def found(worker: FakeWorker, count: int) -> None:
    """Its mirror has compared so many."""
    worker.mirrored = Tally(float(worker.pid))
    for _ in range(count):
        worker.mirrored.report.record("GET /", Differences(), None, Context(), Mask())
        worker.mirrored.outcomes["match"] += 1


class TestWhatMirrorsFound:
    async def test_of_the_dead_is_kept_and_counted_once(self, rig: Rig, fakes: list[FakeWorker]) -> None:
        await started(rig)
        found(fakes[0], 3)
        found(fakes[1], 4)
        for _ in range(2):
            tally = await rig.crew.mirror_report()
            assert (tally.report.compared, tally.outcomes["match"], tally.since_s) == (7, 7, fakes[0].pid)
        fakes[0].kill()
        await rig.settle()
        assert (await rig.crew.mirror_report()).report.compared == 7
        await rig.close()

    async def test_who_asks_at_the_same_time_asks_once(self, rig: Rig, fakes: list[FakeWorker]) -> None:
        await started(rig)
        found(fakes[0], 3)
        both = await asyncio.gather(rig.crew.mirror_report(), rig.crew.mirror_report())
        assert [tally.report.compared for tally in both] == [3, 3]
        assert both[0] is not both[1]
        assert [worker.mirror_asked for worker in fakes] == [1, 1]
        await rig.close()

    async def test_begins_anew_only_with_other_rules(self, rig: Rig, fakes: list[FakeWorker]) -> None:
        await started(rig)
        found(fakes[0], 3)
        await rig.crew.renew(rig.config(extra="limits: {headers: 100}"))
        found(fakes[2], 2)
        assert (await rig.crew.mirror_report()).report.compared == 5
        await rig.crew.renew(rig.config(extra='mirror: {ignore: ["$.a"]}'))
        assert (await rig.crew.mirror_report()).report.compared == 0
        for worker in fakes[:4]:
            worker.kill()
        await rig.settle()
        found(fakes[4], 1)
        assert (await rig.crew.mirror_report()).report.compared == 1, "those that drained are forgotten"
        await rig.close()


async def test_one_that_leaves_by_itself_is_followed_at_once(rig: Rig, fakes: list[FakeWorker]) -> None:
    await started(rig)
    fakes[1].ready_s = (fakes[1].ready_s or 0.0) - 5
    fakes[1].state = WorkerState.DRAINING
    rig.crew.on_leaving(fakes[1])
    await asyncio.sleep(0.01)
    assert fakes[2].state is WorkerState.READY
    assert fakes[2].slot == 1
    assert not fakes[1].ended.is_set()
    fakes[1].kill()
    await rig.settle()
    assert len(fakes) == 3
    await rig.close()


async def test_one_that_answers_no_ping_is_killed(
    rig: Rig, fakes: list[FakeWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew_module, "PING_EVERY_S", 0.005)
    await started(rig)
    fakes[0].deaf = True
    async with asyncio.timeout(5):
        await fakes[0].ended.wait()
    assert fakes[0].cause is Death.STUCK
    assert fakes[0].pings == crew_module.STUCK_AFTER
    assert not fakes[1].ended.is_set()
    await rig.close()


async def test_old_generations_that_pile_up_are_hurried(rig: Rig, fakes: list[FakeWorker]) -> None:
    await started(rig, rig.config(1))
    for headers in range(100, 106):
        await rig.crew.renew(rig.config(1, f"limits: {{headers: {headers}, drain_timeout: 7s}}"))
    assert [worker.drains for worker in fakes[:3]] == [[None, 7.0, 7.0], [None, 7.0], [None]]
    await rig.close()


async def test_stopping_drains_everybody_and_follows_nobody(rig: Rig, fakes: list[FakeWorker]) -> None:
    await started(rig)
    stopping = asyncio.get_running_loop().create_task(rig.crew.drain(5.0))
    await rig.settle()
    assert [(worker.drains, worker.for_good) for worker in fakes] == [([5.0], True)] * 2
    for worker in fakes:
        worker.complete = True
        worker.kill()
    assert await stopping
    assert len(fakes) == 2
    await rig.close()


async def test_who_does_not_end_is_cut_off(rig: Rig, fakes: list[FakeWorker], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "_STOP_GRACE_S", 0.01)
    await started(rig)
    assert not await rig.crew.drain(0.01)
    assert all(worker.ended.is_set() for worker in fakes)
    await rig.close()
