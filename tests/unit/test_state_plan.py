"""The plan in the record: what each event makes of it, of the overrides beside it, and of the audit list."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from splitter.config import Stage, parse
from splitter.errors import IllegalTransition
from splitter.progress import Phase, PlanProgress
from splitter.rollout import Event
from splitter.state import (
    GLOBAL,
    HELD,
    Baseline,
    Course,
    Record,
    RecordError,
    Value,
    Wish,
    adopt_baseline,
    adopt_edit,
    agree,
    follows,
    from_json,
    held,
    in_force,
    planned,
    progress_of,
    resume_all,
    roll_all_back,
    set_by_hand,
    steer,
    to_json,
    told,
    went_on,
)

CONFIG = parse(
    """
    rollout:
      percent: 10
      routes: [{name: control, path: /control, percent: 5}, {name: other, path: /other, percent: 7}]
      plan:
        - {percent: 10, hold: 1h}
        - {percent: 25, hold: 1h, routes: {control: 20}}
        - {percent: 100, routes: {control: 100}}
    """,
    "f.yaml",
    {},
)
PLAN: tuple[Stage, ...] = CONFIG.rollout.plan
BASELINE = Baseline(use_domain_service=True, percents={GLOBAL: 10.0, "control": 5.0, "other": 7.0})
START = adopt_baseline(Record(), BASELINE, at_s=1.0)
NOW = {GLOBAL: 10.0, "control": 5.0, "other": 7.0}


def course(record: Record) -> Course:
    return Course(PLAN, progress_of(record))


def wish(at_s: float, who: str = "ann", why: str = "") -> Wish:
    return Wish(at_s, who, why)


def press(record: Record, event: Event, at_s: float = 10.0, why: str = "", from_stage: int | None = None) -> Record:
    return steer(record, event, course(record), wish(at_s, why=why), from_stage, NOW)


def lines(record: Record) -> list[tuple[str, str, str, str]]:
    return [(event.who, event.what, event.before, event.after) for event in record.events[1:]]


def at_stage_2() -> Record:
    return press(press(START, Event.START), Event.PROMOTE, 20.0)


def test_a_start_says_what_is_in_force_and_takes_the_place_of_what_was_set_by_hand() -> None:
    record = set_by_hand(START, GLOBAL, 30, course(START), wish(5), "10 %")
    record = set_by_hand(record, "other", 40, course(record), wish(6), "7 %")
    started = steer(record, Event.START, course(record), wish(10), None, {GLOBAL: 30.0, "control": 5.0, "other": 40.0})
    assert planned(course(started)) == {GLOBAL: 30.0, "control": 20.0}  # stage 2 is the last that goes no further
    assert lines(started)[-1] == ("ann", "plan start", "idle", "stage 2 of 3, 30 %, running")
    assert from_json(to_json(started)) == started


def test_what_changes_nothing_leaves_no_line() -> None:
    paused = press(at_stage_2(), Event.PAUSE, 30)
    assert press(paused, Event.PAUSE, 40) is paused
    assert resume_all(paused, course(paused), wish(50)) is paused


def test_why_it_was_stopped_is_kept_until_it_goes_on() -> None:
    paused = press(at_stage_2(), Event.PAUSE, 30, "lunch")
    assert progress_of(paused).reason == "ann: lunch"
    assert progress_of(press(paused, Event.CONTINUE, 40)).reason == ""
    assert progress_of(press(at_stage_2(), Event.ABORT, 30)).reason == "by ann"


def test_a_rollback_stops_the_plan_and_resume_starts_it_at_its_first_stage() -> None:
    back = roll_all_back(at_stage_2(), course(at_stage_2()), wish(30, "guardrail:error_rate", "7.9 %"))
    assert (progress_of(back).phase, progress_of(back).reason) == (Phase.ROLLED_BACK, "guardrail:error_rate: 7.9 %")
    assert planned(course(back)) == {GLOBAL: 0.0, "control": 0.0}
    assert [line[1] for line in lines(back)] == ["plan start", "plan promote", "rollback"]  # one line, not two
    assert lines(back)[-1][2:] == ("stage 2 of 3, 25 %, running", "rolled back")
    again = resume_all(back, course(back), wish(40))
    assert lines(again)[-1][2:] == ("rolled back", "stage 1 of 3, 10 %, running")
    assert again.latch is None
    assert planned(course(again)) == {GLOBAL: 10.0}
    further = resume_all(back, course(back), wish(40), from_stage=1)
    assert planned(course(further)) == {GLOBAL: 25.0, "control": 20.0}


def test_a_second_rollback_leaves_the_first_reason() -> None:
    once = roll_all_back(at_stage_2(), course(at_stage_2()), wish(30, why="first"))
    twice = roll_all_back(once, course(once), wish(31, "bob", "second"))
    assert (twice.latch, twice.plan) == (once.latch, once.plan)


def test_nothing_starts_while_rolled_back() -> None:
    back = roll_all_back(START, course(START), wish(30))
    with pytest.raises(IllegalTransition, match="everything is rolled back; possible: resume"):
        press(back, Event.START)


@pytest.mark.parametrize("stage", [3, 99])
def test_a_resume_at_a_stage_there_is_not_changes_nothing(stage: int) -> None:
    back = roll_all_back(at_stage_2(), course(at_stage_2()), wish(30))
    with pytest.raises(IllegalTransition, match=f"there is no stage {stage + 1}: the plan has 3"):
        resume_all(back, course(back), wish(40), from_stage=stage)


def test_a_stage_is_for_a_plan_that_was_rolled_back() -> None:
    with pytest.raises(IllegalTransition, match="nothing is rolled back"):
        resume_all(START, course(START), wish(40), from_stage=0)
    back = roll_all_back(START, course(START), wish(30))
    with pytest.raises(IllegalTransition, match="no plan was rolled back"):
        resume_all(back, course(back), wish(40), from_stage=0)
    assert resume_all(back, course(back), wish(40)).latch is None


def test_a_latch_from_another_history_stops_the_plan_when_it_is_let_go() -> None:
    """`agree` may put a latch beside a plan that went on without knowing of it."""
    here = at_stage_2()
    there = roll_all_back(START, course(START), wish(15, "bob", "errors"))
    both = agree(here, there)
    assert (both.latch is not None, progress_of(both).phase) == (True, Phase.RUNNING)
    resumed = resume_all(both, course(both), wish(50))
    assert (progress_of(resumed).stage, progress_of(resumed).phase) == (0, Phase.RUNNING)


def test_the_global_percent_set_by_hand_ends_the_plan_and_moves_nothing_else() -> None:
    before = at_stage_2()
    assert planned(course(before)) == {GLOBAL: 25.0, "control": 20.0}
    after = set_by_hand(before, GLOBAL, 30, course(before), wish(30), "25 %")
    assert planned(course(after)) == {}
    assert {name: override.percent for name, override in after.overrides.items()} == {GLOBAL: 30.0, "control": 20.0}
    assert after.overrides["control"].why == "kept as the plan had it when the plan ended"


def test_a_route_set_by_hand_stands_above_the_plan_which_goes_on() -> None:
    before = at_stage_2()
    after = set_by_hand(before, "control", 1, course(before), wish(30), "20 %")
    assert progress_of(after) == progress_of(before)
    assert after.overrides["control"].percent == 1
    told_before, told_after = in_force_of(after), in_force_of(press(press(after, Event.ABORT, 40), Event.START, 50))
    assert (told_before["control"].value, told_before["control"].layer) == (1, "operator")
    assert told_after["control"].layer == "plan", "started anew, the plan is the newest decision"


def in_force_of(record: Record) -> Mapping[str, Value]:
    progress = progress_of(record)
    return in_force(CONFIG, record, planned(course(record)), progress.started_at_s).percents


def test_what_was_set_before_a_start_is_there_again_where_the_plan_says_nothing() -> None:
    """`set 0` for a route, a start, a rollback: resumed at a stage that does not name the route, it is still 0."""
    record = set_by_hand(START, "control", 0, course(START), wish(5), "5 %")
    started = steer(record, Event.START, course(record), wish(10), None, {**NOW, "control": 0.0})
    assert (in_force_of(started)["control"].value, in_force_of(started)["control"].layer) == (0, "plan")
    further = press(started, Event.PROMOTE, 20)
    assert in_force_of(further)["control"].value == 20
    back = roll_all_back(further, course(further), wish(30))
    resumed = resume_all(back, course(back), wish(40))
    assert (in_force_of(resumed)["control"].value, in_force_of(resumed)["control"].layer) == (0, "operator")
    ended = set_by_hand(further, GLOBAL, 30, course(further), wish(50), "25 %")
    assert in_force_of(ended)["control"].value == 20, "it stays as the plan had it, not as it was set before"


def test_an_edited_percent_ends_the_plan_as_one_set_by_hand() -> None:
    before = at_stage_2()
    edited = Baseline(use_domain_service=True, percents=dict(BASELINE.percents) | {GLOBAL: 40.0})
    after = adopt_edit(before, edited, course(before), 30)
    assert progress_of(after).phase is Phase.IDLE
    assert {name: (override.percent, override.who) for name, override in after.overrides.items()} == {
        GLOBAL: (40.0, "config"),
        "control": (20.0, "config"),
    }


def test_other_edits_leave_the_plan_alone() -> None:
    before = at_stage_2()
    switched = Baseline(use_domain_service=False, percents=BASELINE.percents)
    route = Baseline(use_domain_service=True, percents=dict(BASELINE.percents) | {"control": 6.0})
    assert progress_of(adopt_edit(before, switched, course(before), 30)) == progress_of(before)
    after = adopt_edit(before, route, course(before), 30)
    assert progress_of(after) == progress_of(before)
    assert after.overrides["control"].percent == 6.0  # the newest decision of a person about this route


# --- time -------------------------------------------------------------------------------------------------------------


def held_for(record: Record, held_s: float) -> Record:
    return held(record, Course(PLAN, _with(progress_of(record), held_s)), 60.0)


def _with(progress: PlanProgress, held_s: float) -> PlanProgress:
    return PlanProgress.from_json(progress.to_json() | {"held_s": held_s})


def test_how_long_a_stage_was_held_leaves_one_line_however_often_it_is_saved() -> None:
    record = at_stage_2()
    for minute in range(1, 300):
        record = held_for(record, 60.0 * minute)
    assert [event.what for event in record.events] == ["config", "plan start", "plan promote", HELD]
    assert (record.version, record.events[-1].after) == (3 + 299, "held for 4 h 59 min")
    assert progress_of(record).held_s == 299 * 60
    assert held(record, course(record), 99.0) is record
    assert from_json(to_json(record)) == record


def test_records_that_differ_by_held_time_are_of_one_history() -> None:
    early = held_for(at_stage_2(), 60.0)
    late = held_for(early, 120.0)
    later = press(held_for(late, 180.0), Event.PAUSE, 90)
    for earlier in (early, late):
        assert follows(later, earlier)
        assert agree(earlier, later) == later
        assert agree(later, earlier) == later
    assert not follows(early, late)


def test_held_time_of_another_run_is_another_history() -> None:
    here, there = held_for(at_stage_2(), 60.0), held_for(press(at_stage_2(), Event.PROMOTE, 25), 60.0)
    assert not follows(there, here)


def test_another_stage_says_why() -> None:
    before = at_stage_2()
    after = went_on(before, Course(PLAN, _with(progress_of(before), 0.0)), 90, "held, and good")
    assert (after.events[-1].who, after.events[-1].what, after.events[-1].why) == ("plan", "plan advance", "held, and good")


def test_progress_that_cannot_be_read_is_no_record() -> None:
    text = to_json(at_stage_2())
    with pytest.raises(RecordError):
        from_json(text.replace(b'"running"', b'"flying"'))
    broken = Record(plan={"phase": "flying", "stage": 0, "held_s": 0})
    with pytest.raises(RecordError, match=r"has a fault at plan: .*the plan's progress can't be read"):
        from_json(to_json(broken))


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (PlanProgress(), "idle"),
        (PlanProgress(Phase.WAITING, stage=1), "stage 2 of 3, 25 %, waiting"),
        (PlanProgress(Phase.ROLLED_BACK, stage=1), "rolled back"),
    ],
)
def test_where_it_stands_in_words(progress: PlanProgress, words: str) -> None:
    assert told(Course(PLAN, progress)) == words


def test_a_plan_that_is_gone_is_told_by_its_phase() -> None:
    assert told(Course((), PlanProgress(Phase.RUNNING, stage=1, floor_percent=25.0))) == "running"
    gone = at_stage_2()
    assert planned(Course((), progress_of(gone))) == {GLOBAL: 25.0, "control": 20.0}
