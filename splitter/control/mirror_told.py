"""What the mirror does and what it has found, told to people and to programs.

Owns: the shapes of both. Must not know: how answers are compared, how the workers' reports come together.
Invariants: the sides are called by their names, legacy is the one that is right; what really differs comes first, the most
frequent first; a sample shows only what the mask of the `mirror` section let through.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Literal

from pydantic import Field

from splitter.compare import Tally
from splitter.compare.counts import Sample
from splitter.compare.report import Row
from splitter.config import Config
from splitter.control.shapes import MirrorState, Shape
from splitter.control.times import when
from splitter.snapshot import Snapshot
from splitter.stats import MIRROR_OUTCOMES

_TIME: dict[str, Any] = {"format": "date-time"}


class MirrorSample(Shape):
    """A request in which the place differed. Secrets and personal values are `***`."""

    at: str = Field(description="UTC, ISO 8601.", json_schema_extra=_TIME)
    request: str = Field(description="Path and query.")
    request_id: str
    where: str = Field(description="The place with its indexes.")
    legacy: str
    domain: str


class MirrorPlace(Shape):
    """One place of one endpoint in which domain differed from legacy. Counts are of requests."""

    endpoint: str
    path: str = Field(description="A JSON path, `header:NAME`, `status` or `body`: what an `ignore` rule takes.")
    kind: str = Field(description="`value`, `type`, `missing`, `extra`, `renamed`, `order` or `no answer`.")
    verdict: Literal["mismatch", "noise"] = Field(description="Noise: legacy differs from itself there as often.")
    differed: int = Field(description="In how many of `compared` domain differed from legacy.")
    compared: int
    noisy: int = Field(description="In how many of `asked_twice` legacy differed from itself.")
    asked_twice: int
    last_at: str = Field(description="When it differed last; UTC, ISO 8601.", json_schema_extra=_TIME)
    samples: list[MirrorSample] = Field(description="A few, the newest first.")


class MirrorEndpoint(Shape):
    """One endpoint."""

    endpoint: str
    compared: int
    asked_twice: int
    mismatches: int = Field(description="Places that really differ.")
    noise: int = Field(description="Places that differ, but no more than legacy from itself.")


class MirrorFindings(MirrorState):
    """What copies of live requests have shown since the `mirror` section of the configuration changed last."""

    off_because: str | None = Field(description="Why nothing is copied now, a sentence; null while something is.")
    since: str | None = Field(description="UTC, ISO 8601; null while nothing was mirrored.", json_schema_extra=_TIME)
    verdict: Literal["match", "mismatch", "no_data"] = Field(
        description="Of all of it. `no_data`: nothing was compared yet. `mismatch` also when differences were not kept."
    )
    outcomes: dict[str, int] = Field(
        description="Requests that were chosen, by what became of them: as `splitter_mirror_total`."
    )
    compared: int
    mismatches: int = Field(description="Places that really differ, `limit` or not.")
    noise: int = Field(description="Places that differ, but no more than legacy from itself.")
    lost_comparisons: int = Field(description="Of endpoints that there was no room for.")
    lost_differences: int = Field(description="In places that there was no room for.")
    endpoints: list[MirrorEndpoint]
    places: list[MirrorPlace] = Field(description="Mismatches first, the most frequent first.")


def state_document(config: Config, snapshot: Snapshot) -> dict[str, Any]:
    """What is asked for, and whether anything is copied now."""
    mirror = config.mirror
    return {"percent": mirror.percent, "to": mirror.to, "copying": not why_off(config, snapshot)}


def why_off(config: Config, snapshot: Snapshot) -> str:
    """Why nothing is copied now; empty while something is."""
    table, mirror = snapshot.table, config.mirror
    if not mirror.percent:
        return "mirror.percent is 0"
    if not table.domain_enabled:
        return "use_domain_service is false"
    if table.rolled_back:
        return "rolled back"
    return "domain is down" if snapshot.domain_ejected else ""


def findings_document(
    config: Config, snapshot: Snapshot, tally: Tally, limit: int, endpoint: str | None = None
) -> dict[str, Any]:
    """The body of GET /api/v1/rollout/mirror; with `endpoint` the places of that one only."""
    report, rows = tally.report, list(tally.report.rows())
    mismatches = sum(not row.noise for row in rows)
    is_bad = bool(mismatches or report.lost_differences)
    shown = [row for row in rows if endpoint is None or row.endpoint == endpoint]
    return state_document(config, snapshot) | {
        "off_because": why_off(config, snapshot) or None,
        "since": when(tally.since_s) if isfinite(tally.since_s) else None,
        "verdict": "mismatch" if is_bad else "match" if report.compared else "no_data",
        "outcomes": {outcome: tally.outcomes[outcome] for outcome in MIRROR_OUTCOMES},
        "compared": report.compared,
        "mismatches": mismatches,
        "noise": len(rows) - mismatches,
        "lost_comparisons": report.lost_comparisons,
        "lost_differences": report.lost_differences,
        "endpoints": _endpoints(tally, rows),
        "places": [_place(row) for row in shown[:limit]],
    }


def _endpoints(tally: Tally, rows: list[Row]) -> list[Mapping[str, Any]]:
    """Those with mismatches first, then by name."""
    told = [
        {
            "endpoint": name,
            "compared": counts.compared,
            "asked_twice": counts.asked,
            "mismatches": sum(row.endpoint == name and not row.noise for row in rows),
            "noise": sum(row.endpoint == name and row.noise for row in rows),
        }
        for name, counts in sorted(tally.report.endpoints.items())
    ]
    return sorted(told, key=lambda each: not each["mismatches"])


def _place(row: Row) -> dict[str, Any]:
    return {
        "endpoint": row.endpoint,
        "path": row.path,
        "kind": row.kind.value,
        "verdict": "noise" if row.noise else "mismatch",
        "differed": row.differed,
        "compared": row.compared,
        "noisy": row.noisy,
        "asked_twice": row.asked,
        "last_at": when(row.last_s),
        "samples": [_sample(sample) for sample in row.samples],
    }


def _sample(sample: Sample) -> dict[str, Any]:
    return {
        "at": when(sample.at_s),
        "request": sample.request,
        "request_id": sample.request_id,
        "where": sample.where,
        "legacy": sample.control,
        "domain": sample.candidate,
    }
