"""What the admin API answers, as JSON Schema is made of it.

Owns: the fields of each answer and what they mean, for `openapi`. Must not know: how an answer comes about.
Invariant: what is answered has exactly these fields; tests hold the answers against them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

_LAYER = "`operator`, `plan`, `env:NAME`, `file:LINE` or `default`."


class Shape(BaseModel):
    """An object with these fields."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Told(Shape):
    """Where a value comes from and, if somebody set it at run time, who, when and why."""

    source: str = Field(alias="from", description=f"The layer that decides: {_LAYER}")
    who: str | None = Field(
        default=None, description="`cli:NAME`, `api:ADDRESS`, `console`, `signal`, `guardrail:RULE`, ..."
    )
    when: str | None = Field(default=None, description="UTC, ISO 8601.", json_schema_extra={"format": "date-time"})
    why: str | None = None


class Switch(Told):
    """Something that is on or off."""

    value: bool


class Layer(Shape):
    """What another layer says."""

    value: float
    source: str = Field(alias="from")


class Share(Told):
    """A percent of clients."""

    value: float = Field(ge=0, le=100)
    instead_of: Layer | None = Field(default=None, description="What would be in force without this; left out if nothing.")


class Event(Shape):
    """A line of the audit list."""

    version: int = Field(description="The state's version that it led to.")
    when: str = Field(description="UTC, ISO 8601.", json_schema_extra={"format": "date-time"})
    who: str
    what: str
    why: str
    before: str = Field(alias="from")
    after: str = Field(alias="to")


class BackendState(Shape):
    """Whether a backend can be reached."""

    status: Literal["up", "down"]


class Workers(Shape):
    """How many workers decide by this, and what the last publication met."""

    in_force_on: int
    replaced: int = Field(description="Workers that did not acknowledge in time, and were replaced.")
    took_ms: float


class Store(Shape):
    """The place where the state is kept."""

    url: str = Field(description="Without its password.")
    status: Literal["up", "down"]
    fault: str | None
    saved: bool = Field(description="Whether what is in force would survive a restart.")
    notice: str | None = Field(description="Something that was mended, and that somebody should know.")


class ConfigState(Shape):
    """What became of the last reload of the configuration."""

    status: Literal["ok", "refused"]
    fault: str | None
    restart_needed: list[str] = Field(description="What of it waits for a restart.")


class Stage(Shape):
    """A stage of the plan."""

    stage: int = Field(description="Its number, from 1.")
    percent: float
    routes: dict[str, float] = Field(description="Percents of routes that it sets.")
    hold_s: float | None
    approve: bool = Field(description="A person has to let the plan go on after it.")
    confirm: bool = Field(description="A hook has to.")
    state: Literal["over", "current", "ahead"]
    ends_at: str | None = Field(
        description="When it ends at the earliest; null while the plan is not on its way.",
        json_schema_extra={"format": "date-time"},
    )


class Plan(Shape):
    """The plan and where it stands."""

    phase: Literal["idle", "running", "paused", "waiting", "frozen", "completed", "rolled_back", "aborted"]
    stage: int | None = Field(description="The stage in force, from 1.")
    percent: float | None = Field(description="The global percent it puts in force.")
    held_s: float | None
    hold_left_s: float | None
    waiting_for: str | None = Field(description="Why it does not go on yet.")
    reason: str | None = Field(description="Why it was stopped or ended.")
    possible: list[str] = Field(description="What a person can do to it now.")
    stages: list[Stage]


class RuleVerdict(Shape):
    """What one guardrail says; `value`, `low` and `high` (its interval) are of the figure that `limit` is for."""

    rule: Literal["error_rate", "success_rate", "latency_p95_ratio", "consecutive_failures", "mix_drift"]
    outcome: Literal["pass", "fail", "no_data"]
    sentence: str
    requests: int
    value: float | None
    low: float | None
    high: float | None
    limit: float | None
    moot: bool = Field(description="There is nothing to judge by; holds nothing up.")


class Verdict(Shape):
    """What they say together over the last window."""

    outcome: Literal["pass", "fail", "no_data"]
    sentence: str
    results: list[RuleVerdict]


class StageVerdict(Shape):
    """What they say together over all that is in force."""

    outcome: Literal["pass", "fail", "no_data"]
    sentence: str


class Guardrails(Shape):
    """What the guardrails say. Verdicts are null while nothing can go to domain."""

    action: Literal["rollback", "freeze", "alert"]
    window_s: float
    verdict: Verdict | None
    stage: StageVerdict | None
    bad_windows: int = Field(description="In a row, up to now.")
    bad_windows_max: int = Field(description="As many make them act.")
    bad: str | None = Field(description="Why the last of these windows was bad.")


class PlanState(Shape):
    """The plan, and what the guardrails say. Without a plan: null."""

    plan: Plan | None
    guardrails: Guardrails


class MirrorState(Shape):
    """Copies of live requests for comparing both sides."""

    percent: float = Field(description="Of the requests that the other side serves; 0: none.")
    to: Literal["domain", "legacy"] = Field(description="Which side gets the copies.")
    copying: bool = Field(description="Whether it happens now: not while domain is off, rolled back or down.")


class Status(Shape):
    """What is in force, and which layer each value came from."""

    summary: str = Field(description="A sentence: does anything go to domain, and if not, why.")
    use_domain_service: Switch
    rolled_back: Switch
    percent: Share
    routes: dict[str, Share] = Field(description="Routes with a percent of their own, by name.")
    key: list[str]
    force: Literal["open", "token", "off"]
    version: int = Field(description="Grows by one with each change of the state.")
    plan: Plan | None = Field(description="Null without a plan.")
    guardrails: Guardrails
    backends: dict[str, BackendState]
    mirror: MirrorState
    domain_ejected: bool = Field(description="Nothing is sent to domain, because it is down.")
    workers: Workers | None
    store: Store
    config: ConfigState
    last_change: Event | None
    problems: list[str] = Field(description="What is wrong, a sentence each.")


class Done(Shape):
    """A change is in force on every worker."""

    changed: bool = Field(description="False: it was so already.")
    saved: bool = Field(
        description="False for a rollback that could not be saved within 10 ms: it is saved as soon as that can be done."
    )
    workers: int = Field(description="Workers that have it in force.")
    replaced: int = Field(description="Workers that did not acknowledge in time, and were replaced.")
    took_ms: float = Field(description="From the decision until it was in force on every worker.")
    version: int
    status: Status


class Events(Shape):
    """The audit list, the newest first."""

    events: list[Event]


class Fault(Shape):
    """What went wrong."""

    code: str
    message: str
    request_id: str


class Error(Shape):
    """Every error of the splitter looks like this."""

    error: Fault
