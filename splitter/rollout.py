"""The plan: which stage is in force, when the next one begins, and what each button does.

Owns: events, the one table of transitions, what each does to the record of progress, the percents that follow from it.
Must not know: clocks (`now_s` is Unix time, given), how a verdict comes about, where progress is kept, who may press what.
Invariants:
- percents are derived from plan and progress, never kept beside them, so the two can't disagree;
- percents never fall, not even when the plan is edited while it runs, but by abort, rollback, resume or a percent set by
  hand; percents are compared with >=;
- abort and rollback are legal in every phase, and twice;
- a stage ends only when it was held long enough AND the guardrails passed with enough data in it;
- a record written at any moment is enough to go on from; a clock that jumps neither ends nor prolongs a hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Final, NamedTuple

from splitter.config import Stage
from splitter.errors import IllegalTransition
from splitter.progress import IN_FORCE, Gate, Phase, PlanProgress
from splitter.verdict import Outcome, Verdict

LONGEST_TICK_S: Final = 10.0
"""Time between two calls of `advance` that counts as held at most; what is longer, the process or the machine was away."""


class Event(StrEnum):
    """What can happen to a plan."""

    START = "start"  # a person starts it
    PAUSE = "pause"  # a person stops the clock
    CONTINUE = "continue"  # a person lets the clock run again, or approves the stage that waits for it
    PROMOTE = "promote"  # a person ends the stage now, whatever is left of its hold
    PROMOTE_FULL = "promote_full"  # a person goes to the last stage now
    CONFIRM = "confirm"  # the hook that the stage waits for said yes
    ADVANCE = "advance"  # the stage is over: the next one
    AWAIT = "await"  # the stage is over: somebody has to let it go on
    COMPLETE = "complete"  # the last stage is over
    FREEZE = "freeze"  # a guardrail found domain bad, and is to stop the plan
    ROLLBACK = "rollback"  # a person, or a guardrail, takes everybody back
    RESUME = "resume"  # a person ends the rollback
    ABORT = "abort"  # a person gives the plan up
    SET = "set"  # a person set a percent by hand: the newest decision wins


_P, _E = Phase, Event

TRANSITIONS: Final[dict[tuple[Phase, Event], Phase]] = {
    # With no plan under way there is nothing to take back: abort and rollback are done already, not wrong.
    (_P.IDLE, _E.START): _P.RUNNING,
    (_P.IDLE, _E.FREEZE): _P.IDLE,
    (_P.IDLE, _E.ROLLBACK): _P.IDLE,
    (_P.IDLE, _E.RESUME): _P.IDLE,
    (_P.IDLE, _E.ABORT): _P.IDLE,
    (_P.IDLE, _E.SET): _P.IDLE,
    (_P.RUNNING, _E.PAUSE): _P.PAUSED,
    (_P.RUNNING, _E.PROMOTE): _P.RUNNING,
    (_P.RUNNING, _E.PROMOTE_FULL): _P.RUNNING,
    (_P.RUNNING, _E.ADVANCE): _P.RUNNING,
    (_P.RUNNING, _E.AWAIT): _P.WAITING,
    (_P.RUNNING, _E.COMPLETE): _P.COMPLETED,
    (_P.RUNNING, _E.FREEZE): _P.FROZEN,
    (_P.RUNNING, _E.ROLLBACK): _P.ROLLED_BACK,
    (_P.RUNNING, _E.ABORT): _P.ABORTED,
    (_P.RUNNING, _E.SET): _P.IDLE,
    (_P.PAUSED, _E.PAUSE): _P.PAUSED,
    (_P.PAUSED, _E.CONTINUE): _P.RUNNING,
    (_P.PAUSED, _E.PROMOTE): _P.RUNNING,
    (_P.PAUSED, _E.PROMOTE_FULL): _P.RUNNING,
    (_P.PAUSED, _E.COMPLETE): _P.COMPLETED,
    (_P.PAUSED, _E.FREEZE): _P.FROZEN,
    (_P.PAUSED, _E.ROLLBACK): _P.ROLLED_BACK,
    (_P.PAUSED, _E.ABORT): _P.ABORTED,
    (_P.PAUSED, _E.SET): _P.IDLE,
    (_P.WAITING, _E.PAUSE): _P.PAUSED,
    (_P.WAITING, _E.CONTINUE): _P.RUNNING,
    (_P.WAITING, _E.CONFIRM): _P.RUNNING,
    (_P.WAITING, _E.PROMOTE): _P.RUNNING,
    (_P.WAITING, _E.PROMOTE_FULL): _P.RUNNING,
    (_P.WAITING, _E.COMPLETE): _P.COMPLETED,
    (_P.WAITING, _E.FREEZE): _P.FROZEN,
    (_P.WAITING, _E.ROLLBACK): _P.ROLLED_BACK,
    (_P.WAITING, _E.ABORT): _P.ABORTED,
    (_P.WAITING, _E.SET): _P.IDLE,
    # No promote: what a guardrail stopped is looked at first (continue), then pushed on.
    (_P.FROZEN, _E.PAUSE): _P.FROZEN,
    (_P.FROZEN, _E.CONTINUE): _P.RUNNING,
    (_P.FROZEN, _E.FREEZE): _P.FROZEN,
    (_P.FROZEN, _E.ROLLBACK): _P.ROLLED_BACK,
    (_P.FROZEN, _E.ABORT): _P.ABORTED,
    (_P.FROZEN, _E.SET): _P.IDLE,
    # No start: the first stage would take clients back without anybody saying so. Abort or rollback says so.
    (_P.COMPLETED, _E.FREEZE): _P.COMPLETED,
    (_P.COMPLETED, _E.ROLLBACK): _P.ROLLED_BACK,
    (_P.COMPLETED, _E.ABORT): _P.ABORTED,
    (_P.COMPLETED, _E.SET): _P.IDLE,
    (_P.ROLLED_BACK, _E.FREEZE): _P.ROLLED_BACK,
    (_P.ROLLED_BACK, _E.ROLLBACK): _P.ROLLED_BACK,
    (_P.ROLLED_BACK, _E.RESUME): _P.RUNNING,
    (_P.ROLLED_BACK, _E.ABORT): _P.ABORTED,
    (_P.ROLLED_BACK, _E.SET): _P.IDLE,
    (_P.ABORTED, _E.START): _P.RUNNING,
    (_P.ABORTED, _E.FREEZE): _P.ABORTED,
    (_P.ABORTED, _E.ROLLBACK): _P.ABORTED,
    (_P.ABORTED, _E.RESUME): _P.ABORTED,
    (_P.ABORTED, _E.ABORT): _P.ABORTED,
    (_P.ABORTED, _E.SET): _P.IDLE,
}

_BUTTONS: Final = (
    Event.START, Event.PAUSE, Event.CONTINUE, Event.PROMOTE, Event.RESUME, Event.ABORT, Event.ROLLBACK, Event.SET,
)  # fmt: skip
MOVES_ON: Final = frozenset({Event.PROMOTE, Event.PROMOTE_FULL, Event.ADVANCE})
"""Events that change something even where they lead to the same phase: the stage."""


class Percents(NamedTuple):
    """The global percent and those of routes; None, and routes that are missing, are not the plan's to say."""

    percent: float | None
    routes: dict[str, float]


