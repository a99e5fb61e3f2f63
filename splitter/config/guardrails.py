"""The sections about limits: when domain is too bad, and what happens then.

Owns: their keys, defaults and descriptions; the description of a field is its documentation (`docs/configuration.md` is made
of it). Must not know: how anything is judged (`splitter.guardrail` does), files, lines, the environment.
Invariants: immutable; every limit of a stage has its twin in `guardrails`, by the same name.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from splitter.config.kinds import Nullable, Word
from splitter.config.numbers import SHARE, Count, Duration, Number
from splitter.config.sections import Section

_AS_GUARDRAILS: Final = "`null`: as in `guardrails`."


class StageLimits(Section):
    """Limits that hold in one stage instead of those of `guardrails`."""

    min_requests: Annotated[int | None, Nullable(Count(1, 10_000_000))] = Field(
        default=None, description=f"Requests below which no verdict is given. {_AS_GUARDRAILS}"
    )
    error_rate_max: Annotated[float | None, Nullable(SHARE)] = Field(
        default=None, description=f"Share of domain's requests that may fail. {_AS_GUARDRAILS}"
    )
    error_rate_margin: Annotated[float | None, Nullable(SHARE)] = Field(
        default=None, description=f"How much worse than legacy domain must be to be blamed. {_AS_GUARDRAILS}"
    )
    success_rate_min: Annotated[float | None, Nullable(SHARE)] = Field(
        default=None, description=f"Share of requests that must succeed for domain's clients. {_AS_GUARDRAILS}"
    )
    latency_p95_ratio_max: Annotated[float | None, Nullable(Number(1, 1000))] = Field(
        default=None, description=f"How many times legacy's 95th percentile domain's may be. {_AS_GUARDRAILS}"
    )
    latency_min_requests: Annotated[int | None, Nullable(Count(1, 10_000_000))] = Field(
        default=None, description=f"Requests per side below which latency is not judged. {_AS_GUARDRAILS}"
    )
    mix_drift_max: Annotated[float | None, Nullable(SHARE)] = Field(
        default=None, description=f"How far the share of 4xx may be from legacy's. {_AS_GUARDRAILS}"
    )
    consecutive_failures: Annotated[int | None, Nullable(Count(1, 1_000_000))] = Field(
        default=None, description=f"Failures of domain in a row that act at once. {_AS_GUARDRAILS}"
    )


class Guardrails(Section):
    """When domain is judged to be too bad, and what happens then."""

    window_s: Annotated[float, Duration(1, 86_400)] = Field(
        default=60.0,
        alias="window",
        description="How far back is looked; further, within the stage, while domain's requests in it are too few to judge.",
    )
    every_s: Annotated[float, Duration(0.1, 3600)] = Field(default=2.0, alias="every", description="How often is looked.")
    min_requests: Annotated[int, Count(1, 10_000_000)] = Field(
        default=100, description="Requests per side below which no verdict is given. Danger: a few requests prove nothing."
    )
    bad_windows: Annotated[int, Count(1, 1000)] = Field(
        default=2,
        description=(
            "Bad windows in a row, without a request in common, before anything happens; each extra one makes a false alarm "
            "rarer."
        ),
    )
    confidence: Annotated[float, Number(0.5, 0.9999)] = Field(
        default=0.95,
        description=(
            "How sure it must be that a limit is passed before a window is bad. Danger: 0.5 takes every figure at its face "
            "value, so that chance alone rolls back."
        ),
    )
    error_rate_max: Annotated[float | None, Nullable(SHARE)] = Field(
        default=0.05,
        description=(
            "Share of domain's requests that may fail (5xx, connect, timeout, reset), rescued or not; `null`: not judged."
        ),
    )
    error_rate_margin: Annotated[float | None, Nullable(SHARE)] = Field(
        default=0.02,
        description=(
            "How much more often than legacy's requests domain's must fail for domain to be blamed: 0.02 is by two points. "
            "`null`: it is blamed whatever legacy does."
        ),
    )
    success_rate_min: Annotated[float | None, Nullable(SHARE)] = Field(
        default=0.95, description="Share of requests that must succeed for domain's clients; `null`: not judged."
    )
    latency_p95_ratio_max: Annotated[float | None, Nullable(Number(1, 1000))] = Field(
        default=1.5,
        description=(
            "How many times legacy's 95th percentile domain's may be: 1.5 is half as slow again; `null`: not judged."
        ),
    )
    latency_min_requests: Annotated[int, Count(1, 10_000_000)] = Field(
        default=200, description="Requests per side below which latency is not judged."
    )
    latency_margin_s: Annotated[float, Duration(0, 3600)] = Field(
        default=0.0,
        alias="latency_margin",
        description="Domain may be this much slower than legacy whatever the ratio: for services that answer in a blink.",
    )
    mix_drift_max: Annotated[float | None, Nullable(SHARE)] = Field(
        default=None,
        description="How far the share of 4xx among domain's answers may be from legacy's; `null`: reported, not acted on.",
    )
    consecutive_failures: Annotated[int | None, Nullable(Count(1, 1_000_000))] = Field(
        default=20, description="Failures of domain in a row that act at once, without a window; `null`: none do."
    )
    action: Annotated[str, Word(("rollback", "freeze", "alert"))] = Field(
        default="rollback", description="Roll back, stop the plan where it is, or only say so."
    )
