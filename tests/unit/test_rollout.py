"""The plan: every phase with every event, holds and clocks, plans that are edited while they run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from splitter.config import Stage, parse
from splitter.errors import IllegalTransition
from splitter.progress import IN_FORCE, Gate, Phase, PlanProgress
from splitter.rollout import (
    LONGEST_TICK_S,
    MOVES_ON,
    NOBODY_SAYS,
    TRANSITIONS,
    Event,
    Percents,
    advance,
    apply,
    lasting,
    percents,
    shut_gates,
)
from splitter.verdict import Outcome, Rule, RuleResult, Verdict

NOW_S = 1_800_000_000.0


def verdict(outcome: Outcome) -> Verdict:
    return Verdict((RuleResult(Rule.ERROR_RATE, outcome, f"error rate is {outcome}", 500),))


PASS, FAIL, NO_DATA = (verdict(outcome) for outcome in (Outcome.PASS, Outcome.FAIL, Outcome.NO_DATA))


def plan_of(text: str) -> tuple[Stage, ...]:
    file = f"rollout:\n  routes: [{{name: r, path: /r, percent: 5}}]\n  plan: {text}"
    return parse(file, "f.yaml", {}).rollout.plan


PLAN = plan_of("[{percent: 10, hold: 100s}, {percent: 25, hold: 200s, routes: {r: 25}}, {percent: 100, routes: {r: 100}}]")
GATED = plan_of(
    "[{percent: 10, hold: 10s, approve: true, confirm: 'http://h/'}, {percent: 50, approve: true}, {percent: 90}]"
)


def running(stage: int = 0, plan: tuple[Stage, ...] = PLAN) -> PlanProgress:
    return apply(PlanProgress(), Event.START, plan, NOW_S, from_stage=stage)


def in_phase(phase: Phase) -> PlanProgress:
    """Stage 2 of PLAN, in that phase, as the events lead there."""
    way = {
        Phase.RUNNING: (),
        Phase.PAUSED: (Event.PAUSE,),
        Phase.WAITING: (Event.AWAIT,),
        Phase.FROZEN: (Event.FREEZE,),
        Phase.COMPLETED: (Event.COMPLETE,),
        Phase.ROLLED_BACK: (Event.ROLLBACK,),
        Phase.ABORTED: (Event.ABORT,),
    }
    progress = PlanProgress() if phase is Phase.IDLE else running(1)
    for event in way.get(phase, ()):
        progress = apply(progress, event, PLAN, NOW_S + 5)
    assert progress.phase is phase
    return progress


def ticked(
    progress: PlanProgress,
    seconds: float,
    judged: Verdict = PASS,
    plan: tuple[Stage, ...] = PLAN,
    *,
    count_time_away: bool = False,
) -> PlanProgress:
    """The progress after so long, a second at a time."""
    start_s = progress.accounted_at_s or NOW_S
    for second in range(1, int(seconds) + 1):
        progress = advance(progress, plan, judged, start_s + second, count_time_away=count_time_away)
    return progress


ROWS = """
            start    pause   continue  promote   promote_full  confirm  advance  await    complete   freeze       rollback     resume   abort    set
