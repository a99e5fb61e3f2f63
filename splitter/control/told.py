"""Plan and guardrails, told to people and to programs.

Owns: their shapes in the status and in GET /api/v1/rollout/plan, and as metrics. Must not know: how either came about.
Invariants: stages count from 1 here, as people count; times are UTC in ISO 8601; every verdict comes with value and limit.
"""

from __future__ import annotations

from typing import Any

from splitter.config import Guardrails, Rollout
from splitter.control.times import when
from splitter.jury import Finding
from splitter.progress import IN_FORCE, Phase, PlanProgress
from splitter.rollout import percents, possible


def plan_document(rollout: Rollout, progress: PlanProgress, now_s: float) -> dict[str, Any] | None:
    """Where the plan stands, and its stages; None when there is none, nor ever was."""
    if not rollout.plan and progress.phase is Phase.IDLE:
        return None
    is_in_force = progress.phase in IN_FORCE
    return {
        "phase": progress.phase.value,
        "stage": progress.stage + 1 if is_in_force else None,
        "percent": percents(rollout.plan, progress).percent,
        "held_s": round(progress.held_s, 1) if is_in_force else None,
        "hold_left_s": _hold_left_s(rollout, progress),
        "waiting_for": progress.waiting_for or None,
        "reason": progress.reason or None,
        "possible": possible(progress.phase),
        "stages": _stages(rollout, progress, now_s),
    }


def _stages(rollout: Rollout, progress: PlanProgress, now_s: float) -> list[dict[str, Any]]:
    """Each stage, and when it ends at the earliest while the plan is on its way."""
    is_in_force, plan = progress.phase in IN_FORCE, rollout.plan
    at_s: float | None = now_s + (_hold_left_s(rollout, progress) or 0.0) if progress.phase is Phase.RUNNING else None
    told = []
    for index, stage in enumerate(plan):
        is_over = is_in_force and (index < progress.stage or progress.phase is Phase.COMPLETED)
        is_current = is_in_force and index == progress.stage and not is_over
        if at_s is not None and index > progress.stage:
            at_s += stage.hold_s or 0.0
        stays = index == len(plan) - 1 and stage.hold_s is None
        told.append(
            {
                "stage": index + 1,
                "percent": stage.percent,
                "routes": dict(stage.routes),
                "hold_s": stage.hold_s,
                "approve": stage.approve,
                "confirm": stage.confirm is not None,
                "state": "over" if is_over else "current" if is_current else "ahead",
                "ends_at": when(at_s) if at_s is not None and not is_over and not stays else None,
            }
        )
    return told


def _hold_left_s(rollout: Rollout, progress: PlanProgress) -> float | None:
    if progress.phase not in IN_FORCE or not rollout.plan:
        return None
    hold_s = rollout.plan[min(progress.stage, len(rollout.plan) - 1)].hold_s
    return round(max(0.0, (hold_s or 0.0) - progress.held_s), 1)


def guardrails_document(guardrails: Guardrails, finding: Finding | None) -> dict[str, Any]:
    """What guardrails say, over the last window and over the stage; before the first look, that they say nothing yet."""
    return {
        "action": guardrails.action,
        "window_s": guardrails.window_s,
        "verdict": None if finding is None else finding.window.to_json(),
        "stage": None if finding is None else {"outcome": finding.stage.outcome.value, "sentence": finding.stage.sentence},
        "bad_windows": 0 if finding is None else finding.bad_windows,
        "bad_windows_max": guardrails.bad_windows,
        "bad": None if finding is None or finding.bad is None else finding.bad.sentence,
    }


def plan_step(progress: PlanProgress) -> int:
    """The stage in force, counted from 0; -1 while there is none."""
    return progress.stage if progress.phase in IN_FORCE else -1


def plan_hold_left_s(rollout: Rollout, progress: PlanProgress) -> float:
    """How long the stage in force still lasts at least."""
    return _hold_left_s(rollout, progress) or 0.0
