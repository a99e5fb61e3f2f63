"""Is domain good enough? One window of both sides, the same traffic at the same time, against limits.

Owns: the rules, when each passes, fails or can't tell, and the sentence each says it in.
Must not know: clocks, how windows follow one another (`splitter.jury`), what is done about a verdict.
Invariants:
- a rule fails only when chance does not explain that its limit is passed (`Limits.confidence`), and passes only when the
  figure itself keeps the limit; in between, and below the minimum volume, it is NO_DATA, which is neither;
- no data is never a failure, and silence is never a success;
- domain is blamed for no more than legacy does as well (`error_rate_margin`);
- sides are compared route by route, legacy weighted as domain's traffic is made up, so that a route with a percent of its
  own can't make one side look bad.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from splitter.estimates import Interval, difference, quantile, ratio, share, z_of
from splitter.judged import LATENCY_BOUNDS_S, Tally, Window, total
from splitter.verdict import Limits, Outcome, Rule, RuleResult, Verdict

P95: Final = 0.95
_LEAST_OF_ROUTE: Final = 20
"""Requests of legacy on a route below which the route is left out of comparisons: its weight would be a guess."""
_LEGACY_IS_DOWN: Final = 3
"""Failures of legacy in a row, without one success, that say the trouble is not domain's alone."""


class Run(NamedTuple):
    """Failures in a row, up to now. `turned_away` of domain's never reached it, because it was ejected."""

    of_domain: int = 0
    turned_away: int = 0
    of_legacy: int = 0


def judge(legacy: Window, domain: Window, limits: Limits, run: Run = Run()) -> Verdict:  # noqa: B008 - immutable
    """The verdict over one window of both sides, and over the run of failures it ended with."""
    sides = _Sides(legacy, domain, limits)
    rules = (_error_rate, _success_rate, _latency, _mix_drift)
    results = (*(rule(sides) for rule in rules), in_a_row(run, limits))
    return Verdict(tuple(result for result in results if result is not None))


def in_a_row(run: Run, limits: Limits) -> RuleResult | None:
    """The rule that needs no window."""
    limit = limits.consecutive_failures
    if limit is None:
        return None
    turned = f" ({run.turned_away} of them turned away while it was ejected)" if run.turned_away else ""
    sentence = f"{run.of_domain} failures of domain in a row{turned}, limit {limit}"
    outcome = Outcome.PASS
    if run.of_domain >= limit:
        outcome = Outcome.FAIL
        if limits.error_rate_margin is not None and run.of_legacy >= _LEGACY_IS_DOWN:
            outcome, sentence = Outcome.NO_DATA, f"{sentence}, but legacy fails as well: its last {run.of_legacy} failed"
    return RuleResult(Rule.CONSECUTIVE_FAILURES, outcome, sentence, run.of_domain, run.of_domain, limit=limit)


# --- both sides, made comparable --------------------------------------------------------------------------------------


class _Weighted:
    """Legacy's figures as they would be with domain's mix of routes. `size`: how many requests they are worth."""

    def __init__(self, routes: list[tuple[Tally, float]]) -> None:
        weights = [(tally.requests * weight, tally.requests * weight * weight) for tally, weight in routes]
        self.requests = sum(weight for weight, _ in weights)
        squares = sum(square for _, square in weights)
        # Kish's effective sample size; rounded, so that equal weights leave the whole number that was there.
        self.size = round(self.requests * self.requests / squares, 6) if squares else 0.0
        self._routes = routes

    def sum(self, of: Callable[[Tally], int]) -> float:
        return sum(of(tally) * weight for tally, weight in self._routes)

    def latency(self) -> list[float]:
        rows = ([count * weight for count in tally.latency] for tally, weight in self._routes)
        return list(map(sum, zip(*rows, strict=True)))


