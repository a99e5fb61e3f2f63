"""The changes that may be made to a state record.

Owns: what each does, and the line it leaves in the audit list. Must not know: stores, clocks, what is in force.
Invariants: each takes a record and gives the next, or the very same when there is nothing to change; a latch that is set
stays as the first one set it until `resume`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

from splitter.config import Percent
from splitter.state.record import GLOBAL, Baseline, Latch, Override, Record, told_percent

CONFIG: Final = "config"
"""Who edited the file or the environment."""

STORE: Final = "store"
"""Who sets the latch when the state was lost."""

ROLLBACK: Final = "rollback"
ROLLED_BACK: Final = "rolled back"


def set_percent(record: Record, name: str, percent: float, *, at_s: float, who: str, why: str, before: str = "") -> Record:
    """Override the percent of a route, or the global one (GLOBAL). `before`: what was in force, if the caller knows better.

    Raises ValueError for what is no percent.
    """
    percent = Percent().read(percent)
    override = Override(percent, at_s, who, why)
    changed = replace(record, overrides={**record.overrides, name: override})
    return changed.noted(at_s, who, _percent_of(name), why, before or _standing(record, name), told_percent(percent))


def clear_override(record: Record, name: str, *, at_s: float, who: str, why: str) -> Record:
    """Let plan, environment and file decide again."""
    if name not in record.overrides:
        return record
    changed = replace(record, overrides=_without(record.overrides, {name}))
    return changed.noted(at_s, who, _percent_of(name), why, _standing(record, name), "as configured")


def roll_back(record: Record, *, at_s: float, who: str, why: str, before: str = "") -> Record:
    """Send nothing to domain until somebody resumes. `before`: what was in force, if the caller knows better.

    Rolling back what is rolled back leaves the latch as the first one set it, and a line in the list: two splitters that
    can't see each other must both know that somebody wanted this (`agreement`).
    """
    if record.latch is not None:
        return record.noted(at_s, who, ROLLBACK, why, ROLLED_BACK, ROLLED_BACK)
    changed = replace(record, latch=Latch(at_s, who, why))
    return changed.noted(at_s, who, ROLLBACK, why, before or _standing(record, GLOBAL), ROLLED_BACK)


def resume(record: Record, *, at_s: float, who: str, why: str, after: str = "") -> Record:
    """Clear the latch. `after`: what is in force then, if the caller knows better."""
    if record.latch is None:
        return record
    return replace(record, latch=None).noted(at_s, who, "resume", why, ROLLED_BACK, after or _standing(record, GLOBAL))


def lock_out(record: Record, *, at_s: float, why: str) -> Record:
    """The state was lost: nobody can say what it was, so nothing goes to domain until somebody resumes."""
    if record.latch is not None:
        return record
    return replace(record, latch=Latch(at_s, STORE, why)).noted(at_s, STORE, "state lost", why, "unknown", ROLLED_BACK)


def differs(record: Record, baseline: Baseline) -> bool:
    """Whether a person has edited file or environment since the record last saw them."""
    return record.baseline != baseline


def adopt_baseline(record: Record, baseline: Baseline, *, at_s: float, governed: Collection[str] = ()) -> Record:
    """Take note of what file and environment ask for now. The newest decision of a person wins: an edited value drops the
    overrides that stand in its way, those of all routes when it is the global percent or use_domain_service.

    `governed`: names whose percent an active plan sets; there an edited value becomes an override, since the plan would
    win otherwise. The latch stays.
    """
    if not differs(record, baseline):
        return record
    before = record.baseline
    changed = replace(record, baseline=baseline)
    if before is None:
        return changed.noted(at_s, CONFIG, "config", "first seen", "", _told(baseline))
    edited = {name for name, percent in baseline.percents.items() if before.percents.get(name) != percent}
    everything = GLOBAL in edited or before.use_domain_service != baseline.use_domain_service
    gone = set(record.overrides) if everything else edited | (before.percents.keys() - baseline.percents.keys())
    kept = _without(record.overrides, gone)
    put = {
        name: Override(baseline.percents[name], at_s, CONFIG, "edited while the plan was running")
        for name in sorted(edited)
        if name in governed
    }
    dropped = sorted(gone & record.overrides.keys())
    why = f"edited; drops what was set at run time: {', '.join(map(_percent_of, dropped))}" if dropped else "edited"
    told_before, told_after = _told(before, baseline), _told(baseline, before)
    return replace(changed, overrides=kept | put).noted(at_s, CONFIG, "config", why, told_before, told_after)


def _without(overrides: Mapping[str, Override], names: Collection[str]) -> dict[str, Override]:
    return {name: override for name, override in overrides.items() if name not in names}


def _percent_of(name: str) -> str:
    return "percent" if name == GLOBAL else f"percent of {name}"


def _standing(record: Record, name: str) -> str:
    """The percent somebody asked for last, as far as the record knows."""
    if name in record.overrides:
        return told_percent(record.overrides[name].percent)
    if record.baseline is not None and name in record.baseline.percents:
        return told_percent(record.baseline.percents[name])
    return "as configured"


def _told(baseline: Baseline, unlike: Baseline | None = None) -> str:
    """A baseline for people; with `unlike`, only where the two differ."""
    parts = []
    if unlike is None or unlike.use_domain_service != baseline.use_domain_service:
        parts.append(f"use_domain_service {str(baseline.use_domain_service).lower()}")
    for name, percent in baseline.percents.items():
        if unlike is None or unlike.percents.get(name) != percent:
            parts.append(f"{_percent_of(name)} {told_percent(percent)}")
    return ", ".join(parts)
