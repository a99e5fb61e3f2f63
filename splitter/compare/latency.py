"""How much slower or faster candidate is, and how sure that is.

Owns: the estimate, its interval, the sentence about it. Must not know: how times were measured.
Invariant: nothing is assumed about how times are spread: the interval is that of the sign test, which holds for any.

Times come in pairs, one of each side for the same request, measured one right after the other in an order that alternates:
what slows the machine down for a moment slows both, and cancels out in their ratio.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

CONFIDENCE: Final = 0.95
PAIRS_MIN: Final = 6
"""With fewer, not even all pairs pointing one way are 95 % sure: 2 * 0.5 ** 5 is 6 %."""

_ALIKE: Final = 1.05

Pair = tuple[float, float]
"""Seconds of control and of candidate for one request."""


@dataclass(frozen=True, slots=True)
class Latency:
    """What pairs of times say. `ratio`: the median of candidate / control; `low` to `high` holds the true one with 95 %.

    Without enough pairs for that, `low` and `high` are None.
    """

    pairs: int
    control_s: float
    candidate_s: float
    ratio: float
    low: float | None = None
    high: float | None = None

    def words(self, control: str = "control", candidate: str = "candidate") -> str:
        """The finding in a sentence."""
        if self.low is None or self.high is None:
            return f"{self.pairs} pairs are too few to tell whether {candidate} is slower than {control}"
        sure = f"95 % sure: {self.low:.2f} to {self.high:.2f} times"
        if self.low >= 1 / _ALIKE and self.high <= _ALIKE:
            return f"{candidate} and {control} take the same time ({sure})"
        if self.low > 1:
            return f"{candidate} takes {self.ratio:.2f} times as long as {control} ({sure})"
        if self.high < 1:
            return f"{candidate} is faster: it takes {self.ratio:.2f} times as long as {control} ({sure})"
        return f"no difference between {candidate} and {control} can be told from {self.pairs} pairs ({sure})"

    def to_json(self) -> dict[str, Any]:
        """As plain values, times in milliseconds."""
        return {
            "pairs": self.pairs,
            "control_median_ms": round(self.control_s * 1000, 3),
            "candidate_median_ms": round(self.candidate_s * 1000, 3),
            "ratio": round(self.ratio, 4),
            "ratio_low": None if self.low is None else round(self.low, 4),
            "ratio_high": None if self.high is None else round(self.high, 4),
            "confidence": CONFIDENCE,
        }


def judge(pairs: Sequence[Pair]) -> Latency | None:
    """What the pairs say; None without any. Times are positive."""
    if not pairs:
        return None
    ratios = sorted(candidate / control for control, candidate in pairs)
    control_s, candidate_s = (median(times) for times in zip(*pairs, strict=True))
    rank = _rank(len(ratios))
    if rank < 1:
        return Latency(len(pairs), control_s, candidate_s, median(ratios))
    return Latency(len(pairs), control_s, candidate_s, median(ratios), ratios[rank - 1], ratios[-rank])


def _rank(count: int) -> int:
    """The rank r for which the r-th smallest to the r-th largest of `count` values hold their median with CONFIDENCE.

    The number of values below the true median is binomial(count, 1/2), whatever the values are.
    """
    outside = (1 - CONFIDENCE) / 2
    if count > 1000:
        return math.floor(count / 2 - 1.959964 * math.sqrt(count) / 2)
    total, rank = 0.0, 0
    while True:
        total += math.comb(count, rank) / 2**count
        if total > outside:
            return rank
        rank += 1
