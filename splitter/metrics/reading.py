"""What the metrics are made of, taken at one moment.

Owns: the shape of that moment, and the words of what the control plane tells. Must not know: names of metrics, how any of it
is found out. Invariant: everything has a value that means "nothing yet", so that a plane may leave out what it has not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from math import nan
from typing import Final

from splitter.snapshot import Gauges, Snapshot
from splitter.stats import Histogram, Stats
from splitter.usage import Usage

GUARDRAIL_RULES: Final = ("error_rate", "success_rate", "latency_p95_ratio", "consecutive_failures", "mix_drift")

ROLLBACK_BY: Final = ("operator", "guardrail", "signal", "config", "peer")
"""Who rolled back: a person over the API, a guardrail, SIGUSR1, an edit of file or environment, another splitter."""

RELOAD_OUTCOMES: Final = ("ok", "failed")

WORKER_STATES: Final = ("starting", "serving", "draining")


class PlanPhase(StrEnum):
    """Where the plan stands. WAITING is a stage whose hold is over and that may not go on yet."""

    NONE = "none"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    DONE = "done"
    ABORTED = "aborted"


class Verdict(IntEnum):
    """What a guardrail says, as the number that a graph shows."""

    FAIL = -1
    NO_DATA = 0
    PASS = 1


@dataclass(frozen=True, slots=True)
class GuardrailReading:
    """One rule's last verdict, with the value it saw and the limit it held it against; NaN for none."""

    verdict: Verdict = Verdict.NO_DATA
    value: float = nan
    limit: float = nan


@dataclass(frozen=True, slots=True)
class Reading:
    """See the top of the file.

    `backend_up` by backend. `plan_step` counts stages from 0, -1 without a plan in progress; `plan_hold_left_s` is how long
    the stage still lasts. `guardrails` by rule, `rollbacks` by who, `config_reloads` by outcome, `workers` by state:
    words that are not in the closed sets above are counted as `other`. `rollback_durations`: from the decision until in
    force on all workers.
    """

    stats: Stats
    gauges: Gauges
    snapshot: Snapshot
    version: str
    backend_up: Mapping[str, bool] = field(default_factory=dict)
    plan_step: int = -1
    plan_stages: int = 0
    plan_phase: PlanPhase = PlanPhase.NONE
    plan_hold_left_s: float = 0.0
    guardrails: Mapping[str, GuardrailReading] = field(default_factory=dict)
    rollbacks: Mapping[str, int] = field(default_factory=dict)
    rollback_durations: Histogram = field(default_factory=Histogram)
    config_reloads: Mapping[str, int] = field(default_factory=dict)
    config_ok: bool = True
    state_store_up: bool = True
    workers: Mapping[str, int] = field(default_factory=dict)
    worker_restarts: int = 0
    usage: Usage = field(default_factory=Usage)
