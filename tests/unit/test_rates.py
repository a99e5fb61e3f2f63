"""Rates and quantiles between two readings of the totals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitter.rates import SideRates, incidents, latencies, quantile, rates
from splitter.stats import BOUNDS_S, Histogram, Stats


def totals(*requests: tuple[str, str, int, float]) -> Stats:
    stats = Stats()
    for backend, reason, status, duration_s in requests:
        stats.record(backend, reason, "default", b"GET", status, duration_s)
    return stats


def test_both_sides_between_two_readings() -> None:
    before = totals(("legacy", "bucket", 200, 0.004))
    after = totals(
        *[("legacy", "bucket", 200, 0.004)] * 11,
        *[("domain", "bucket", 200, 0.0015)] * 3,
        ("domain", "bucket", 500, 0.0015),
        ("legacy", "fallback", 200, 0.004),
    )
    after.fail("domain", "5xx")
    after.fail("domain", "timeout")
    after.fall_back("timeout", "rescued")
    found = rates(before, after, 2.0)
    domain = found["domain"]
    assert (domain.requests_per_s, domain.error_rate) == (2.0, 2 / 5)
    assert (domain.p50_s, domain.p95_s, domain.p99_s) == pytest.approx((0.0015, 0.00195, 0.00199))
    assert (found["legacy"].requests_per_s, found["legacy"].error_rate) == (5.5, 0.0)


def test_latencies_and_incidents_between_two_readings() -> None:
    before = totals(("legacy", "bucket", 200, 0.004), ("domain", "bucket", 200, 9000.0))
    after = totals(*[("legacy", "bucket", 200, 0.004)] * 3, *[("domain", "bucket", 200, 9000.0)] * 2)
    for stats in (before, after, after, after):
        stats.fall_back("timeout", "rescued")
        stats.fall_back("timeout", "refused")
        stats.mirror("mismatch")
        stats.mirror("match")
    found = latencies(before, after)
    assert found["legacy"] == [2 if bound == 0.005 else 0 for bound in BOUNDS_S] + [0]
    assert found["domain"] == [0] * len(BOUNDS_S) + [1]
    assert incidents(before, after) == {"fallbacks": 2, "mirror_mismatches": 2}


def test_nothing_happened() -> None:
    stats = totals(("legacy", "bucket", 200, 0.004))
    assert rates(stats, stats, 1.0)["legacy"] == SideRates(0.0, None, None, None, None)


def test_more_failures_than_requests_is_all_of_them() -> None:
    """A request that was tried twice fails twice, and is one request."""
    after = totals(("domain", "bucket", 502, 0.1))
    after.fail("domain", "connect")
    after.fail("domain", "connect")
    assert rates(Stats(), after, 1.0)["domain"].error_rate == 1.0


def test_quantiles() -> None:
    assert quantile([0] * (len(BOUNDS_S) + 1), 0.5) is None
    slow = [0] * len(BOUNDS_S) + [7]
    assert quantile(slow, 0.5) == BOUNDS_S[-1]


@given(st.lists(st.floats(0.0001, 29.9), min_size=1, max_size=60), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_in_the_bucket_of_the_true_one(durations_s: list[float], share: float) -> None:
    histogram = Histogram()
    for duration_s in durations_s:
        histogram.observe(duration_s)
    found = quantile(histogram.counts, share)
    assert found is not None
    rank = max(1, -int(-share * len(durations_s) // 1))
    true_s = sorted(durations_s)[rank - 1]
    index = next(index for index, bound in enumerate(BOUNDS_S) if true_s <= bound)
    assert (BOUNDS_S[index - 1] if index else 0) <= found <= BOUNDS_S[index] * (1 + 1e-9)
