"""A rule that says when somebody is to be alerted.

Owns: what a rule consists of. Must not know: who evaluates it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Metric(StrEnum):
    """What is looked at."""

    ERROR_RATE = "error_rate"
    FPS = "fps"
    LATENCY_MS = "latency_ms"
    OFFLINE_S = "offline_s"


class Operator(StrEnum):
    """How it is compared with the threshold."""

    ABOVE = ">"
    AT_LEAST = ">="
    BELOW = "<"
    AT_MOST = "<="


class Severity(StrEnum):
    """How much it matters."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class RuleTerms:
    """What a client says about a rule. `camera_id` None means every camera; `for_s` is how long it must hold."""

    name: str
    camera_id: str | None
    metric: Metric
    operator: Operator
    threshold: float
    for_s: int
    severity: Severity
    enabled: bool


@dataclass(frozen=True, slots=True)
class AlertRule:
    """A rule that is kept."""

    number: int
    terms: RuleTerms
    created_at: datetime
    updated_at: datetime

    @property
    def id(self) -> str:
        """The name it has in paths."""
        return f"rule-{self.number}"
