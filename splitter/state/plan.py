"""The plan in the state record: what each event makes of it, and the percents that follow.

Owns: the plan's progress in a record, what an event does to the overrides beside it, the lines it leaves.
Must not know: clocks, stores, verdicts; which events are possible when (`rollout` does).
Invariants:
- each function takes a record and gives the next, or the very same when there is nothing to change;
- no percent moves but the one somebody moved: who ends the plan by setting a percent keeps the others as the plan had them;
- a latch and a plan in force never stand in one record that was made here;
- the time a stage was held is saved often, but is nobody's decision: it leaves one line a stage, `HELD`, that is not told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from splitter.errors import IllegalTransition
from splitter.progress import IN_FORCE, PlanProgress
from splitter.rollout import NOBODY_SAYS, Event, Percents, Plan, apply, lasting, percents
from splitter.state.changes import adopt_baseline, resume, roll_back, set_percent
from splitter.state.record import GLOBAL, HELD, Baseline, Override, Record, told_percent

PLAN: Final = "plan"
"""Who lets the plan go on when a stage is over."""

_KEPT: Final = "kept as the plan had it when the plan ended"
_STOPS: Final = frozenset({Event.PAUSE, Event.FREEZE, Event.ROLLBACK, Event.ABORT})
"""Events whose why is worth keeping with the plan."""


class Wish(NamedTuple):
    """Who wants something, since when (seconds since 1970), and why."""

    at_s: float
    who: str
    why: str


class Course(NamedTuple):
    """A plan, and how far it has come by now: what the record says of that, or what has become of it since it was saved."""

    plan: Plan
    progress: PlanProgress


def progress_of(record: Record) -> PlanProgress:
    """How far the plan has come, as it was saved."""
    return PlanProgress.from_json(record.plan) if record.plan else PlanProgress()


def planned(course: Course) -> dict[str, float]:
    """The percents the plan puts in force, by route, the global one under GLOBAL."""
    said = percents(*course)
    return said.routes | ({} if said.percent is None else {GLOBAL: said.percent})


def steer(
    record: Record,
    event: Event,
    course: Course,
    wish: Wish,
    from_stage: int | None = None,
    in_force: Mapping[str, float] | None = None,
) -> Record:
    """What somebody did to the plan. `from_stage` counts from 0; `in_force`: the percents now, for START.

    Raises IllegalTransition.
    """
    if record.latch is not None and event is Event.START:
        raise IllegalTransition("the plan can't start: everything is rolled back; possible: resume")
    routes = {name: percent for name, percent in (in_force or {}).items() if name != GLOBAL}
    now = NOBODY_SAYS if in_force is None else Percents(in_force.get(GLOBAL), routes)
    after = _applied(course, event, wish, from_stage, now)
    if after == course.progress:
        return record
    plan = course.plan
    what, before, now_told = f"plan {event}".replace("_", " "), told(course), told(Course(plan, after))
    return replace(record, plan=after.to_json()).noted(wish.at_s, wish.who, what, wish.why, before, now_told)


def held(record: Record, course: Course, at_s: float) -> Record:
    """Save how long the stage was held. Its line takes the place of the one before, if nothing came between."""
    progress = course.progress
    if progress == progress_of(record):
        return record
    last = record.events[-1] if record.events else None
    since = last.before if last is not None and last.what == HELD else f"{told(course)}, from {record.version}"
    events = record.events[:-1] if last is not None and last.what == HELD else record.events
    after = f"held for {lasting(progress.held_s)}"
    return replace(record, plan=progress.to_json(), events=events).noted(at_s, PLAN, HELD, "", since, after)


def went_on(record: Record, course: Course, at_s: float, why: str) -> Record:
    """Save what time and guardrails have made of the plan: another stage or phase."""
    before = told(Course(course.plan, progress_of(record)))
    changed = replace(record, plan=course.progress.to_json())
    return changed.noted(at_s, PLAN, "plan advance", why, before, told(course))


# --- what else happens, with what it means for the plan ---------------------------------------------------------------


def roll_all_back(record: Record, course: Course, wish: Wish) -> Record:
    """Send nothing to domain, and stop the plan, until somebody resumes."""
    before = told(course) if course.progress.phase in IN_FORCE else ""
    return _carried(roll_back(record, **wish._asdict(), before=before), course, _applied(course, Event.ROLLBACK, wish))


def resume_all(record: Record, course: Course, wish: Wish, from_stage: int | None = None) -> Record:
    """Clear the latch, and start the plan that was rolled back again, at its first stage or at `from_stage`, from 0.

    Raises IllegalTransition for a stage there is not.
    """
    if record.latch is None:
        if from_stage is not None:
            raise IllegalTransition("nothing is rolled back, so the plan can't start again from a stage")
        return record
    if course.progress.phase in IN_FORCE:  # the latch is of another history than the plan
        latch = record.latch
        course = course._replace(progress=_applied(course, Event.ROLLBACK, Wish(wish.at_s, latch.who, latch.why)))
    after = _applied(course, Event.RESUME, wish, from_stage)
    if from_stage is not None and after.phase not in IN_FORCE:
        raise IllegalTransition("no plan was rolled back that could start again from a stage")
    now = told(Course(course.plan, after)) if after.phase in IN_FORCE else ""
    return _carried(resume(record, **wish._asdict(), after=now), course, after)


def set_by_hand(record: Record, name: str, percent: float, course: Course, wish: Wish, before: str) -> Record:
    """Override a percent. The global one ends the plan; a route's stays above the plan until that is started anew.

    `before`: what was in force. Raises ValueError for what is no percent.
    """
    changed = set_percent(record, name, percent, **wish._asdict(), before=before)
    return _ended(changed, course, wish) if name == GLOBAL else changed


def adopt_edit(record: Record, baseline: Baseline, course: Course, at_s: float) -> Record:
    """Take note of what file and environment ask for now. An edited global percent ends the plan, as one set by hand."""
    governed = planned(course)
    changed = adopt_baseline(record, baseline, at_s=at_s, governed=governed)
    override = changed.overrides.get(GLOBAL)
    if GLOBAL in governed and override is not None and override != record.overrides.get(GLOBAL):
        return _ended(changed, course, Wish(at_s, override.who, ""))
    return changed


def _ended(record: Record, course: Course, wish: Wish) -> Record:
    """The plan says nothing any more; what it said and nobody has overridden stays."""
    after = _applied(course, Event.SET, wish)
    kept = {name: Override(percent, wish.at_s, wish.who, _KEPT) for name, percent in planned(course).items()}
    newer = {name: override for name, override in record.overrides.items() if override.at_s > course.progress.started_at_s}
    return _carried(replace(record, overrides={**record.overrides, **kept, **newer}), course, after)


def _carried(record: Record, course: Course, after: PlanProgress) -> Record:
    return record if after == course.progress else replace(record, plan=after.to_json())


def _applied(
    course: Course, event: Event, wish: Wish, from_stage: int | None = None, now: Percents = NOBODY_SAYS
) -> PlanProgress:
    reason = "" if event not in _STOPS else f"{wish.who}: {wish.why}" if wish.why else f"by {wish.who}"
    return apply(
        course.progress, event, course.plan, wish.at_s, reason=reason, from_stage=from_stage, in_force=now
    )  # fmt: skip


def told(course: Course) -> str:
    """For people: `stage 2 of 4, 25 %, running`."""
    plan, progress = course
    phase = progress.phase.replace("_", " ")
    if progress.phase not in IN_FORCE or not plan:
        return phase
    percent = percents(plan, progress).percent
    return f"stage {progress.stage + 1} of {len(plan)}, {told_percent(percent or 0.0)}, {phase}"