idle        running  -       -         -         -             -        -        -        -          idle         idle         idle     idle     idle
running     -        paused  -         running   running       -        running  waiting  completed  frozen       rolled_back  -        aborted  idle
paused      -        paused  running   running   running       -        -        -        completed  frozen       rolled_back  -        aborted  idle
waiting     -        paused  running   running   running       running  -        -        completed  frozen       rolled_back  -        aborted  idle
frozen      -        frozen  running   -         -             -        -        -        -          frozen       rolled_back  -        aborted  idle
completed   -        -       -         -         -             -        -        -        -          completed    rolled_back  -        aborted  idle
rolled_back -        -       -         -         -             -        -        -        -          rolled_back  rolled_back  running  aborted  idle
aborted     running  -       -         -         -             -        -        -        -          aborted      aborted      aborted  aborted  idle
"""  # noqa: E501
"""The table, written a second time as a person reads it."""


def cells() -> list[tuple[Phase, Event, Phase | None]]:
    head, *rows = [line.split() for line in ROWS.strip().splitlines()]
    return [
        (Phase(phase), Event(event), None if target == "-" else Phase(target))
        for phase, *targets in rows
        for event, target in zip(head, targets, strict=True)
    ]


class TestTable:
    def test_it_is_complete(self) -> None:
        assert len(cells()) == len(Phase) * len(Event) == 112
        legal = {(phase, event): target for phase, event, target in cells() if target}
        assert legal == TRANSITIONS

    @pytest.mark.parametrize(("phase", "event", "target"), [pytest.param(*c, id=f"{c[0]}-{c[1]}") for c in cells()])
    def test_every_pair(self, phase: Phase, event: Event, target: Phase | None) -> None:
        before = in_phase(phase)
        if target is None:
            with pytest.raises(IllegalTransition) as refused:
                apply(before, event, PLAN, NOW_S + 9)
            sentence = str(refused.value)
            assert sentence.startswith(f"{event.replace('_', ' ')} is not possible: the plan is {phase.replace('_', ' ')};")
            possible = sentence.partition("possible: ")[2].partition("possible: ")[2].split(", ")
            assert possible
            for button in possible:
                assert TRANSITIONS[phase, Event(button)] is not phase or Event(button) in MOVES_ON
            return
        after = apply(before, event, PLAN, NOW_S + 9, reason="because")
        assert after.phase is target
        assert PlanProgress.from_json(json.loads(json.dumps(after.to_json()))) == after
        if target is phase and phase is not Phase.RUNNING:
            assert after == before  # done already: nothing moves, the first reason stands

    @pytest.mark.parametrize("event", [Event.ABORT, Event.ROLLBACK])
    @pytest.mark.parametrize("phase", Phase)
    def test_abort_and_rollback_work_everywhere_and_twice(self, phase: Phase, event: Event) -> None:
        once = apply(in_phase(phase), event, PLAN, NOW_S + 9)
        assert apply(once, event, PLAN, NOW_S + 10) == once
        if phase is Phase.IDLE:
            assert percents(PLAN, once) == NOBODY_SAYS  # nothing was in progress: nothing is touched
        else:
            assert percents(PLAN, once) == (0.0, {"r": 0.0})

    def test_the_sentence(self) -> None:
        with pytest.raises(IllegalTransition) as refused:
            apply(in_phase(Phase.COMPLETED), Event.START, PLAN, NOW_S)
        assert str(refused.value) == "start is not possible: the plan is completed; possible: abort, rollback, set"


class TestStart:
    def test_at_the_first_stage(self) -> None:
        progress = running()
        assert (progress.phase, progress.stage, progress.held_s) == (Phase.RUNNING, 0, 0.0)
        assert percents(PLAN, progress) == (10.0, {})

    @pytest.mark.parametrize(
        ("in_force", "stage", "expected"),
        [
            (0.0, 0, 10.0),
            (9.99, 0, 10.0),
            (10.0, 0, 10.0),
            (24.99, 0, 24.99),
            (25.0, 1, 25.0),
            (60.0, 1, 60.0),
            (100.0, 2, 100.0),
        ],
    )
    def test_nobody_is_taken_back_or_jumps_ahead(self, in_force: float, stage: int, expected: float) -> None:
        progress = apply(PlanProgress(), Event.START, PLAN, NOW_S, in_force=Percents(in_force, {"r": 5.0, "x": 7.0}))
        assert progress.stage == stage
        assert percents(PLAN, progress).percent == expected
        assert percents(PLAN, progress).routes["r"] >= 5.0
        assert "x" not in percents(PLAN, progress).routes  # the plan never names it: not its to say

    def test_at_a_stage_of_ones_choice(self) -> None:
        progress = apply(PlanProgress(), Event.START, PLAN, NOW_S, from_stage=0, in_force=Percents(60.0, {}))
        assert (progress.stage, percents(PLAN, progress).percent) == (0, 60.0)

    @pytest.mark.parametrize("stage", [-1, 3, 99])
    def test_at_a_stage_that_is_none(self, stage: int) -> None:
        with pytest.raises(IllegalTransition, match=f"there is no stage {stage + 1}: the plan has 3"):
            apply(PlanProgress(), Event.START, PLAN, NOW_S, from_stage=stage)

    def test_without_a_plan(self) -> None:
        with pytest.raises(IllegalTransition, match="there is no plan"):
            apply(PlanProgress(), Event.START, (), NOW_S)

    def test_again_after_an_abort(self) -> None:
        progress = apply(in_phase(Phase.ABORTED), Event.START, PLAN, NOW_S + 20, in_force=Percents(0.0, {"r": 0.0}))
        assert (progress.phase, progress.stage, progress.reason) == (Phase.RUNNING, 0, "")
        assert percents(PLAN, progress) == (10.0, {"r": 0.0})


class TestHold:
    def test_a_stage_ends_when_its_hold_is_over_and_the_guardrails_passed(self) -> None:
        progress = ticked(running(), 99)
        assert (progress.stage, progress.held_s, progress.waiting_for) == (0, 99.0, "1 s of the hold")
        progress = ticked(progress, 1)
        assert (progress.stage, progress.held_s) == (1, 0.0)
        assert percents(PLAN, progress) == (25.0, {"r": 25.0})
        progress = ticked(progress, 200)
        assert (progress.stage, progress.phase) == (2, Phase.RUNNING)
        progress = ticked(progress, 1)
        assert progress.phase is Phase.COMPLETED
        assert percents(PLAN, progress) == (100.0, {"r": 100.0})

    @pytest.mark.parametrize("judged", [NO_DATA, FAIL])
    def test_without_a_pass_it_stays_and_says_why(self, judged: Verdict) -> None:
        progress = ticked(running(), 500, judged)
        assert (progress.phase, progress.stage, progress.held_s) == (Phase.RUNNING, 0, 500.0)
        assert progress.waiting_for == f"the guardrails to pass: {judged.sentence}"
        assert ticked(progress, 1).stage == 1

    def test_what_is_missing_is_said_during_the_hold_too(self) -> None:
        assert ticked(running(), 40, NO_DATA).waiting_for == "1 min of the hold; error rate is no_data"

    def test_the_last_stage_is_held_and_judged_when_it_has_a_hold(self) -> None:
        plan = plan_of("[{percent: 100, hold: 20s}]")
        progress = ticked(running(0, plan), 30, NO_DATA, plan)
        assert progress.phase is Phase.RUNNING
        assert ticked(progress, 1, PASS, plan).phase is Phase.COMPLETED

    def test_the_last_stage_without_a_hold_needs_no_verdict(self) -> None:
        assert ticked(running(2), 1, NO_DATA).phase is Phase.COMPLETED

    def test_no_stage_is_passed_over_however_late_the_tick_comes(self) -> None:
        late = advance(running(), PLAN, PASS, NOW_S + 10_000, count_time_away=True)
        assert (late.stage, late.held_s) == (1, 0.0)


class TestClock:
    def test_one_that_goes_back_counts_nothing(self) -> None:
        progress = ticked(running(), 50)
        back = advance(progress, PLAN, PASS, NOW_S - 86_400)
        assert back.held_s == 50.0
        assert advance(back, PLAN, PASS, NOW_S - 86_399).held_s == 51.0

    def test_one_that_jumps_ahead_counts_a_tick(self) -> None:
        progress = ticked(running(), 50)
        ahead = advance(progress, PLAN, PASS, NOW_S + 864_000)
        assert (ahead.stage, ahead.held_s) == (0, 50.0 + LONGEST_TICK_S)
        assert advance(ahead, PLAN, PASS, NOW_S + 864_001).held_s == 51.0 + LONGEST_TICK_S

    def test_time_away_counts_when_it_is_to(self) -> None:
        saved = ticked(running(), 30).to_json()
        back = advance(PlanProgress.from_json(saved), PLAN, PASS, NOW_S + 95, count_time_away=True)
        assert back.held_s == 95.0
        assert advance(PlanProgress.from_json(saved), PLAN, PASS, NOW_S + 95).held_s == 30.0 + LONGEST_TICK_S

    @pytest.mark.parametrize("event", [Event.PAUSE, Event.FREEZE])
    def test_standing_still_counts_nothing(self, event: Event) -> None:
        progress = apply(ticked(running(), 50), event, PLAN, NOW_S + 52.5)
        assert ticked(progress, 500).held_s == 52.5
        again = apply(ticked(progress, 500), Event.CONTINUE, PLAN, NOW_S + 5000)
        assert advance(again, PLAN, PASS, NOW_S + 5001).held_s == 53.5


class TestGates:
    def waiting(self) -> PlanProgress:
        progress = ticked(running(0, GATED), 10, PASS, GATED)
        assert progress.phase is Phase.WAITING
        return progress

    def test_it_waits_for_both(self) -> None:
        progress = self.waiting()
        assert shut_gates(GATED, progress) == {Gate.APPROVAL, Gate.HOOK}
        assert progress.waiting_for == "a person to approve: splitter plan continue and its confirm hook to say yes"
        assert percents(GATED, progress).percent == 10.0
        assert ticked(progress, 100, PASS, GATED) == progress

    @pytest.mark.parametrize("order", [(Event.CONTINUE, Event.CONFIRM), (Event.CONFIRM, Event.CONTINUE)])
    def test_in_either_order(self, order: tuple[Event, Event]) -> None:
        progress = ticked(apply(self.waiting(), order[0], GATED, NOW_S + 20), 1, PASS, GATED)
        assert progress.phase is Phase.WAITING
        assert len(shut_gates(GATED, progress)) == 1
        progress = ticked(apply(progress, order[1], GATED, NOW_S + 30), 1, PASS, GATED)
        assert (progress.phase, progress.stage, progress.opened) == (Phase.RUNNING, 1, frozenset())

    def test_not_before_the_guardrails_passed(self) -> None:
        progress = ticked(running(0, GATED), 100, NO_DATA, GATED)
        assert progress.phase is Phase.RUNNING
        with pytest.raises(IllegalTransition):
            apply(progress, Event.CONTINUE, GATED, NOW_S + 101)

    def test_a_verdict_that_turned_holds_what_was_approved(self) -> None:
        plan = plan_of("[{percent: 10, approve: true}, {percent: 100}]")
        progress = apply(ticked(running(0, plan), 1, PASS, plan), Event.CONTINUE, plan, NOW_S + 5)
        assert ticked(progress, 5, FAIL, plan).stage == 0
        assert ticked(progress, 1, PASS, plan).stage == 1

    def test_pause_while_waiting_and_one_continue_does_not_approve(self) -> None:
        paused = apply(self.waiting(), Event.PAUSE, GATED, NOW_S + 20, reason="lunch")
        assert (paused.phase, paused.reason) == (Phase.PAUSED, "lunch")
        again = apply(paused, Event.CONTINUE, GATED, NOW_S + 30)
        assert ticked(again, 1, PASS, GATED).phase is Phase.WAITING

    def test_promote_approves(self) -> None:
        progress = apply(self.waiting(), Event.PROMOTE, GATED, NOW_S + 20)
        assert (progress.phase, progress.stage) == (Phase.RUNNING, 1)


class TestPromote:
    @pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.PAUSED, Phase.WAITING])
    def test_to_the_next_stage_whatever_is_left(self, phase: Phase) -> None:
        progress = apply(in_phase(phase), Event.PROMOTE, PLAN, NOW_S + 9)
        assert (progress.phase, progress.stage, progress.held_s) == (Phase.RUNNING, 2, 0.0)

    @pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.PAUSED, Phase.WAITING])
    def test_full_to_the_last(self, phase: Phase) -> None:
        progress = apply(replace(in_phase(phase), stage=0), Event.PROMOTE_FULL, PLAN, NOW_S + 9)
        assert (progress.phase, progress.stage) == (Phase.RUNNING, 2)
        assert percents(PLAN, progress) == (100.0, {"r": 100.0})

    @pytest.mark.parametrize("event", [Event.PROMOTE, Event.PROMOTE_FULL])
    def test_at_the_last_stage_completes(self, event: Event) -> None:
        assert apply(running(2), event, PLAN, NOW_S).phase is Phase.COMPLETED


class TestRollback:
    def test_the_reason_is_kept_and_nothing_goes_on_by_itself(self) -> None:
        progress = apply(in_phase(Phase.RUNNING), Event.ROLLBACK, PLAN, NOW_S + 9, reason="guardrail:error_rate: too many")
        assert progress.reason == "guardrail:error_rate: too many"
        assert ticked(progress, 10_000) == progress

    def test_resume_starts_at_the_first_stage(self) -> None:
        progress = apply(in_phase(Phase.ROLLED_BACK), Event.RESUME, PLAN, NOW_S + 9)
        assert (progress.phase, progress.stage, progress.held_s, progress.reason) == (Phase.RUNNING, 0, 0.0, "")
        assert percents(PLAN, progress) == (10.0, {})

    def test_resume_where_one_is_told_to(self) -> None:
        progress = apply(in_phase(Phase.ROLLED_BACK), Event.RESUME, PLAN, NOW_S + 9, from_stage=1)
        assert percents(PLAN, progress) == (25.0, {"r": 25.0})

    def test_resume_when_the_plan_is_gone(self) -> None:
        assert apply(in_phase(Phase.ROLLED_BACK), Event.RESUME, (), NOW_S + 9) == PlanProgress()

    def test_a_percent_set_by_hand_ends_the_plan(self) -> None:
        progress = apply(in_phase(Phase.ROLLED_BACK), Event.SET, PLAN, NOW_S + 9, reason="5 by ann")
        assert (progress.phase, progress.reason) == (Phase.IDLE, "5 by ann")
        assert percents(PLAN, progress) == NOBODY_SAYS


class TestEdits:
    """The plan in the file is another one than a moment ago."""

    @pytest.mark.parametrize("phase", sorted(IN_FORCE))
    def test_lower_percents_take_nobody_back(self, phase: Phase) -> None:
        lower = plan_of("[{percent: 5, hold: 1d}, {percent: 10, hold: 1d, routes: {r: 10}}, {percent: 60, routes: {r: 60}}]")
        progress = PlanProgress.from_json(in_phase(phase).to_json())
        assert percents(lower, progress) == (25.0, {"r": 25.0})
        assert percents(lower, advance(progress, lower, PASS, NOW_S + 9)) == (25.0, {"r": 25.0})

    def test_higher_ones_hold_at_once_and_are_not_taken_back_either(self) -> None:
        higher = plan_of("[{percent: 10, hold: 1d}, {percent: 40, hold: 1d}, {percent: 100}]")
        progress = advance(in_phase(Phase.PAUSED), higher, PASS, NOW_S + 9)
        assert percents(higher, progress).percent == 40.0
        assert percents(PLAN, progress).percent == 40.0

    def test_fewer_stages_end_it_where_it_stands(self) -> None:
        short = plan_of("[{percent: 15}]")
        progress = advance(running(1), short, PASS, NOW_S + 1)
        assert progress.phase is Phase.COMPLETED
        assert percents(short, progress) == (25.0, {"r": 25.0})

    def test_no_stages_at_all(self) -> None:
        progress = ticked(running(1), 5, PASS, ())
        assert (progress.phase, percents((), progress)) == (Phase.RUNNING, (25.0, {"r": 25.0}))
        assert progress.waiting_for == "the plan has no stages any more: give it some, or abort it"
        assert percents((), apply(progress, Event.ABORT, (), NOW_S)) == (0.0, {"r": 0.0})

    def test_a_completed_plan_may_be_deleted(self) -> None:
        assert percents((), in_phase(Phase.COMPLETED)) == (25.0, {"r": 25.0})

    def test_a_shorter_hold_is_over_a_longer_one_goes_on(self) -> None:
        progress = ticked(running(), 50)
        assert advance(progress, plan_of("[{percent: 10, hold: 20s}, {percent: 20}]"), PASS, NOW_S + 51).stage == 1
        longer = plan_of("[{percent: 10, hold: 20m}, {percent: 20}]")
        assert advance(progress, longer, PASS, NOW_S + 51).waiting_for == "19 min 9 s of the hold"


class TestRecord:
    def test_plain_values(self) -> None:
        progress = replace(running(1), opened=frozenset({Gate.HOOK, Gate.APPROVAL}))
        assert json.loads(json.dumps(progress.to_json())) == {
            "phase": "running",
            "stage": 1,
            "held_s": 0.0,
            "accounted_at_s": NOW_S,
            "opened": ["approval", "hook"],
            "floor_percent": 25.0,
            "floor_routes": {"r": 25.0},
            "started_at_s": NOW_S,
            "waiting_for": "",
            "reason": "",
        }

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"phase": "sprinting"}, "phase: "),
            ({"stage": -1}, "stage: "),
            ({"stage": 1.5}, "stage: "),
            ({"held_s": float("nan")}, "held_s: "),
            ({"held_s": -1}, "held_s: "),
            ({"accounted_at_s": "yesterday"}, "accounted_at_s: "),
            ({"opened": ["window"]}, "opened.0: "),
            ({"floor_percent": 101}, "floor_percent: "),
            ({"floor_routes": {"r": -1}}, "floor_routes.r: "),
            ({"reason": None}, "reason: "),
        ],
    )
    def test_garbage_is_refused(self, change: dict[str, object], sentence: str) -> None:
        with pytest.raises(ValueError, match="the plan's progress can't be read: ") as refused:
            PlanProgress.from_json(running().to_json() | change)
        assert str(refused.value).removeprefix("the plan's progress can't be read: ").startswith(sentence)

    @pytest.mark.parametrize("given", [None, [], "idle", 3])
    def test_what_is_no_mapping_is_refused(self, given: object) -> None:
        with pytest.raises(ValueError, match="must be a mapping, not"):
            PlanProgress.from_json(given)

    def test_what_is_missing_is_named(self) -> None:
        with pytest.raises(ValueError, match="phase is missing; stage is missing; held_s is missing"):
            PlanProgress.from_json({})

    def test_keys_of_a_later_version_are_left_out(self) -> None:
        assert PlanProgress.from_json(running().to_json() | {"mood": "good"}) == running()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (0.2, "1 s"), (59.5, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (90_061, "1 d 1 h"), (86_401, "1 d")],
)
def test_times_as_people_say_them(seconds: float, said: str) -> None:
    assert lasting(seconds) == said
