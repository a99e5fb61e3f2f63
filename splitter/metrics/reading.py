"""What the metrics are made of, taken at one moment.

Owns: the shape of that moment, and the words of what the control plane tells. Must not know: names of metrics, how any of it
is found out. Invariant: everything has a value that means "nothing yet", so that a plane may leave out what it has not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from splitter.progress import Phase
from splitter.snapshot import Death, Gauges, Snapshot, WorkerInfo
from splitter.stats import Histogram, Stats
from splitter.usage import Usage

GUARDRAIL_RULES: Final = ("error_rate", "success_rate", "latency_p95_ratio", "consecutive_failures", "mix_drift")

ROLLBACK_BY: Final = ("operator", "guardrail", "signal", "config", "peer")
"""Who rolled back: a person over the API, a guardrail, SIGUSR1, an edit of file or environment, another splitter."""

RELOAD_OUTCOMES: Final = ("ok", "failed")

ADMIN_REFUSALS: Final = ("no_token", "wrong_token", "too_many", "host", "cross_site", "media_type")
"""Why the admin side let somebody not in: the causes of `splitter.control.auth`."""

HOOK_OUTCOMES: Final = ("delivered", "retried", "failed", "dropped")
"""What became of a delivery: taken; to be tried again; refused, or given up; lost to a full queue, a stop or an edit."""

VERDICTS: Final = {"fail": -1, "no_data": 0, "pass": 1}
"""What a guardrail says, and the number that a graph shows for it."""


Counts = Mapping[Any, int]
"""By a word, or by a StrEnum, which would be no mapping by words to mypy."""


@dataclass(frozen=True, slots=True)
class GuardrailReading:
    """One rule's last verdict, with the value it saw and the limit it held it against, None for none.

    `verdict` is one of VERDICTS.
    """

    verdict: str = "no_data"
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """See the top of the file.

    `backend_up` by backend. `plan_step` counts stages from 0, -1 without a plan in progress; `plan_hold_left_s` is how long
    the stage still lasts at least. `guardrails` by rule, `rollbacks` by who and `config_reloads` by outcome: words that are
    not in the closed sets above are counted as `other`. `rollback_durations`: from the decision until in force on all
    workers. `admin_refused` by cause. `hook_deliveries` by outcome. `deaths`: of workers that had to be replaced.
    """

    stats: Stats
    gauges: Gauges
    snapshot: Snapshot
    version: str
    backend_up: Mapping[str, bool] = field(default_factory=dict)
    plan_step: int = -1
    plan_stages: int = 0
    plan_phase: Phase = Phase.IDLE
    plan_hold_left_s: float = 0.0
    guardrails: Mapping[str, GuardrailReading] = field(default_factory=dict)
    rollbacks: Counts = field(default_factory=dict)
    rollback_durations: Histogram = field(default_factory=Histogram)
    config_reloads: Counts = field(default_factory=dict)
    config_ok: bool = True
    state_store_up: bool = True
    admin_refused: Counts = field(default_factory=dict)
    hook_deliveries: Counts = field(default_factory=dict)
    workers: Sequence[WorkerInfo] = ()
    deaths: Mapping[Death, int] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
