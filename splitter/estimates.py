"""How sure a figure is: intervals for shares, for differences of shares, for quantiles of a histogram and their ratios.

Owns: the formulas. Must not know: what is estimated, limits, verdicts.
Invariants: an interval holds its estimate; more data of the same make narrows it; nothing is random and nothing is assumed
of how latencies are distributed. `z` is the confidence in standard deviations (`z_of`), and holds for each end alone.

The formulas, and why these: docs/guardrails.md.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from statistics import NormalDist
from typing import NamedTuple


class Interval(NamedTuple):
    """An estimate and what it may well be: the truth is below `low` with a chance of 1 - confidence, above `high` too."""

    value: float
    low: float
    high: float


@lru_cache(maxsize=64)
def z_of(confidence: float) -> float:
    """Standard deviations for a one-sided confidence from 0.5 (none) to below 1: 1.645 for 0.95."""
    return NormalDist().inv_cdf(confidence)


def share(count: float, total: float, z: float) -> Interval:
    """`count` of `total`, with Wilson's score interval. `total` is above 0; both may be weighted sums."""
    value, squared = min(1.0, count / total), z * z
    middle = value + squared / (2 * total)
    spread = z * math.sqrt(value * (1 - value) / total + squared / (4 * total * total))
    scale = 1 + squared / total
    # The ends can miss the estimate by rounding when it is 0 or 1.
    return Interval(value, max(0.0, min(value, (middle - spread) / scale)), min(1.0, max(value, (middle + spread) / scale)))


def difference(one: Interval, other: Interval) -> Interval:
    """`one` minus `other`, of independent data: Newcombe's hybrid score method (the ends of each make those of both)."""
    value = one.value - other.value
    low = value - math.hypot(one.value - one.low, other.high - other.value)
    high = value + math.hypot(one.high - one.value, other.value - other.low)
    return Interval(value, low, high)


def ratio(one: Interval, other: Interval) -> Interval:
    """`one` over `other`, both above 0: their difference on the scale of logarithms."""
    logs = (Interval(*map(math.log, side)) for side in (one, other))
    return Interval(*map(math.exp, difference(*logs)))


def quantile(counts: Sequence[float], bounds: Sequence[float], of: float, size: float, z: float) -> Interval:
    """The value below which the share `of` lies, from a histogram that has something in it.

    `counts` has one more than `bounds`: what is above every bound. `size` is how many independent values the histogram is
    worth; less than their sum where they are weighted.

    The number of values below the true quantile is binomial whatever they are distributed like, so the ends are order
    statistics: the values `z` standard deviations of that number away in rank.
    """
    below = list(accumulate(counts))
    spread = z * math.sqrt(of * (1 - of) / size)
    return Interval(
        _at_rank(below, bounds, of), _at_rank(below, bounds, of - spread), _at_rank(below, bounds, of + spread + 1 / size)
    )


def _at_rank(below: Sequence[float], bounds: Sequence[float], of: float) -> float:
    """The value at a share of the ranks, buckets taken as evenly filled. The first goes from half its bound, the open one
    to twice the last: both are positive and finite, so that ratios exist."""
    rank = min(max(of, 1e-9), 1.0) * below[-1]
    index = bisect_left(below, rank)
    before = below[index - 1] if index else 0.0
    start = bounds[index - 1] if index else bounds[0] / 2
    end = bounds[index] if index < len(bounds) else 2 * bounds[-1]
    return start + (end - start) * (rank - before) / (below[index] - before)