class _Sides:
    """One window, prepared: all of domain, and the part of both that can be compared."""

    def __init__(self, legacy: Window, domain: Window, limits: Limits) -> None:
        self.limits = limits
        self.z = z_of(limits.confidence)
        self.domain = total(domain)
        shared = [
            route for route, tally in domain.items()
            if route in legacy and tally.requests and legacy[route].requests >= _LEAST_OF_ROUTE
        ]  # fmt: skip
        self.like = total({route: domain[route] for route in shared})
        self.legacy = _Weighted([(legacy[route], domain[route].requests / legacy[route].requests) for route in shared])
        self.legacy_is_silent = not any(tally.requests for tally in legacy.values())

    def comparable(self, least: int) -> bool:
        return self.like.requests >= least and self.legacy.size >= least

    def of_domain(self, of: Callable[[Tally], int], tally: Tally | None = None) -> Interval:
        side = tally or self.domain
        return share(of(side), side.requests, self.z)

    def of_legacy(self, of: Callable[[Tally], int]) -> Interval:
        """Counts scaled to the size that the weights leave, so that the interval is as wide as it must be."""
        return share(self.legacy.sum(of) * self.legacy.size / self.legacy.requests, self.legacy.size, self.z)

    def too_few(self, rule: Rule, least: int, limit: float | None) -> RuleResult | None:
        """NO_DATA while domain has had too few requests."""
        had = self.domain.requests
        if had >= least:
            return None
        sentence = f"{_NAMES[rule]}: domain had {_requests(had)}, {least} are needed"
        return RuleResult(rule, Outcome.NO_DATA, sentence, had, limit=limit)


# --- the rules --------------------------------------------------------------------------------------------------------

_NAMES: Final = {
    Rule.ERROR_RATE: "error rate",
    Rule.SUCCESS_RATE: "success rate",
    Rule.LATENCY_P95_RATIO: "p95 latency",
    Rule.MIX_DRIFT: "4xx share",
}


def _failed(tally: Tally) -> int:
    return tally.failed


def _errors(tally: Tally) -> int:
    return tally.errors


def _refused(tally: Tally) -> int:
    return tally.refused


def _error_rate(sides: _Sides) -> RuleResult | None:
    """What domain did wrong, whether its clients noticed or not."""
    limit = sides.limits.error_rate_max
    if limit is None:
        return None
    few = sides.too_few(Rule.ERROR_RATE, sides.limits.min_requests, limit)
    if few is not None:
        return few
    rate = sides.of_domain(_failed)
    outcome, note = _passes(sides, _failed, rate, limit)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(sides.domain.failures.items()) if count)
    sentence = f"error rate {_percent(rate.value)} of {_requests(sides.domain.requests)}, limit {_percent(limit)}{note}"
    if kinds and outcome is not Outcome.PASS:
        sentence += f" ({kinds})"
    return RuleResult(Rule.ERROR_RATE, outcome, sentence, sides.domain.requests, *rate, limit)


def _success_rate(sides: _Sides) -> RuleResult | None:
    """What domain's clients saw: a rescued request counts as a success."""
    least = sides.limits.success_rate_min
    if least is None:
        return None
    few = sides.too_few(Rule.SUCCESS_RATE, sides.limits.min_requests, least)
    if few is not None:
        return few
    rate = sides.of_domain(_errors)
    outcome, note = _passes(sides, _errors, rate, 1 - least)
    success = Interval(1 - rate.value, 1 - rate.high, 1 - rate.low)
    had = _requests(sides.domain.requests)
    sentence = f"success rate {_percent(success.value)} of {had}, limit {_percent(least)}{note}"
    return RuleResult(Rule.SUCCESS_RATE, outcome, sentence, sides.domain.requests, *success, least)


def _passes(sides: _Sides, of: Callable[[Tally], int], rate: Interval, limit: float) -> tuple[Outcome, str]:
    """Whether a share of bad requests keeps its limit, and what to add to the sentence when that is not the whole story."""
    if rate.value <= limit:
        return Outcome.PASS, ""
    margin = sides.limits.error_rate_margin
    if margin is not None and sides.comparable(sides.limits.min_requests):
        other = sides.of_legacy(of)
        more = difference(sides.of_domain(of, sides.like), other)
        if more.value <= margin:
            return Outcome.NO_DATA, f", but with legacy it would be {_percent(other.value)}"
        if more.low <= margin:
            return Outcome.NO_DATA, f", with legacy it would be {_percent(other.value)}: too few to be sure"
    if rate.low <= limit:
        return Outcome.NO_DATA, ": too few to be sure"
    return Outcome.FAIL, ""


