"""What a judge may say: rules, limits, outcomes, and the verdict with its reasons in numbers.

Owns: these words and how rules' outcomes add up to one. Must not know: how a rule comes to its outcome, windows, clocks.
Invariants: no data is neither a pass nor a failure; a verdict keeps the figure, the limit and the interval of every rule.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from splitter.config import Guardrails, StageLimits


class Outcome(StrEnum):
    """What a rule, or all of them, came to."""

    PASS = "pass"  # noqa: S105 - keeps the limit
    FAIL = "fail"  # passes the limit, and chance does not explain it
    NO_DATA = "no_data"  # too few requests, or too near to the limit for so few


class Rule(StrEnum):
    """The words of `splitter_guardrail_verdict{rule}` and of `guardrail:<rule>`."""

    ERROR_RATE = "error_rate"
    SUCCESS_RATE = "success_rate"
    LATENCY_P95_RATIO = "latency_p95_ratio"
    CONSECUTIVE_FAILURES = "consecutive_failures"
    MIX_DRIFT = "mix_drift"


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits in force; None turns a rule off. Shares are from 0 to 1. Meanings: docs/configuration.md, `guardrails`."""

    confidence: float = 0.95
    min_requests: int = 100
    error_rate_max: float | None = 0.05
    error_rate_margin: float | None = 0.02
    success_rate_min: float | None = 0.95
    latency_p95_ratio_max: float | None = 1.5
    latency_min_requests: int = 200
    latency_margin_s: float = 0.0
    mix_drift_max: float | None = None
    consecutive_failures: int | None = 20


def limits_of(guardrails: Guardrails, stage: StageLimits | None = None) -> Limits:
    """The limits of the configuration; what a stage sets beats `guardrails`."""
    limits = Limits(**{name: getattr(guardrails, name) for name in Limits.__dataclass_fields__})
    own = stage.model_dump(exclude_none=True) if stage else {}
    return replace(limits, **own)


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What one rule says. `value`, `low` and `high` are of the figure that `limit` is for, None when there is none.

    `requests` of domain it rests on. `moot`: there is nothing to judge by and won't be, as with legacy's latency when
    nobody goes to legacy, or nothing is to be judged; then NO_DATA holds nothing up.
    """

    rule: Rule
    outcome: Outcome
    sentence: str
    requests: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    moot: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all rules say together."""

    results: tuple[RuleResult, ...]

    @property
    def outcome(self) -> Outcome:
        """One failure is a failure; else what can't be told keeps the whole from passing, unless it is moot."""
        outcomes = {result.outcome for result in self.results if not result.moot}
        return next((outcome for outcome in (Outcome.FAIL, Outcome.NO_DATA) if outcome in outcomes), Outcome.PASS)

    def of(self, rule: Rule) -> Outcome | None:
        """What one rule says; None when it is off."""
        return next((result.outcome for result in self.results if result.rule is rule), None)

    @property
    def deciding(self) -> tuple[RuleResult, ...]:
        """The results that made it what it is."""
        return tuple(result for result in self.results if result.outcome is self.outcome and not result.moot)

    @property
    def sentence(self) -> str:
        """Why, in numbers: "error rate 7.9 % of 214 requests, limit 5 %"."""
        return "; ".join(result.sentence for result in self.deciding) or "nothing is judged"

    def to_json(self) -> dict[str, Any]:
        """As plain values, for the API."""
        return {
            "outcome": self.outcome.value,
            "sentence": self.sentence,
            "results": [asdict(result) for result in self.results],
        }
