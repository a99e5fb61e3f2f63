"""The plan under anything that can happen to it, in any order: what must hold always.

Hypothesis presses buttons, lets time pass, turns clocks back, restarts the process and edits the plan.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from splitter.config import Stage
from splitter.errors import IllegalTransition
from splitter.progress import IN_FORCE, Phase, PlanProgress
from splitter.rollout import TRANSITIONS, Event, Percents, advance, apply, percents
from splitter.verdict import Outcome, Rule, RuleResult, Verdict

ROUTES = ("a", "b")
BUTTONS = sorted(set(Event) - {Event.ADVANCE, Event.AWAIT, Event.COMPLETE})
MAY_LOWER = frozenset({Event.ABORT, Event.ROLLBACK, Event.RESUME, Event.SET})


def verdict(outcome: Outcome) -> Verdict:
    return Verdict((RuleResult(Rule.ERROR_RATE, outcome, "so it is", 100),))


@st.composite
def plans(draw: st.DrawFn) -> tuple[Stage, ...]:
    """Up to four stages whose percents do not fall, as the configuration allows them."""
    count = draw(st.sampled_from([0, 1, 2, 3, 3, 4]))
    rising = sorted(draw(st.lists(st.integers(0, 10_000), min_size=count, max_size=count)))
    of_routes = {name: sorted(draw(st.lists(st.integers(0, 100), min_size=count, max_size=count))) for name in ROUTES}
    stages = []
    for index, percent in enumerate(rising):
        named = draw(st.sets(st.sampled_from(ROUTES)))
        stages.append(
            Stage(
                percent=percent / 100,
                hold=draw(st.sampled_from([None, "1s", "30s", "1h"])),
                approve=draw(st.booleans()),
                confirm=draw(st.sampled_from([None, "http://h/"])),
                routes={name: float(of_routes[name][index]) for name in named},
            )
        )
    return tuple(stages)


class Plan(RuleBasedStateMachine):
    @initialize(plan=plans())
    def begin(self, plan: tuple[Stage, ...]) -> None:
        self.plan = plan
        self.now_s = 1_800_000_000.0
        self.progress = PlanProgress()
        self.by_hand = Percents(0.0, {})

    def in_force(self) -> Percents:
        said = percents(self.plan, self.progress)
        percent = self.by_hand.percent if said.percent is None else said.percent
        return Percents(percent, self.by_hand.routes | said.routes)

    def becomes(self, progress: PlanProgress, *, may_lower: bool = False) -> None:
        before = self.in_force()
        self.progress = progress
        after = self.in_force()
        if not may_lower:
            assert (after.percent or 0.0) >= (before.percent or 0.0)
            assert all(after.routes.get(name, 0.0) >= percent for name, percent in before.routes.items())

    @rule(event=st.sampled_from(BUTTONS), from_stage=st.sampled_from([None, None, 0, 1, 3]))
    def press(self, event: Event, from_stage: int | None) -> None:
        before = self.progress
        try:
            after = apply(
                before, event, self.plan, self.now_s, reason="pressed", from_stage=from_stage, in_force=self.in_force()
            )
        except IllegalTransition:
            has_no_such_stage = event in (Event.START, Event.RESUME) and len(self.plan) <= (from_stage or 0)
            assert (before.phase, event) not in TRANSITIONS or has_no_such_stage
            return
        if (before.phase, event) in TRANSITIONS and event not in (Event.PROMOTE, Event.PROMOTE_FULL, Event.RESUME):
            assert after.phase is TRANSITIONS[before.phase, event]
        self.becomes(after, may_lower=event in MAY_LOWER)

    @rule(percent=st.integers(0, 100), route=st.integers(0, 100))
    def set_by_hand(self, percent: int, route: int) -> None:
        self.progress = apply(self.progress, Event.SET, self.plan, self.now_s)
        self.by_hand = Percents(float(percent), dict.fromkeys(ROUTES, float(route)))
        assert self.progress.phase is Phase.IDLE

    @precondition(lambda self: self.progress.phase is Phase.IDLE)
    @rule(percent=st.integers(0, 100), route=st.integers(0, 100))
    def set_and_start(self, percent: int, route: int) -> None:
        self.set_by_hand(percent, route)
        self.press(Event.START, None)

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 5.0, 40.0, 5000.0, -3600.0]), outcome=st.sampled_from(Outcome))
    def tick(self, seconds: float, outcome: Outcome) -> None:
        self.now_s += seconds
        before = self.progress
        after = advance(before, self.plan, verdict(outcome), self.now_s)
        if after.stage != before.stage or after.phase is not before.phase:
            assert before.phase is Phase.RUNNING
            stage = self.plan[min(before.stage, len(self.plan) - 1)]
            needs_no_hold = stage.hold_s is None
            assert needs_no_hold or before.held_s + min(max(seconds, 0.0), 10.0) >= stage.hold_s  # type: ignore[operator]
            assert outcome is Outcome.PASS or (before.stage >= len(self.plan) - 1 and needs_no_hold)
        assert after.held_s >= before.held_s or after.stage != before.stage
        self.becomes(after)

    @rule(plan=plans())
    def edit(self, plan: tuple[Stage, ...]) -> None:
        """The file is saved with another plan; the next tick comes with it."""
        self.progress = advance(self.progress, self.plan, verdict(Outcome.NO_DATA), self.now_s)
        before = percents(self.plan, self.progress)
        self.plan = plan
        after = percents(self.plan, self.progress)
        assert (after.percent or 0.0) >= (before.percent or 0.0)
        assert all(after.routes.get(name, 0.0) >= percent for name, percent in before.routes.items())
        # What a person set for a route that only the new plan names is the plan's to say from now on.
        self.by_hand = Percents(self.by_hand.percent, {})

    @rule()
    def restart(self) -> None:
        read = PlanProgress.from_json(json.loads(json.dumps(self.progress.to_json())))
        assert read == self.progress
        self.progress = read

    @invariant()
    def abort_and_rollback_are_always_there(self) -> None:
        for event in (Event.ABORT, Event.ROLLBACK):
            once = apply(self.progress, event, self.plan, self.now_s)
            assert apply(once, event, self.plan, self.now_s) == once
            assert once.phase not in IN_FORCE
            if self.progress.phase is not Phase.IDLE:
                assert set(percents(self.plan, once).routes.values()) <= {0.0}
                assert percents(self.plan, once).percent == 0.0

    @invariant()
    def it_can_always_be_saved(self) -> None:
        assert PlanProgress.from_json(json.loads(json.dumps(self.progress.to_json()))) == self.progress


@pytest.mark.timeout(120)
def test_whatever_happens() -> None:
    run_state_machine_as_test(Plan, settings=settings(max_examples=200, stateful_step_count=30, deadline=None))
