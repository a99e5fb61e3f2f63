"""What is in force, told to people and to programs.

Owns: the shape of the status, of a line of the audit list, and the sentences about what is wrong.
Must not know: how any of it came about.
Invariants: every value says which layer it comes from, and who, when and why where somebody decided it; times are UTC in
ISO 8601; `summary` alone tells somebody woken at night whether anything goes to domain, and if not, why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from splitter.config import Config
from splitter.control.mirror_told import state_document
from splitter.control.times import when
from splitter.control.told import guardrails_document, plan_document
from splitter.jury import Finding
from splitter.progress import IN_FORCE, PlanProgress
from splitter.snapshot import Published, Snapshot, WorkerInfo, WorkerState
from splitter.state import GLOBAL, HELD, STORE, Course, Event, InForce, Latch, Override, Record, Value, told, told_percent


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is told, taken at one moment. Empty sentences: there is no such fault."""

    config: Config
    record: Record
    now: InForce
    snapshot: Snapshot
    backend_up: Mapping[str, bool]
    published: Published | None
    workers: Sequence[WorkerInfo]
    store: str
    store_fault: str
    saved: bool
    waits_for: str
    notice: str
    reload_fault: str
    restart_needed: tuple[str, ...]
    edit_waits: bool
    progress: PlanProgress
    finding: Finding | None
    unwatched: str
    at_s: float


def event_line(event: Event) -> dict[str, Any]:
    """A line of the audit list."""
    return {
        "version": event.version,
        "when": when(event.at_s),
        "who": event.who,
        "what": event.what,
        "why": event.why,
        "from": event.before,
        "to": event.after,
    }


def status_of(facts: Facts) -> dict[str, Any]:
    """The body of GET /api/v1/rollout."""
    table = facts.snapshot.table
    return {
        "summary": _summary(facts),
        "use_domain_service": _told(facts.now.use_domain_service),
        "rolled_back": _told(facts.now.rolled_back),
        "percent": _told(facts.now.percents[GLOBAL]),
        "routes": {name: _told(value) for name, value in facts.now.percents.items() if name != GLOBAL},
        "key": [f"{source.kind}:{source.name}" if source.name else source.kind for source in table.default.sources],
        "force": table.force.value,
        "version": facts.record.version,
        "plan": plan_document(facts.config.rollout, facts.progress, facts.at_s),
        "guardrails": guardrails_document(facts.config.guardrails, facts.finding),
        "backends": {name: {"status": "up" if is_up else "down"} for name, is_up in facts.backend_up.items()},
        "mirror": state_document(facts.config, facts.snapshot),
        "domain_ejected": facts.snapshot.domain_ejected,
        "workers": _workers(facts.published, facts.workers),
        "store": {
            "url": facts.store,
            "status": "down" if facts.store_fault else "up",
            "fault": facts.store_fault or None,
            "saved": facts.saved,
            "notice": facts.notice or None,
        },
        "config": {
            "status": "refused" if facts.reload_fault else "ok",
            "fault": facts.reload_fault or None,
            "restart_needed": list(facts.restart_needed),
        },
        "last_change": next((event_line(event) for event in reversed(facts.record.events) if event.what != HELD), None),
        "problems": [f"{what}: {why}" if why else what for what, why in problems(facts)],
    }


def problems(facts: Facts) -> Iterator[tuple[str, str]]:
    """What is wrong with state and configuration: what, for anybody, and why, for operators."""
    latch = facts.record.latch
    if facts.store_fault:
        yield "the state store is down", facts.store_fault
    if facts.waits_for:
        yield "nothing goes to domain until the state can be read", facts.waits_for
    elif latch is not None and latch.who == STORE:
        yield "the state was lost, so nothing goes to domain until somebody resumes", latch.why
    if not facts.saved:
        what = "the rollback in force is not saved yet" if latch is not None else "what is in force is not saved yet"
        yield what, "it will be, as soon as the state store can; a restart before that would forget it"
    if facts.edit_waits:
        why = "it drops a percent set at run time, which stays in force until the state store can save that"
        yield "an edit of the configuration is not wholly in force", why
    if facts.unwatched:
        yield "the guardrails can't judge, so nobody watches domain", facts.unwatched
    if facts.reload_fault:
        yield "the last reload of the configuration failed", facts.reload_fault
    if facts.restart_needed:
        yield "the configuration has changes that need a restart", ", ".join(facts.restart_needed)


def _summary(facts: Facts) -> str:
    now, latch = facts.now, facts.record.latch
    if not now.use_domain_service.value:
        return f"nothing goes to domain: use_domain_service is false ({now.use_domain_service.layer})"
    if latch is not None:
        why = f": {latch.why}" if latch.why else ""
        return f"nothing goes to domain: rolled back by {latch.who} at {when(latch.at_s)}{why}"
    if facts.snapshot.domain_ejected:
        return "nothing goes to domain: it is down"
    shares = [f"{_percent(value)} of {name}" for name, value in now.percents.items() if name != GLOBAL]
    rest = f"{_percent(now.percents[GLOBAL])} of clients"
    plan, progress = facts.config.rollout.plan, facts.progress
    step = f" (plan: {told(Course(plan, progress))})" if progress.phase in IN_FORCE and plan else ""
    return f"{rest} go to domain{step}" + (f"; of routes: {', '.join(shares)}" if shares else "")


def _percent(value: Value) -> str:
    return told_percent(float(value.value))


def _told(value: Value) -> dict[str, Any]:
    told: dict[str, Any] = {"value": value.value, "from": value.layer}
    if isinstance(value.by, Override | Latch):
        told |= {"who": value.by.who, "when": when(value.by.at_s), "why": value.by.why}
    if value.instead_of is not None:
        told["instead_of"] = {"value": value.instead_of.value, "from": value.instead_of.layer}
    return told


def _workers(published: Published | None, workers: Sequence[WorkerInfo]) -> dict[str, Any] | None:
    """How many decide by this, and what the last publication met; None before the first."""
    if published is None:
        return None
    took_ms = round(published.took_s * 1000, 3)
    ready = sum(worker.state is WorkerState.READY for worker in workers)  # those started since have begun with it
    return {"in_force_on": ready, "replaced": published.replaced, "took_ms": took_ms}
