"""What happened between two readings of the totals: rates and latencies of each side.

Owns: that arithmetic. Must not know: clocks, who asks, what follows from a number. Pure.
Invariants: a number that can't be known is None, never 0; a side's error rate counts what that backend failed, whether or
not the client noticed, and is at most 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from splitter.stats import BOUNDS_S, Stats

SIDES: Final = ("legacy", "domain")


@dataclass(frozen=True, slots=True)
class SideRates:
    """One backend in one interval. `requests_per_s`: what it answered; `error_rate`: of what it was asked."""

    requests_per_s: float
    error_rate: float | None
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None


def rates(before: Stats, after: Stats, interval_s: float) -> dict[str, SideRates]:
    """Each side between two readings that are `interval_s` apart."""
    return {side: _side(before, after, side, interval_s) for side in SIDES}


def latencies(before: Stats, after: Stats) -> dict[str, list[int]]:
    """How many of each side's requests took how long: a count for each of `BOUNDS_S`, and one for what is above them."""
    return {
        side: [new - old for old, new in zip(_counts(before, side), _counts(after, side), strict=True)] for side in SIDES
    }


def incidents(before: Stats, after: Stats) -> dict[str, int]:
    """What else happened: requests that legacy answered for domain, and mirrored answers that were not alike."""
    mismatch = ("mismatch",)
    return {
        "fallbacks": _passed_on(after) - _passed_on(before),
        "mirror_mismatches": after.mirrored.get(mismatch, 0) - before.mirrored.get(mismatch, 0),
    }


def _side(before: Stats, after: Stats, side: str, interval_s: float) -> SideRates:
    counts = latencies(before, after)[side]
    answered = _answered(after, side) - _answered(before, side)
    failed = _failed(after, side) - _failed(before, side)
    asked = answered + (_passed_on(after) - _passed_on(before) if side == "domain" else 0)
    return SideRates(
        requests_per_s=answered / interval_s,
        error_rate=min(1.0, failed / asked) if asked > 0 else None,
        p50_s=quantile(counts, 0.50),
        p95_s=quantile(counts, 0.95),
        p99_s=quantile(counts, 0.99),
    )


def _answered(stats: Stats, side: str) -> int:
    return sum(count for (backend, *_), count in stats.requests.items() if backend == side)


def _failed(stats: Stats, side: str) -> int:
    return sum(count for (backend, _), count in stats.failures.items() if backend == side)


def _passed_on(stats: Stats) -> int:
    """Requests that domain was asked and legacy answered: they are counted as legacy's."""
    return sum(count for (_, outcome), count in stats.fallbacks.items() if outcome != "refused")


def _counts(stats: Stats, side: str) -> list[int]:
    total = [0] * (len(BOUNDS_S) + 1)
    for (backend, _), histogram in stats.durations.items():
        if backend == side:
            total = [mine + more for mine, more in zip(total, histogram.counts, strict=True)]
    return total


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The duration in seconds that `share` of them don't exceed, linear within a bucket as in Prometheus.

    None without any; the last bound for what is above every bound, since more is not known.
    """
    total = sum(counts)
    if total <= 0:
        return None
    rank, below = share * total, 0
    for index, count in enumerate(counts[:-1]):
        if count and below + count >= rank:
            lower_s = BOUNDS_S[index - 1] if index else 0.0
            return lower_s + (BOUNDS_S[index] - lower_s) * (rank - below) / count
        below += count
    return BOUNDS_S[-1]
