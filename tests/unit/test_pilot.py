"""The pilot on a store and a plane in memory: what is judged, what is done about it, how the plan goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from splitter.compare import Tally
from splitter.config import parse
from splitter.control.controller import Controller
from splitter.control.pilot import Pilot
from splitter.judged import Judged
from splitter.rollout import Event
from splitter.snapshot import Gauges, Published, Snapshot, Totals, WorkerInfo
from splitter.stats import Stats
from splitter.tasks import Tasks
from tests.unit.fake_store import FakeStore

CONFIG = """
rollout:
  percent: 10
  plan:
    - {percent: 10, hold: 5s}
    - {percent: 50, hold: 5s, confirm: "http://gate.example/", limits: {error_rate_max: 0.5, success_rate_min: 0.5}}
    - {percent: 100}
guardrails: {window: 10s, every: 1s, min_requests: 20, latency_min_requests: 20, action: ACTION}
"""


class Plane:
    """What was published and what was counted."""

    def __init__(self) -> None:
        self.counted = Judged()
        self.published: list[Snapshot] = []
        self.listener: Callable[[], None] | None = None

    async def publish(self, snapshot: Snapshot) -> Published:
        self.published.append(snapshot)
        return Published(workers=1, replaced=0, took_s=0.0)

    async def collect(self) -> Totals:
        return Totals(Stats(), Gauges())

    def judged(self) -> Judged:
        return self.counted.copy()

    def on_report(self, listener: Callable[[], None]) -> None:
        self.listener = listener

    async def mirror_report(self) -> Tally:
        raise AssertionError("nothing here wants to know")

    def workers(self) -> list[WorkerInfo]:
        return []


class Gate:
    """A hook that answers as it is told."""

    def __init__(self) -> None:
        self.answer = ""
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    async def ask(self, url: str, body: Mapping[str, Any]) -> str:
        self.asked.append((url, body))
        return self.answer


class Rollout:
    """A controller and its pilot, driven by hand: nothing happens but in `seconds`."""

    def __init__(self, action: str) -> None:
        self.plane, self.gate, self.store = Plane(), Gate(), FakeStore()
        self.errors: list[BaseException] = []
        self.tasks = Tasks(lambda _name, error: self.errors.append(error))
        self.now_s = 1000.0
        self.controller = Controller(
            parse(CONFIG.replace("ACTION", action), "f.yaml", {}), self.plane, self.store, self.tasks,
            clock=self._clock, now=lambda: 1_700_000_000.0 + self._clock(),
        )  # fmt: skip

    async def start(self) -> None:
        await self.controller.start()
        self.pilot = Pilot(self.controller, self.plane, self.gate, self.tasks, self._clock)

    def _clock(self) -> float:
        return self.now_s

    def traffic(self, count: int, side: str = "domain", failure: str = "", status: int = 200) -> None:
        for _ in range(count):
            self.plane.counted.record(side, "bucket", "default", status, failure, 0.01, cut=False)

    async def seconds(self, count: int, *, per_side: int = 10, failing: int = 0) -> None:
        """Seconds of traffic, of which `failing` requests a second fail on domain."""
        for _ in range(count):
            self.traffic(per_side, "legacy")
            self.traffic(failing, failure="5xx", status=500)
            self.traffic(per_side - failing)
            self.now_s += 1
            await self.pilot.step()
            for _ in range(5):
                await asyncio.sleep(0)  # what was begun beside it

    @property
    def percent(self) -> float:
        table = self.plane.published[-1].table
        return 0.0 if table.rolled_back else table.default.threshold / 100

    def lines(self, what: str) -> list[Mapping[str, Any]]:
        return [event for event in self.controller.events() if event["what"] == what]

    @property
    def plan(self) -> Mapping[str, Any]:
        plan: Mapping[str, Any] = self.controller.status()["plan"]
        return plan


@contextlib.asynccontextmanager
async def piloted(action: str = "rollback") -> AsyncIterator[Rollout]:
    rollout = Rollout(action)
    await rollout.start()
    try:
        yield rollout
    finally:
        await rollout.tasks.close()
        assert rollout.errors == []


async def test_a_good_domain_is_moved_on_stage_by_stage() -> None:
    async with piloted() as one:
        await one.controller.steer(Event.START, "ann", "")
        await one.seconds(8)
        assert (one.percent, one.plan["stage"]) == (50, 2)
        assert "error rate 0 % of" in one.lines("plan advance")[0]["why"]
        await one.seconds(14)
        assert (one.percent, one.plan["phase"]) == (100, "completed")
        (url, body), *more = one.gate.asked
        assert (url, more) == ("http://gate.example/", [])
        assert (body["stage"], body["percent"], body["next_percent"], body["verdict"]["outcome"]) == (2, 50, 100, "pass")
        assert [event["who"] for event in one.lines("plan confirm")] == ["hook"]


async def test_without_data_the_stage_is_held_and_says_so() -> None:
    async with piloted() as one:
        await one.controller.steer(Event.START, "ann", "")
        await one.seconds(30, per_side=0)
        assert (one.percent, one.plan["stage"]) == (10, 1)
        assert one.plan["waiting_for"].startswith("the guardrails to pass: error rate: domain had 0 requests, 20 are needed")


async def test_a_bad_domain_is_rolled_back_with_numbers() -> None:
    async with piloted() as one:
        await one.controller.steer(Event.START, "ann", "")
        await one.seconds(3)
        await one.seconds(20, per_side=20, failing=10)
        assert one.percent == 0
        (line,) = one.lines("rollback")
        assert line["who"] == "guardrail:error_rate"
        assert line["why"].startswith("error rate ")
        assert "limit 5 %" in line["why"]
        assert one.controller.rollbacks == {"guardrail": 1}
        assert one.plan["phase"] == "rolled_back"
        await one.seconds(60)
        assert one.percent == 0, "nothing comes back by itself"
        assert one.controller.status()["guardrails"]["verdict"] is None, "nothing goes to domain, so nothing is judged"
        await one.controller.resume("ann", "mended")
        assert (one.percent, one.plan["stage"]) == (10, 1)
        await one.seconds(8)
        assert one.percent == 50, "what was before the rollback does not count"


@pytest.mark.parametrize("passed_s", [0.01, 2.0])
async def test_failures_in_a_row_act_at_the_report_once_whether_or_not_a_look_is_due(passed_s: float) -> None:
    async with piloted() as one:
        await one.seconds(2)
        one.traffic(25, failure="connect", status=502)
        one.now_s += passed_s
        await one.pilot.step()
        assert one.percent == 0
        assert one.controller.rollbacks == {"guardrail": 1}
        assert one.lines("rollback")[0]["who"] == "guardrail:consecutive_failures"


async def test_a_frozen_plan_goes_no_further_and_is_judged_anew_when_it_is_let_go() -> None:
    async with piloted("freeze") as one:
        await one.controller.steer(Event.START, "ann", "")
        await one.seconds(20, per_side=20, failing=10)
        assert (one.percent, one.plan["phase"]) == (10, "frozen")
        assert one.plan["reason"].startswith("guardrail:error_rate: error rate")
        assert len(one.lines("plan freeze")) == 1
        await one.controller.steer(Event.CONTINUE, "ann", "looked at it")
        await one.seconds(7)
        assert (one.percent, one.plan["stage"]) == (50, 2)


async def test_with_no_plan_to_freeze_it_is_said_once() -> None:
    async with piloted("freeze") as one:
        await one.seconds(30, per_side=20, failing=10)
        assert one.percent == 10
        assert [(line["who"], line["to"]) for line in one.lines("guardrail")] == [
            ("guardrail:error_rate", "nothing was changed")
        ]


async def test_an_alert_is_said_once_and_again_only_after_a_good_time() -> None:
    async with piloted("alert") as one:
        with capture_logs() as logs:
            await one.seconds(40, per_side=20, failing=10)
            assert len(one.lines("guardrail")) == 1
            await one.seconds(40)
            await one.seconds(40, per_side=20, failing=10)
        assert len(one.lines("guardrail")) == 2
        assert one.percent == 10
        told = [line for line in logs if line["event"] == "guardrail"]
        assert [(line["rule"], line["action"]) for line in told] == [("error_rate", "alert")] * 2


async def test_nobody_is_sent_back_to_a_legacy_that_is_down() -> None:
    async with piloted() as one:
        await one.controller.on_backend("legacy", up=False)
        await one.seconds(20, per_side=20, failing=10)
        assert one.percent == 10
        assert [line["to"] for line in one.lines("guardrail")] == ["not rolled back: legacy is down"]
        await one.controller.on_backend("legacy", up=True)
        await one.seconds(3, per_side=20, failing=10)
        assert one.percent == 0


async def test_a_stage_has_its_own_limits() -> None:
    async with piloted() as one:
        await one.controller.steer(Event.START, "ann", "", from_stage=2)
        one.gate.answer = "not yet"
        await one.seconds(20, per_side=20, failing=4)
        assert one.percent == 50, "a fifth fails, and half may in this stage"
        result = next(r for r in one.controller.status()["guardrails"]["verdict"]["results"] if r["rule"] == "error_rate")
        assert (result["outcome"], result["limit"]) == ("pass", 0.5)


async def test_a_hook_that_says_no_is_asked_again_later() -> None:
    async with piloted() as one:
        one.gate.answer = "the confirm hook answered 409: change freeze"
        await one.controller.steer(Event.START, "ann", "", from_stage=2)
        await one.seconds(10)
        told = "its confirm hook to say yes: the confirm hook answered 409: change freeze"
        assert (one.plan["phase"], one.plan["waiting_for"]) == ("waiting", told)
        await one.seconds(10)
        assert len(one.gate.asked) == 1, "thirty seconds lie between two questions"


async def test_a_change_of_the_percent_begins_anew() -> None:
    async with piloted() as one:
        await one.seconds(2, per_side=20, failing=10)
        guardrails = one.controller.status()["guardrails"]
        assert guardrails["bad_windows"] == 1
        assert guardrails["bad"].startswith("error rate 50 % of 20 requests, limit 5 %")
        await one.controller.set_percent(20, None, "ann", "")
        await one.seconds(1, per_side=1)
        guardrails = one.controller.status()["guardrails"]
        assert (guardrails["bad_windows"], guardrails["verdict"]["outcome"]) == (0, "no_data")


async def test_while_domain_is_switched_off_time_stands_still() -> None:
    async with piloted() as one:
        await one.controller.steer(Event.START, "ann", "")
        await one.seconds(2)
        held_s = one.plan["held_s"]
        off = CONFIG.replace("percent: 10\n", "percent: 10\n  use_domain_service: false\n").replace("ACTION", "rollback")
        await one.controller.adopt(parse(off, "f.yaml", {}))
        await one.seconds(60)
        assert one.plan["held_s"] == held_s


async def test_an_edit_of_the_guardrails_is_taken_up() -> None:
    async with piloted() as one:
        await one.seconds(3)
        lax = CONFIG.replace("window: 10s", "window: 20s, error_rate_max: 0.9, success_rate_min: null")
        await one.controller.adopt(parse(lax.replace("ACTION", "rollback"), "f.yaml", {}))
        await one.seconds(40, per_side=20, failing=10)
        assert one.percent == 10


async def test_what_cannot_be_saved_is_tried_again() -> None:
    async with piloted("alert") as one:
        one.store.shelf.cannot_save = "away"
        await one.seconds(20, per_side=20, failing=10)
        assert one.lines("guardrail") == []
        one.store.shelf.cannot_save = ""
        await one.seconds(2, per_side=20, failing=10)
        assert len(one.lines("guardrail")) == 1


async def test_reports_are_listened_to() -> None:
    async with piloted() as one:
        one.pilot.start()
        await asyncio.sleep(0)
        assert one.plane.listener is not None
        one.traffic(25, failure="connect", status=502)
        one.plane.listener()
        async with asyncio.timeout(5):
            while one.percent != 0:
                await asyncio.sleep(0.001)


async def test_a_fault_of_its_own_is_told_and_does_not_end_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splitter.control.pilot.AGAIN_S", 0.01)
    async with piloted() as one:
        judged = one.plane.judged

        def broken() -> Judged:
            raise ZeroDivisionError("a fault nobody has thought of")

        monkeypatch.setattr(one.plane, "judged", broken)
        with capture_logs() as logs:
            one.pilot.start()
            async with asyncio.timeout(5):
                while not one.controller.problems(details=True):
                    await asyncio.sleep(0.001)
        (problem,) = one.controller.problems(details=True)
        assert problem == (
            "the guardrails can't judge, so nobody watches domain: ZeroDivisionError: a fault nobody has thought of"
        )
        assert logs[0]["event"] == "guardrails_failed"
        monkeypatch.setattr(one.plane, "judged", judged)
        one.traffic(25, failure="connect", status=502)
        async with asyncio.timeout(5):
            while one.percent != 0 or one.controller.problems(details=True):
                await asyncio.sleep(0.001)


@pytest.mark.parametrize("leads", [True, False])
async def test_only_the_leader_moves_the_plan_on(leads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with piloted() as one:

        async def answer() -> bool:
            return leads

        monkeypatch.setattr(one.controller, "leads", answer)
        await one.controller.steer(Event.START, "ann", "")
        await one.seconds(10)
        assert one.percent == (50 if leads else 10)