Plan = Sequence[Stage]
NOBODY_SAYS: Final = Percents(None, {})


def percents(plan: Plan, progress: PlanProgress) -> Percents:
    """What the plan puts in force. Once aborted or rolled back: 0, for everything it had a say in."""
    floor = Percents(progress.floor_percent, progress.floor_routes)
    if progress.phase not in IN_FORCE or not plan:
        return floor
    reached = plan[: progress.stage + 1]
    routes = {name: percent for stage in reached for name, percent in stage.routes.items()}
    return _higher(floor, Percents(reached[-1].percent, routes))


def _higher(one: Percents, other: Percents) -> Percents:
    given = [percent for percent in (one.percent, other.percent) if percent is not None]
    routes = {
        name: max(one.routes.get(name, 0.0), other.routes.get(name, 0.0)) for name in (one.routes | other.routes)
    }  # fmt: skip
    return Percents(max(given, default=None), routes)


# --- events -----------------------------------------------------------------------------------------------------------


def apply(
    progress: PlanProgress,
    event: Event,
    plan: Plan,
    now_s: float,
    *,
    reason: str = "",
    from_stage: int | None = None,
    in_force: Percents = NOBODY_SAYS,
) -> PlanProgress:
    """The progress after an event. Raises IllegalTransition, with a sentence, for what the table does not have.

    `reason` is kept for people. For START and RESUME: `from_stage` counts from 0, and `in_force` are the percents now, below
    which START takes nobody; without `from_stage` START begins at the last stage that does not go beyond them.
    """
    event = _meant(progress, event, plan)
    phase = _next(progress.phase, event)
    if phase is progress.phase and event not in MOVES_ON:
        return progress  # it is so already
    now = replace(_accounted(progress, now_s, LONGEST_TICK_S), phase=phase, waiting_for="", reason=reason)
    match event:
        case Event.START:
            floor = Percents(in_force.percent, {name: in_force.routes[name] for name in _named(plan) & set(in_force.routes)})
            first = _first_stage(plan, in_force.percent or 0.0) if from_stage is None else from_stage
            now = replace(_enter(now, floor, plan, first, now_s), started_at_s=now_s)
        case Event.RESUME:
            now = _enter(now, NOBODY_SAYS, plan, from_stage or 0, now_s)
        case Event.ADVANCE | Event.PROMOTE:
            now = _enter(now, percents(plan, progress), plan, progress.stage + 1, now_s)
        case Event.PROMOTE_FULL:
            now = _enter(now, percents(plan, progress), plan, len(plan) - 1, now_s)
        case Event.ABORT | Event.ROLLBACK:
            routes = dict.fromkeys(sorted(_named(plan) | set(progress.floor_routes)), 0.0)
            now = replace(now, floor_percent=0.0, floor_routes=routes, opened=frozenset())
        case Event.SET:
            now = PlanProgress(reason=reason)
        case Event.CONFIRM:
            now = replace(now, opened=now.opened | {Gate.HOOK})
        case Event.CONTINUE if progress.phase is Phase.WAITING:
            now = replace(now, opened=now.opened | {Gate.APPROVAL})
        case _:
            pass  # pause, continue, await, complete, freeze: the phase says it all
    return now