def _latency(sides: _Sides) -> RuleResult | None:
    """How many times as long domain's slowest clients wait, the slowest twentieth left out."""
    limit, least = sides.limits.latency_p95_ratio_max, sides.limits.latency_min_requests
    if limit is None:
        return None
    few = sides.too_few(Rule.LATENCY_P95_RATIO, least, limit)
    had = sides.domain.requests
    if few is not None:
        return few
    if not sides.comparable(least):
        if sides.legacy_is_silent:
            sentence, moot = "p95 latency: nobody is on legacy to compare with", True
        else:
            sentence, moot = f"p95 latency: legacy had {_requests(int(sides.legacy.size))}, {least} are needed", False
        return RuleResult(Rule.LATENCY_P95_RATIO, Outcome.NO_DATA, sentence, had, limit=limit, moot=moot)
    one = quantile(sides.like.latency, LATENCY_BOUNDS_S, P95, sum(sides.like.latency), sides.z)
    other = quantile(sides.legacy.latency(), LATENCY_BOUNDS_S, P95, sides.legacy.size, sides.z)
    times = ratio(one, other)
    sentence = (
        f"p95 latency {_time(one.value)} of {_requests(had)}, {times.value:.2g} times legacy's {_time(other.value)}, "
        f"limit {limit:g}"
    )
    if times.value <= limit or one.value - other.value <= sides.limits.latency_margin_s:
        outcome = Outcome.PASS
    elif times.low > limit:
        outcome = Outcome.FAIL
    else:
        outcome, sentence = Outcome.NO_DATA, f"{sentence}: too few to be sure"
    return RuleResult(Rule.LATENCY_P95_RATIO, outcome, sentence, had, *times, limit)


def _mix_drift(sides: _Sides) -> RuleResult:
    """Whether domain refuses what legacy does not, or the other way round."""
    limit, had = sides.limits.mix_drift_max, sides.domain.requests
    if not sides.comparable(sides.limits.min_requests):
        sentence = f"4xx share: too few requests on both sides to compare, {sides.limits.min_requests} are needed"
        moot = limit is None or sides.legacy_is_silent
        return RuleResult(Rule.MIX_DRIFT, Outcome.NO_DATA, sentence, had, limit=limit, moot=moot)
    one, other = sides.of_domain(_refused, sides.like), sides.of_legacy(_refused)
    moved = difference(one, other)
    sentence = f"4xx share {_percent(one.value)} of {_requests(had)}, legacy's {_percent(other.value)}"
    sure = max(moved.low, -moved.high, 0.0)
    if limit is None:
        outcome, sentence = Outcome.PASS, f"{sentence}, only reported"
    elif abs(moved.value) <= limit:
        outcome, sentence = Outcome.PASS, f"{sentence}, limit {_percent(limit)} apart"
    elif sure > limit:
        outcome, sentence = Outcome.FAIL, f"{sentence}, limit {_percent(limit)} apart"
    else:
        outcome, sentence = Outcome.NO_DATA, f"{sentence}, limit {_percent(limit)} apart: too few to be sure"
    return RuleResult(Rule.MIX_DRIFT, outcome, sentence, had, *moved, limit)


# --- numbers as people read them --------------------------------------------------------------------------------------


def _percent(value: float) -> str:
    """Two digits that say something: 0.052 is `5.2 %`, 0.12 `12 %`, 0.0004 `0.04 %`; near 1 the part that is missing."""
    part = min(value, 1 - value) * 100
    decimals = 0 if part >= 9.95 or part == 0 else 1 if part >= 0.95 else 2
    text = f"{value * 100:.{decimals}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def _requests(count: int) -> str:
    return f"{count} request{'s' if count != 1 else ''}"


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
