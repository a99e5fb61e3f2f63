"""Rollouts of known truth, simulated, and what the judge makes of them.

Owns: how made-up traffic fails and how long it takes; the real `Jury` looks at it, with its real limits.
Must not know: which rates are good enough (the tests do), how they are printed (`tools.guardrail_table` does).
Invariants: the same seed gives the same figures; the truth of a run is never told to the jury.

A healthy hour is 1,800 looks, and thousands of hours are needed to say that false alarms are rare. So hours are first drawn
coarsely, as much of them as numpy needs to see that no window can fail; only the others are drawn out in full and given to
the jury. What is left out could not have mattered: no rule fails unless its figure itself is beyond the limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from splitter.estimates import z_of
from splitter.judged import LATENCY_BOUNDS_S, Judged, Tally
from splitter.jury import Jury
from splitter.verdict import Limits, Rule

Counts = NDArray[np.signedinteger[Any]]

WINDOW_S: Final = 60.0
EVERY_S: Final = 2.0
BAD_WINDOWS: Final = 2
BOUNDS: Final = np.array(LATENCY_BOUNDS_S)
_LOOKS: Final = int(WINDOW_S / EVERY_S)
_LIMITS: Final = Limits()


@dataclass(frozen=True)
class Burst:
    """Errors that come together: for `lasts_s` of every `every_s` a share `errors` of requests fails."""

    every_s: float
    lasts_s: float
    errors: float


@dataclass(frozen=True)
class Side:
    """The truth about one side: a share of requests that fails, and a lognormal latency."""

    errors: float = 0.01
    median_s: float = 0.05
    sigma: float = 0.8
    burst: Burst | None = None

    def errors_at(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.burst is None:
            return np.full(seconds.shape, self.errors)
        within = (seconds + self.burst.every_s / 2) % self.burst.every_s  # the first one in the middle, not at the beginning
        return np.where(within < self.burst.lasts_s, self.burst.errors, self.errors)

    def shares(self) -> NDArray[np.float64]:
        """Of requests by bucket of the latency."""
        below = np.array([0.5 * math.erfc(-math.log(bound / self.median_s) / self.sigma / math.sqrt(2)) for bound in BOUNDS])
        return np.diff(below, prepend=0.0, append=1.0).clip(0.0)


@dataclass(frozen=True)
class Truth:
    """Both sides, and requests per second on each."""

    domain: Side = field(default_factory=Side)
    legacy: Side = field(default_factory=Side)
    per_second: float = 20.0


@dataclass(frozen=True)
class Traffic:
    """One side of one run, by steps of `EVERY_S`: requests, failures, and requests by bucket of the latency."""

    requests: Counts
    failures: Counts
    latency: Counts


@dataclass(frozen=True)
class Ending:
    """When the jury wanted something done, and by which rule; None: never."""

    after_s: float | None
    rule: Rule | None


def draw(side: Side, per_second: float, steps: int, rng: np.random.Generator) -> Traffic:
    """So many steps of one side."""
    requests = rng.poisson(per_second * EVERY_S, steps)
    failures = rng.binomial(requests, side.errors_at(np.arange(steps, dtype=np.float64) * EVERY_S))
    return Traffic(requests, failures, rng.multinomial(requests, side.shares()))


def joined(first: Traffic, then: Traffic) -> Traffic:
    return Traffic(*(np.concatenate([getattr(first, name), getattr(then, name)]) for name in Traffic.__dataclass_fields__))


def run(domain: Traffic, legacy: Traffic, limits: Limits, *, looks_from: int = 0, bad_windows: int = BAD_WINDOWS) -> Ending:
    """Give it to a jury, look by look, until it wants something done. Time counts from step `looks_from`."""
    totals = Judged()
    sides = []
    for window, traffic in ((totals.domain, domain), (totals.legacy, legacy)):
        tally = window["default"] = Tally()
        latency = traffic.latency.cumsum(axis=0)
        sides.append((tally, traffic.requests.cumsum().tolist(), traffic.failures.cumsum().tolist(), latency))
    jury = Jury(WINDOW_S, bad_windows, 0.0, totals, limits)
    for step in range(len(domain.requests)):
        for tally, requests, failures, latency in sides:
            tally.requests = requests[step]
            tally.failures = {"5xx": failures[step]}
            tally.errors = failures[step]
            tally.latency = latency[step].tolist()
        blamed = jury.look((step + 1) * EVERY_S, totals).blamed
        if blamed is not None:
            return Ending((step + 1 - looks_from) * EVERY_S, blamed.rule)
    return Ending(None, None)


# --- a domain that turns bad ------------------------------------------------------------------------------------------

CAUGHT_WITHIN: Final = 3
"""Windows in which a domain that turned bad is to be caught."""


@dataclass(frozen=True)
class Onsets:
    """Endings of runs in which domain turned from healthy to its truth; times count from then."""

    endings: list[Ending]

    def caught(self, within_windows: float = CAUGHT_WITHIN) -> float:
        """The share of runs in which something was done by then, and not before it was time."""
        until_s = within_windows * WINDOW_S
        return sum(ending.after_s is not None and 0 < ending.after_s <= until_s for ending in self.endings) / len(
            self.endings
        )

    def after_s(self, quantile: float) -> float:
        """By when that share of the runs was caught."""
        times = sorted(math.inf if ending.after_s is None else ending.after_s for ending in self.endings)
        return times[min(len(times) - 1, int(quantile * len(times)))]


def onsets(truth: Truth, runs: int, seed: int, lasts_s: float = CAUGHT_WITHIN * WINDOW_S) -> Onsets:
    """Runs of a domain that is healthy for a window, and then as `truth` says for so long."""
    rng = np.random.default_rng(seed)
    healthy, steps = Side(), int(lasts_s / EVERY_S)
    endings = []
    for _ in range(runs):
        domain, legacy = (
            joined(draw(healthy, truth.per_second, _LOOKS, rng), draw(side, truth.per_second, steps, rng))
            for side in (truth.domain, truth.legacy)
        )
        endings.append(run(domain, legacy, _LIMITS, looks_from=_LOOKS))
    return Onsets(endings)


# --- a domain that is well, hour after hour ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Hours:
    """False alarms in so many simulated hours; in how many of these a window was bad."""

    hours: int
    alarms: list[Ending]
    with_bad_window: int

    @property
    def at_most_per_1000(self) -> float:
        """With 95 % confidence there are no more per 1,000 hours (exact for Poisson; none at all is the rule of three)."""
        return 1000.0 * _poisson_upper(len(self.alarms), 0.95) / self.hours


def _poisson_upper(count: int, confidence: float) -> float:
    """The mean with which so few events, or fewer, have a chance of 1 - confidence."""
    low, high = 0.0, 10.0 * (count + 1)
    for _ in range(60):
        mean = (low + high) / 2
        chance = math.exp(-mean) * sum(mean**k / math.factorial(k) for k in range(count + 1))
        low, high = (mean, high) if chance > 1 - confidence else (low, mean)
    return high


def well(truth: Truth, hours: int, seed: int) -> Hours:
    """Hours of a domain of which nothing should be wanted, each begun anew: as after a change of the percent."""
    rng = np.random.default_rng(seed)
    alarms: list[Ending] = []
    bad = 0
    batch = 100
    for begun in range(0, hours, batch):
        coarse = Coarse(truth, min(batch, hours - begun), rng)
        for hour in np.flatnonzero(coarse.may_fail()).tolist():
            domain, legacy = coarse.in_full(coarse.domain, hour), coarse.in_full(coarse.legacy, hour)
            if coarse.errors_may_fail[hour] or latency_may_fail(domain, legacy):
                bad += 1
                ending = run(domain, legacy, _LIMITS)
                if ending.after_s is not None:
                    alarms.append(ending)
    return Hours(hours, alarms, bad)


def thin(truth: Truth, hours: int, seed: int) -> Hours:
    """The same for traffic so thin that windows reach further back: every hour in full, looked at every 2 s."""
    rng = np.random.default_rng(seed)
    steps = int(3600 / EVERY_S)
    endings = [
        run(draw(truth.domain, truth.per_second, steps, rng), draw(truth.legacy, truth.per_second, steps, rng), _LIMITS)
        for _ in range(hours)
    ]
    return Hours(hours, [ending for ending in endings if ending.after_s is not None], hours)


_APART: Final = 3
"""Buckets by which two values may be apart and still be less than 1.5 times as much: from end to end they are one more
apart at most, and 2 ** (4 / 8) is 1.41."""


def p95_buckets(latency: Counts) -> Counts:
    """The bucket, or cell, of the 95th percentile in the window up to each look; (hour, step, bucket) -> (hour, step)."""
    below = windows(latency).cumsum(axis=2, dtype=np.int32)
    result: Counts = (below < 0.95 * below[:, :, -1:]).sum(axis=2)
    return result


def latency_may_fail(domain: Traffic, legacy: Traffic) -> bool:
    """Whether in any window of an hour the ratio of the 95th percentiles is surely over its limit."""
    z, one, other = z_of(_LIMITS.confidence), P95(domain), P95(legacy)
    value, low = np.log(one.at(0.0)) - np.log(other.at(0.0)), np.log(one.at(-z))
    down, up = np.log(one.at(0.0)) - low, np.log(other.at(z)) - np.log(other.at(0.0))
    sure = np.exp(value - np.hypot(down, up)) > (_LIMITS.latency_p95_ratio_max or math.inf)
    return bool((sure & one.enough & other.enough).any())


class P95:
    """`splitter.estimates.quantile` for the window up to every look of an hour."""

    def __init__(self, side: Traffic) -> None:
        self._below = windows(side.latency[np.newaxis])[0].cumsum(axis=1).astype(np.float64)
        self._size = np.maximum(self._below[:, -1], 1.0)
        self.enough = self._below[:, -1] >= _LIMITS.latency_min_requests

    def at(self, z: float) -> NDArray[np.float64]:
        """The value `z` standard deviations of its rank away from the percentile."""
        of = 0.95 + z * np.sqrt(0.95 * 0.05 / self._size) + (z > 0) / self._size
        rank = (np.clip(of, 1e-9, 1.0) * self._below[:, -1])[:, np.newaxis]
        index = (self._below < rank).sum(axis=1)
        edges = np.concatenate([[BOUNDS[0] / 2], BOUNDS, [2 * BOUNDS[-1]]])
        until = np.take_along_axis(self._below, index[:, np.newaxis], 1)[:, 0]
        before = np.where(index > 0, np.take_along_axis(self._below, np.maximum(index - 1, 0)[:, np.newaxis], 1)[:, 0], 0.0)
        inside = np.where(until > before, until - before, 1.0)
        result: NDArray[np.float64] = edges[index] + (edges[index + 1] - edges[index]) * (rank[:, 0] - before) / inside
        return result


@dataclass(frozen=True)
class _Drawn:
    """One side of many hours: (hour, step), and for the latency (hour, step, cell)."""

    side: Side
    requests: Counts
    failures: Counts
    cells: Counts


class Coarse:
    """Hours in which latencies are told apart only near the 95th percentile of legacy's truth."""

    _REACH: Final = 6

    def __init__(self, truth: Truth, hours: int, rng: np.random.Generator) -> None:
        self._steps = int(3600 / EVERY_S)
        self._rng = rng
        p95 = int(np.searchsorted(truth.legacy.shares().cumsum(), 0.95))
        self._edges = [0, *range(p95 - self._REACH, p95 + self._REACH + 1), len(BOUNDS) + 1]
        self.domain = self._draw(truth.domain, truth.per_second, hours)
        self.legacy = self._draw(truth.legacy, truth.per_second, hours)

    def _draw(self, side: Side, per_second: float, hours: int) -> _Drawn:
        # Parts of a Poisson stream are Poisson streams of their own, and so is the whole.
        shares = np.add.reduceat(side.shares(), self._edges[:-1])
        cells = self._rng.poisson(per_second * EVERY_S * shares, (hours, self._steps, len(shares)))
        requests = cells.sum(axis=2)
        seconds = np.arange(self._steps, dtype=np.float64) * EVERY_S
        return _Drawn(side, requests, self._rng.binomial(requests, side.errors_at(seconds)), cells)

    def may_fail(self) -> NDArray[np.bool_]:
        """By hour, whether any window could have failed: a share surely over its limit, a step without a success, or
        percentiles far apart or out of reach. `errors_may_fail` are those of the first two."""
        limits, domain = _LIMITS, self.domain
        limit = min(limits.error_rate_max or 1.0, 1 - (limits.success_rate_min or 0.0))
        failures, requests = windows(domain.failures), windows(domain.requests)
        too_many = (wilson_low(failures, requests, z_of(limits.confidence)) > limit) & (requests >= limits.min_requests)
        in_a_row = (domain.failures == domain.requests) & (domain.requests > 0)
        self.errors_may_fail = (too_many | in_a_row).any(axis=1)
        slow, fast = p95_buckets(domain.cells), p95_buckets(self.legacy.cells)
        last = len(self._edges) - 2
        apart = (slow - fast > _APART) | (slow == last) | (fast == 0)
        result: NDArray[np.bool_] = self.errors_may_fail | (apart & (requests >= limits.latency_min_requests)).any(axis=1)
        return result

    def in_full(self, drawn: _Drawn, hour: int) -> Traffic:
        """One hour with a bucket for every request: each cell's requests spread over the buckets in it."""
        shares = drawn.side.shares()
        latency = np.zeros((self._steps, len(shares)), np.int64)
        for cell, (start, end) in enumerate(pairwise(self._edges)):
            within = shares[start:end] / shares[start:end].sum()
            latency[:, start:end] = self._rng.multinomial(drawn.cells[hour, :, cell], within)
        return Traffic(drawn.requests[hour], drawn.failures[hour], latency)


def windows(counts: Counts) -> Counts:
    """Sums over the last window at every look, along the second axis; shorter ones at the beginning."""
    total = counts.cumsum(axis=1, dtype=np.int32)
    result: Counts = total.copy()
    result[:, _LOOKS:] -= total[:, :-_LOOKS]
    return result


def wilson_low(counts: Counts, of: Counts, z: float) -> NDArray[np.float64]:
    """The lower end of `splitter.estimates.share`, for many at once."""
    total = np.maximum(of, 1)
    value, squared = counts / total, z * z
    spread = z * np.sqrt(value * (1 - value) / total + squared / (4.0 * total * total))
    result: NDArray[np.float64] = (value + squared / (2 * total) - spread) / (1 + squared / total)
    return result
