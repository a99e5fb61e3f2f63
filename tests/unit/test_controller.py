"""The controller on a store and a plane in memory: order of a change, rollback whatever happens, agreement of several."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import pytest

from splitter.compare import Tally
from splitter.config import Config, parse
from splitter.control.controller import Controller
from splitter.control.keeper import EMPTY_S
from splitter.errors import IllegalTransition, StoreError
from splitter.rollout import Event as PlanEvent
from splitter.snapshot import Published, Snapshot, Totals, WorkerInfo, WorkerState
from splitter.state import GLOBAL, Record, to_json
from splitter.tasks import Tasks
from splitter.verdict import Verdict
from tests.unit.fake_store import FakeStore, Shelf

T = TypeVar("T")
CONFIG = "rollout: {percent: 10, routes: [{name: control, path: /control, percent: 5}]}\n"


class FakePlane:
    """Keeps what was published; `hold` keeps workers from confirming."""

    def __init__(self, shelf: Shelf) -> None:
        self.published: list[Snapshot] = []
        self.saved_then: list[Record | None] = []
        self.hold: asyncio.Event | None = None
        self._shelf = shelf

    async def publish(self, snapshot: Snapshot) -> Published:
        self.published.append(snapshot)
        self.saved_then.append(self._shelf.record)
        if self.hold is not None:
            await self.hold.wait()
        return Published(workers=2, replaced=0, took_s=0.001)

    async def collect(self) -> Totals:
        raise NotImplementedError

    async def mirror_report(self) -> Tally:
        raise AssertionError("nothing here wants to know")

    def workers(self) -> list[WorkerInfo]:
        return [WorkerInfo(slot, 0, 1, WorkerState.READY, 1.0) for slot in range(2)]

    @property
    def percent(self) -> float:
        """What clients get: the percent of the newest snapshot, 0 when nothing goes to domain."""
        table = self.published[-1].table
        return 0.0 if table.rolled_back or not table.domain_enabled else table.default.threshold / 100


class Splitter:
    """One controller with all it needs. Wall-clock times count up, so that no two events are alike."""

    def __init__(self, store: FakeStore, config: str = CONFIG, environ: dict[str, str] | None = None) -> None:
        self.store = store
        self.shelf = store.shelf
        self.plane = FakePlane(store.shelf)
        self.errors: list[BaseException] = []
        self.tasks = Tasks(lambda _name, error: self.errors.append(error))
        self.skew_s = 0.0
        self.told = 0
        self.controller = Controller(
            read(config, environ), self.plane, store, self.tasks, clock=self._clock, now=self._wall_clock
        )
        self.controller.subscribe(self._count)

    def _clock(self) -> float:
        return asyncio.get_running_loop().time() + self.skew_s

    def pass_s(self, seconds: float) -> None:
        """Let wall-clock time pass."""
        type(self)._at_s += seconds

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        return self.tasks.start(work, "test")

    _at_s = 1_700_000_000.0

    def _wall_clock(self) -> float:
        type(self)._at_s += 0.001
        return round(self._at_s, 3)

    def _count(self) -> None:
        self.told += 1

    @property
    def percent(self) -> float:
        return self.plane.percent

    @property
    def problems(self) -> list[str]:
        return self.controller.problems(details=False)


def read(config: str, environ: dict[str, str] | None = None) -> Config:
    return parse(config, "f.yaml", environ or {})


@contextlib.asynccontextmanager
async def running(
    store: FakeStore | None = None, config: str = CONFIG, environ: dict[str, str] | None = None
) -> AsyncIterator[Splitter]:
    splitter = Splitter(store or FakeStore(), config, environ)
    await splitter.controller.start()
    try:
        yield splitter
    finally:
        await splitter.tasks.close()
        assert splitter.errors == []


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0.001)


# --- one splitter ---------------------------------------------------------------------------------------------------


async def test_a_first_start_notes_the_configuration() -> None:
    async with running() as one:
        assert (one.percent, one.problems) == (10, [])
        assert one.shelf.record == one.controller.record
        assert one.controller.record.version == 1


async def test_a_change_is_saved_then_in_force_then_answered() -> None:
    async with running() as one:
        outcome = await one.controller.set_percent(25, None, "alice", "try")
        assert (one.percent, outcome.changed, outcome.saved, outcome.workers) == (25, True, True, 2)
        saved = one.plane.saved_then[-1]
        assert saved is not None
        assert saved.overrides[GLOBAL].percent == 25, "saved before it was published"
        one.plane.hold = asyncio.Event()
        change = one.start(one.controller.set_percent(30, None, "alice", ""))
        await until(lambda: one.percent == 30)
        await asyncio.sleep(0)
        assert not change.done(), "no answer before every worker has confirmed"
        one.plane.hold.set()
        assert (await change).record.overrides[GLOBAL].percent == 30


async def test_it_survives_a_restart() -> None:
    store = FakeStore()
    async with running(store) as one:
        await one.controller.set_percent(25, "control", "alice", "try")
        await one.controller.roll_back("bob", "errors")
    async with running(FakeStore(store.shelf)) as again:
        assert again.percent == 0
        assert again.controller.status()["rolled_back"]["who"] == "bob"
        assert len(again.plane.published) == 1, "nothing else was in force for a moment"
        await again.controller.resume("carol", "")
        assert (again.percent, again.plane.published[-1].table.routes[0].threshold) == (10, 2500)
        assert again.store.saves == 1, "a restart alone saves nothing"


async def test_nobody_hears_of_a_route_that_is_not_there() -> None:
    async with running() as one:
        with pytest.raises(IllegalTransition, match="there is no route contrl; there are: control"):
            await one.controller.set_percent(5, "contrl", "alice", "")
        with pytest.raises(IllegalTransition, match="nothing is rolled back"):
            await one.controller.resume("alice", "", from_stage=2)
        with pytest.raises(ValueError, match="decimals"):
            await one.controller.set_percent(5.123, None, "alice", "")
        assert one.store.saves == 1


async def test_rolling_back_and_resuming_twice() -> None:
    async with running() as one:
        first = await one.controller.roll_back("bob", "errors")
        second = await one.controller.roll_back("dave", "more errors")
        assert (first.changed, second.changed, one.percent) == (True, False, 0)
        assert second.record.latch == first.record.latch
        assert (await one.controller.resume("carol", "mended")).changed
        assert not (await one.controller.resume("carol", "mended")).changed
        assert one.percent == 10
        assert one.controller.rollbacks == {"operator": 2}
        assert sum(one.controller.rollback_durations.counts) == 2
        assert [line["what"] for line in one.controller.events()] == ["config", "rollback", "rollback", "resume"]


async def test_listeners_hear_of_what_changes_the_status() -> None:
    async with running() as one:
        before = one.told
        await one.controller.set_percent(25, None, "alice", "")
        assert one.told == before + 1
        await one.controller.on_backend("domain", up=False)
        assert one.told == before + 2
        one.controller.unsubscribe(one._count)
        await one.controller.set_percent(30, None, "alice", "")
        assert one.told == before + 2


# --- the store away -------------------------------------------------------------------------------------------------


async def test_a_store_that_is_away_refuses_changes_but_no_rollback() -> None:
    async with running() as one:
        one.shelf.cannot_save = "No space left on device"
        with pytest.raises(StoreError, match="No space left on device"):
            await one.controller.set_percent(50, None, "alice", "")
        assert (one.percent, one.controller.record.version) == (10, 1)
        assert one.problems == ["the state store is down"]
        outcome = await one.controller.roll_back("bob", "errors")
        assert (one.percent, outcome.changed, outcome.saved) == (0, True, False)
        assert one.problems == ["the state store is down", "the rollback in force is not saved yet"]
        with pytest.raises(StoreError):
            await one.controller.resume("carol", "")
        assert one.percent == 0
        one.shelf.cannot_save = ""
        one.shelf.tell()
        await until(lambda: one.problems == [])
        assert one.shelf.record == outcome.record


async def test_a_store_that_can_save_again_is_seen_though_there_is_nothing_to_save() -> None:
    async with running() as one:
        one.shelf.cannot_save = "Read-only file system"
        with pytest.raises(StoreError):
            await one.controller.set_percent(50, None, "alice", "")
        one.shelf.cannot_save = ""
        one.shelf.tell()
        await until(lambda: one.controller.store_up)
        assert one.shelf.record == one.controller.record


async def test_a_store_that_hangs_holds_up_no_rollback() -> None:
    async with running() as one:
        await one.controller.set_percent(50, None, "alice", "")
        one.shelf.hold = asyncio.Event()
        stuck = one.start(one.controller.set_percent(60, None, "alice", ""))
        await until(lambda: one.store.saves == 3)
        async with asyncio.timeout(1):
            outcome = await one.controller.roll_back("bob", "errors")
        assert (one.percent, outcome.saved) == (0, False)
        one.shelf.hold.set()
        await stuck
        assert one.percent == 0, "the change that was under way did not undo it"
        await until(lambda: one.problems == [])
        assert one.shelf.record is not None
        assert one.shelf.record.latch is not None
        assert one.shelf.record.latch.who == "bob"
        assert one.shelf.record.overrides[GLOBAL].percent == 60


async def test_a_rollback_wins_over_a_resume_that_is_under_way() -> None:
    async with running() as one:
        await one.controller.roll_back("bob", "errors")
        one.shelf.hold = asyncio.Event()
        resuming = one.start(one.controller.resume("carol", "mended"))
        await until(lambda: one.store.saves == 3)
        rolling = one.start(one.controller.roll_back("dave", "errors again"))
        await asyncio.sleep(0)
        one.shelf.hold.set()
        await asyncio.gather(resuming, rolling)
        await until(lambda: one.controller.status()["store"]["saved"])
        assert one.percent == 0
        assert one.shelf.record is not None
        assert one.shelf.record.latch is not None


async def test_without_a_readable_store_nothing_goes_to_domain() -> None:
    shelf = Shelf()
    shelf.text = to_json(Record(version=7))
    shelf.cannot_read = "Connection refused"
    async with running(FakeStore(shelf, is_shared=True)) as one:
        assert one.percent == 0
        status = one.controller.status()
        assert (status["rolled_back"]["value"], status["rolled_back"]["from"]) == (True, "store")
        assert "Connection refused" in status["summary"]
        assert one.problems == ["the state store is down", "nothing goes to domain until the state can be read"]
        with pytest.raises(StoreError, match="Connection refused"):
            await one.controller.resume("alice", "")
        shelf.cannot_read = ""
        shelf.tell()
        await until(lambda: one.percent == 10)
        assert one.problems == []
        assert one.controller.record.latch is None, "nobody had rolled back"


async def test_a_rollback_before_the_store_could_be_read_stays() -> None:
    shelf = Shelf()
    async with running(FakeStore(shelf)) as one:
        await one.controller.set_percent(50, None, "alice", "")
    shelf.cannot_read = "Connection refused"
    async with running(FakeStore(shelf)) as again:
        outcome = await again.controller.roll_back("bob", "errors")
        assert (outcome.changed, outcome.saved) == (True, False)
        shelf.cannot_read = ""
        shelf.tell()
        await until(lambda: again.problems == [])
        assert again.percent == 0
        assert shelf.record is not None
        assert shelf.record.latch is not None
        assert (shelf.record.latch.who, shelf.record.overrides[GLOBAL].percent) == ("bob", 50)


async def test_a_rollback_that_could_not_be_saved_does_not_survive_a_restart() -> None:
    """Said in docs/state.md: nothing knows of it any more."""
    shelf = Shelf()
    async with running(FakeStore(shelf)) as one:
        shelf.cannot_read = "Connection refused"
        await one.controller.roll_back("bob", "errors")
    async with running(FakeStore(shelf)) as again:
        assert again.percent == 0, "while nobody can know"
        shelf.cannot_read = ""
        shelf.tell()
        await until(lambda: again.percent == 10)


async def test_a_lost_state_is_legacy_only_until_somebody_resumes() -> None:
    shelf = Shelf()
    shelf.text = b"\0" * 100
    async with running(FakeStore(shelf)) as one:
        assert (one.percent, shelf.aside) == (0, [b"\0" * 100])
        assert one.problems == ["the state was lost, so nothing goes to domain until somebody resumes"]
        assert "is empty; it was moved aside" in one.controller.problems(details=True)[0]
        assert shelf.record == one.controller.record, "the next start knows it too"
        await one.controller.resume("alice", "looked at it")
        assert (one.percent, one.problems) == (10, [])


async def test_what_somebody_spoils_while_it_is_known_here_is_written_back() -> None:
    async with running() as one:
        await one.controller.roll_back("bob", "errors")
        one.shelf.text = b"rubbish"
        one.shelf.tell()
        await until(lambda: one.shelf.aside == [b"rubbish"])
        await until(lambda: one.shelf.text is not None)
        assert one.shelf.record == one.controller.record
        assert (one.percent, one.problems) == (0, [])
        assert "was moved aside" in one.controller.status()["store"]["notice"]


async def test_a_store_spoilt_at_the_moment_of_a_change() -> None:
    async with running() as one:

        def spoil() -> None:
            one.shelf.text = b"rubbish"

        one.store.before_save = spoil
        await one.controller.set_percent(25, None, "alice", "")
        assert (one.percent, one.shelf.aside) == (25, [b"rubbish"])
        assert one.shelf.record == one.controller.record


async def test_stopping_saves_what_could_not_be_saved() -> None:
    async with running() as one:
        one.shelf.cannot_save = "away"
        await one.controller.roll_back("bob", "errors")
        one.shelf.cannot_save = ""
        await one.tasks.close()
        await one.controller.stop()
        assert one.shelf.record == one.controller.record
        assert one.store.closed


# --- file and environment -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "environ", "percent"),
    [
        ("# moved a line down\n\n" + CONFIG, {}, 50),
        (CONFIG.replace("percent: 10", "percent: 20"), {}, 20),
        (CONFIG.replace("percent: 10", "percent: 50"), {}, 50),
        (CONFIG.replace("percent: 5", "percent: 6"), {}, 50),
        (CONFIG, {"ROLLOUT_PERCENT": "33"}, 33),
        (CONFIG, {"ROLLOUT_PERCENT": "10"}, 50),
        (CONFIG, {"USE_DOMAIN_SERVICE": "false"}, 0),
    ],
)
@pytest.mark.parametrize("how", ["reload", "restart", "restart while rolled back"])
async def test_an_edit_replaces_what_was_set_at_run_time(
    edit: str, environ: dict[str, str], percent: float, how: str
) -> None:
    store = FakeStore()
    async with running(store) as one:
        await one.controller.set_percent(50, None, "alice", "")
        if "rolled back" in how:
            await one.controller.roll_back("bob", "errors")
        if how == "reload":
            await one.controller.adopt(read(edit, environ))
            assert one.percent == percent
    async with running(FakeStore(store.shelf), edit, environ) as again:
        if "rolled back" in how:
            assert again.percent == 0, "an edit never clears a rollback"
            await again.controller.resume("carol", "")
        assert again.percent == percent


async def test_an_edit_waits_for_the_store_where_it_changes_the_state_only() -> None:
    async with running() as one:
        await one.controller.set_percent(50, None, "alice", "")
        one.shelf.cannot_save = "away"
        await one.controller.adopt(read(CONFIG.replace("percent: 5", "percent: 6")))
        assert one.plane.published[-1].table.routes[0].threshold == 600, "no override stood in its way"
        await one.controller.adopt(read(CONFIG.replace("percent: 10", "percent: 20")))
        assert one.percent == 50
        assert "an edit of the configuration is not wholly in force" in one.problems
        await one.controller.adopt(read("rollout: {use_domain_service: false}"))
        assert one.percent == 0, "the main switch is no override's business"
        assert one.controller.rollbacks == {"config": 1}
        await one.controller.adopt(read(CONFIG.replace("percent: 10", "percent: 20")))
        one.shelf.cannot_save = ""
        one.shelf.tell()
        await until(lambda: one.percent == 20)
        await until(lambda: one.problems == [])


PLAN = CONFIG.replace("rollout: {", "rollout: {plan: [{percent: 10, hold: 1h}, {percent: 25, hold: 1h}, {percent: 100}], ")
GOOD = Verdict(())


async def test_a_plan_enters_by_its_percents_and_an_edit_beats_it() -> None:
    async with running(config=PLAN) as one:
        await one.controller.steer(PlanEvent.START, "ann", "", from_stage=2)
        assert (one.percent, one.controller.status()["percent"]["from"]) == (25, "plan")
        assert one.controller.status()["summary"].startswith("25 % of clients go to domain (plan: stage 2 of 3")
        await one.controller.adopt(read(PLAN.replace("percent: 10,", "percent: 20,", 1)))
        assert one.percent == 25, "a stage was edited, and percents never fall by that"
        await one.controller.adopt(read(PLAN.replace("percent: 10, routes", "percent: 20, routes")))
        assert one.percent == 20
        told = one.controller.status()["percent"]
        assert (told["from"], told["who"]) == ("file:1", "config")
        assert one.controller.status()["plan"]["phase"] == "idle"


async def test_another_stage_is_saved_before_it_is_in_force() -> None:
    async with running(config=PLAN) as one:
        await one.controller.steer(PlanEvent.START, "ann", "")
        one.pass_s(3600)
        await one.controller.plan.advance(GOOD)
        assert one.percent == 10, "of a time nobody watched, ten seconds count"
        for _ in range(360):
            one.pass_s(10)
            await one.controller.plan.advance(GOOD)
        assert one.percent == 25
        saved = one.plane.saved_then[-1]
        assert saved is not None
        assert saved.plan["stage"] == 1


async def test_while_nothing_can_be_saved_the_plan_stays_and_says_so() -> None:
    async with running(config=PLAN.replace("hold: 1h", "hold: 1s", 1)) as one:
        await one.controller.steer(PlanEvent.START, "ann", "")
        one.shelf.cannot_save = "disk full"
        one.pass_s(2)
        await one.controller.plan.advance(GOOD)
        plan = one.controller.status()["plan"]
        assert (one.percent, plan["stage"], plan["waiting_for"]) == (10, 1, "the state store: disk full")
        one.shelf.cannot_save = ""
        one.pass_s(1)
        await one.controller.plan.advance(GOOD)
        assert one.percent == 25


async def test_how_long_a_stage_was_held_survives_a_kill_but_for_a_minute() -> None:
    shelf = Shelf()
    async with running(FakeStore(shelf), config=PLAN) as one:
        await one.controller.steer(PlanEvent.START, "ann", "")
        for _ in range(95):
            one.pass_s(1)
            await one.controller.plan.advance(GOOD)
        assert one.controller.plan.progress.held_s == pytest.approx(95, abs=1)
        lines = [event["what"] for event in one.controller.events()]
        assert lines == ["config", "plan start"], "how long it was held is nobody's decision"
    async with running(FakeStore(shelf), config=PLAN) as again:  # the first was not stopped, as after a kill -9
        assert again.controller.plan.progress.held_s == pytest.approx(60, abs=1)


async def test_a_stop_saves_the_hold() -> None:
    shelf = Shelf()
    async with running(FakeStore(shelf), config=PLAN) as one:
        await one.controller.steer(PlanEvent.START, "ann", "")
        for _ in range(20):
            one.pass_s(1)
            await one.controller.plan.advance(GOOD)
        await one.controller.stop()
    assert shelf.record is not None
    assert shelf.record.plan["held_s"] == pytest.approx(20, abs=1)


async def test_a_button_pressed_meanwhile_wins_over_time() -> None:
    async with running(config=PLAN.replace("hold: 1h", "hold: 1s", 1)) as one:
        await one.controller.steer(PlanEvent.START, "ann", "")
        one.pass_s(2)
        one.shelf.hold = asyncio.Event()
        pausing = one.start(one.controller.steer(PlanEvent.PAUSE, "bob", "wait"))
        await asyncio.sleep(0.01)
        advancing = one.start(one.controller.plan.advance(GOOD))
        await asyncio.sleep(0.01)
        one.shelf.hold.set()
        await asyncio.gather(pausing, advancing)
        assert (one.percent, one.controller.status()["plan"]["phase"]) == (10, "paused")


async def test_a_rollback_stops_the_plan_at_once_and_a_resume_starts_it_again() -> None:
    async with running(config=PLAN) as one:
        await one.controller.steer(PlanEvent.START, "ann", "", from_stage=2)
        one.shelf.cannot_save = "away"
        await one.controller.roll_back("guardrail:error_rate", "7.9 %")
        assert one.percent == 0
        assert one.controller.status()["plan"]["phase"] == "rolled_back"
        one.shelf.cannot_save = ""
        await one.controller.resume("ann", "", from_stage=2)
        assert one.percent == 25
        with pytest.raises(IllegalTransition, match="start is not possible: the plan is running"):
            await one.controller.steer(PlanEvent.START, "ann", "")


# --- several splitters ----------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def two(shelf: Shelf | None = None) -> AsyncIterator[tuple[Splitter, Splitter]]:
    """Two splitters on one shared store, which is not new."""
    shelf = shelf or Shelf()
    shelf.text = to_json(Record())
    async with running(FakeStore(shelf, is_shared=True)) as a, running(FakeStore(shelf, is_shared=True)) as b:
        yield a, b


async def test_what_one_sets_all_have_in_force() -> None:
    async with two() as (a, b):
        await a.controller.set_percent(40, None, "alice", "")
        await until(lambda: b.percent == 40)
        await b.controller.roll_back("bob", "errors")
        await until(lambda: a.percent == 0)
        assert a.controller.rollbacks == {"peer": 1}
        assert b.controller.rollbacks == {"operator": 1}
        await a.controller.resume("carol", "")
        await until(lambda: b.percent == 40)


async def test_who_loses_a_race_tries_again_on_what_won() -> None:
    async with two() as (a, b):
        rounds = 20
        changes = [splitter.controller.set_percent(number, route, "alice", "")
                   for number in range(rounds) for splitter, route in ((a, None), (b, "control"))]  # fmt: skip
        await asyncio.gather(*changes)
        record = a.shelf.record
        assert record is not None
        assert record.version == 1 + 2 * rounds
        assert [event.version for event in record.events] == list(range(1, record.version + 1)), "nothing was overwritten"
        await until(lambda: a.controller.record == b.controller.record == record)


async def test_a_rollback_out_of_sight_wins_over_what_others_did_meanwhile() -> None:
    async with two() as (a, b):
        a.store.away = True  # the network is in two
        outcome = await a.controller.roll_back("alice", "errors")
        assert (a.percent, outcome.saved) == (0, False)
        await b.controller.set_percent(60, None, "bob", "")
        await b.controller.set_percent(70, None, "bob", "")
        assert b.percent == 70
        a.store.away = False
        a.shelf.tell()
        await until(lambda: b.percent == 0)
        await until(lambda: a.controller.record == b.controller.record)
        assert a.controller.record.overrides[GLOBAL].percent == 70
        assert a.controller.record.events[-1].why.startswith("made out of sight")


async def test_a_store_that_forgot_everything_gets_it_back() -> None:
    async with two() as (a, b):
        await a.controller.roll_back("alice", "errors")
        await until(lambda: b.percent == 0)
        before = a.shelf.record
        a.shelf.text = None
        a.shelf.tell()
        await until(lambda: a.shelf.record == before)
        assert (a.percent, b.percent) == (0, 0)


async def test_a_store_that_comes_back_with_an_old_copy_gets_the_newer_one() -> None:
    async with two() as (a, b):
        old = a.shelf.text
        await a.controller.set_percent(40, None, "alice", "")
        await b.controller.roll_back("bob", "errors")
        await until(lambda: a.controller.record == b.controller.record)
        a.shelf.text = old
        a.shelf.tell()
        await until(lambda: a.shelf.record == b.controller.record)
        assert (a.percent, b.percent) == (0, 0)


async def test_who_advances_the_plan() -> None:
    async with running() as one:
        assert await one.controller.leads()
        one.store.away = True
        assert not await one.controller.leads()


async def test_a_newcomer_does_not_believe_an_empty_shared_store_at_once() -> None:
    shelf = Shelf()
    newcomer = Splitter(FakeStore(shelf, is_shared=True))
    start = newcomer.start(newcomer.controller.start())
    await asyncio.sleep(0.01)
    assert not start.done()
    shelf.text = to_json(Record(version=9, latch=None))
    shelf.tell()
    await start
    assert newcomer.controller.record.version == 10, "nine, and the configuration noted"
    await newcomer.tasks.close()


async def test_an_empty_shared_store_is_believed_after_a_while() -> None:
    newcomer = Splitter(FakeStore(is_shared=True))
    start = newcomer.start(newcomer.controller.start())
    await asyncio.sleep(0.01)
    newcomer.skew_s = EMPTY_S
    newcomer.shelf.tell()
    await start
    assert newcomer.percent == 10
    await newcomer.tasks.close()


# --- what is told ---------------------------------------------------------------------------------------------------


async def test_the_status_says_where_each_value_comes_from() -> None:
    config = "rollout:\n  percent: 10\n  routes: [{name: control, path: /control, percent: 5}]\n"
    async with running(config=config, environ={"USE_DOMAIN_SERVICE": "true"}) as one:
        await one.controller.on_backend("legacy", up=True)
        await one.controller.on_backend("domain", up=True)
        await one.controller.set_percent(12.5, "control", "cli:alice@ops1", "half of them")
        status = one.controller.status()
        assert status["summary"] == "10 % of clients go to domain; of routes: 12.5 % of control"
        assert status["percent"] == {"value": 10.0, "from": "file:2"}
        control = status["routes"]["control"]
        assert {**control, "when": None} == {
            "value": 12.5,
            "from": "operator",
            "who": "cli:alice@ops1",
            "when": None,
            "why": "half of them",
            "instead_of": {"value": 5.0, "from": "file:3"},
        }
        assert control["when"].endswith("Z")
        assert status["use_domain_service"] == {"value": True, "from": "env:USE_DOMAIN_SERVICE"}
        assert status["rolled_back"] == {"value": False, "from": "default"}
        assert status["workers"]["in_force_on"] == 2
        assert status["store"]["saved"]
        assert status["last_change"]["to"] == "12.5 %"
        assert status["backends"] == {"legacy": {"status": "up"}, "domain": {"status": "up"}}
        await one.controller.on_backend("domain", up=False)
        assert one.controller.status()["summary"] == "nothing goes to domain: it is down"
        await one.controller.roll_back("bob", "errors")
        assert "nothing goes to domain: rolled back by bob at 20" in one.controller.status()["summary"]
        await one.controller.adopt(read("rollout: {use_domain_service: false}"))
        assert one.controller.status()["summary"] == "nothing goes to domain: use_domain_service is false (file:1)"