def _meant(progress: PlanProgress, event: Event, plan: Plan) -> Event:
    """What an event comes to where the plan has no further stage, or no stage at all."""
    if event in (Event.PROMOTE, Event.PROMOTE_FULL) and _is_last(plan, progress):
        return Event.COMPLETE if (progress.phase, event) in TRANSITIONS else event
    if event is Event.RESUME and progress.phase is Phase.ROLLED_BACK and not plan:
        return Event.SET  # the plan is gone from the configuration: what is configured is in force
    return event


def possible(phase: Phase) -> list[str]:
    """What a person can do to a plan in this phase, in the words of `Event`."""
    return [
        button.value
        for button in _BUTTONS
        if (phase, button) in TRANSITIONS and (TRANSITIONS[phase, button] is not phase or button in MOVES_ON)
    ]


def _next(phase: Phase, event: Event) -> Phase:
    try:
        return TRANSITIONS[phase, event]
    except KeyError:
        said, is_now = (word.replace("_", " ") for word in (event, phase))
        message = f"{said} is not possible: the plan is {is_now}; possible: {', '.join(possible(phase))}"
        raise IllegalTransition(message) from None


def _is_last(plan: Plan, progress: PlanProgress) -> bool:
    return progress.stage >= len(plan) - 1


def _named(plan: Plan) -> set[str]:
    return {name for stage in plan for name in stage.routes}


def _first_stage(plan: Plan, percent: float) -> int:
    """The last stage that goes no further than what is in force: none of its clients has to move, in either direction."""
    return max((index for index, stage in enumerate(plan) if percent >= stage.percent), default=0)


def _enter(progress: PlanProgress, floor: Percents, plan: Plan, stage: int, now_s: float) -> PlanProgress:
    if not plan:
        raise IllegalTransition("there is no plan: give rollout.plan some stages")
    if not 0 <= stage < len(plan):
        raise IllegalTransition(f"there is no stage {stage + 1}: the plan has {len(plan)}")
    entered = replace(
        progress, stage=stage, held_s=0.0, accounted_at_s=now_s, opened=frozenset(),
        floor_percent=floor.percent, floor_routes=floor.routes,
    )  # fmt: skip
    return _with_floor(plan, entered)


def _with_floor(plan: Plan, progress: PlanProgress) -> PlanProgress:
    """What is in force now is the least from now on, also when the plan is edited."""
    floor = percents(plan, progress)
    return replace(progress, floor_percent=floor.percent, floor_routes=floor.routes)


# --- time -------------------------------------------------------------------------------------------------------------


def advance(
    progress: PlanProgress, plan: Plan, verdict: Verdict, now_s: float, *, count_time_away: bool = False
) -> PlanProgress:
    """What time and the guardrails make of the progress; to be called every second or so, and saved when its phase or stage
    changed, and once in a while: held is what was saved. `verdict` is that of the stage in force (`Finding.for_advance`).

    At most one stage ends in a call. Of a time longer than `LONGEST_TICK_S` since the last call only so much counts as held,
    unless `count_time_away`; a clock that went back counts nothing.
    """
    if progress.phase not in IN_FORCE:
        return progress
    progress = _with_floor(plan, progress)
    if progress.phase is not Phase.RUNNING:
        return progress
    progress = _accounted(progress, now_s, math.inf if count_time_away else LONGEST_TICK_S)
    if not plan:
        return replace(progress, waiting_for="the plan has no stages any more: give it some, or abort it")
    stage = plan[min(progress.stage, len(plan) - 1)]
    left_s = (stage.hold_s or 0.0) - progress.held_s
    if left_s > 0:
        doubt = "" if verdict.outcome is Outcome.PASS else f"; {verdict.sentence}"
        return replace(progress, waiting_for=f"{lasting(left_s)} of the hold{doubt}")
    return _held(progress, plan, stage, verdict, now_s)


def _held(progress: PlanProgress, plan: Plan, stage: Stage, verdict: Verdict, now_s: float) -> PlanProgress:
    """The hold is over: on to the next stage, if nothing speaks against it."""
    is_last, shut = _is_last(plan, progress), shut_gates(plan, progress)
    is_end = is_last and stage.hold_s is None and not shut  # the last stage needs no hold: there is nothing to judge
    if verdict.outcome is not Outcome.PASS and not is_end:
        return replace(progress, waiting_for=f"the guardrails to pass: {verdict.sentence}")
    if shut:
        return replace(apply(progress, Event.AWAIT, plan, now_s), waiting_for=_who(shut))
    return apply(progress, Event.COMPLETE if is_last else Event.ADVANCE, plan, now_s)


def _accounted(progress: PlanProgress, now_s: float, longest_s: float) -> PlanProgress:
    """The time since the last account added to the hold, if the clock of the hold was running."""
    passed_s = 0.0
    if progress.phase is Phase.RUNNING and progress.accounted_at_s is not None:
        passed_s = min(max(now_s - progress.accounted_at_s, 0.0), longest_s)
    return replace(progress, held_s=progress.held_s + passed_s, accounted_at_s=now_s)


def shut_gates(plan: Plan, progress: PlanProgress) -> frozenset[Gate]:
    """Who has yet to let the stage in force go on, once it is over. A hook among them is asked while the plan is WAITING."""
    if not plan:
        return frozenset()
    stage = plan[min(progress.stage, len(plan) - 1)]
    wanted = {Gate.APPROVAL: stage.approve, Gate.HOOK: stage.confirm is not None}
    return frozenset(gate for gate, is_wanted in wanted.items() if is_wanted) - progress.opened


def _who(shut: frozenset[Gate]) -> str:
    who = {Gate.APPROVAL: "a person to approve: splitter plan continue", Gate.HOOK: "its confirm hook to say yes"}
    return " and ".join(who[gate] for gate in sorted(shut))


def lasting(seconds: float) -> str:
    """A time as people say it, in its two greatest units: `1 d 3 h`, `4 min`, `12 s`."""
    left = math.ceil(seconds)
    parts: list[tuple[int, str]] = []
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count) or "0 s"
