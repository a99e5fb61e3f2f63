"""Thousands of rollouts of known truth: how often a good one is rolled back, how soon a bad one is.

The long version of this, with the same code, makes the table of docs/guardrails.md: `python -m tools.guardrail_table`.
"""

from __future__ import annotations

import numpy as np
import pytest

from splitter.estimates import quantile, share, z_of
from splitter.judged import LATENCY_BOUNDS_S
from splitter.verdict import Limits, Rule
from tools.guardrail_sim import (
    P95,
    Burst,
    Coarse,
    Side,
    Truth,
    draw,
    latency_may_fail,
    onsets,
    run,
    thin,
    well,
    wilson_low,
    windows,
)

pytestmark = pytest.mark.timeout(400)

SLOW = Side(median_s=0.1)


class TestGood:
    """Without an alarm, 2,996 hours are needed to say with 95 % confidence that there is less than one in 1,000."""

    def test_three_percent_of_errors_under_a_limit_of_five(self) -> None:
        found = well(Truth(Side(errors=0.03)), 3100, seed=1)
        assert found.alarms == []
        assert found.at_most_per_1000 < 1.0

    @pytest.mark.parametrize(
        ("domain", "hours"),
        [
            (Side(), 300),
            (Side(median_s=0.06), 60),
            (Side(errors=0.005, burst=Burst(every_s=600, lasts_s=2, errors=0.5)), 300),
        ],
        ids=["like legacy", "a fifth slower", "bursts"],
    )
    def test_others(self, domain: Side, hours: int) -> None:
        assert well(Truth(domain), hours, seed=2).alarms == []

    def test_thin_traffic(self) -> None:
        assert thin(Truth(Side(errors=0.01), per_second=0.5), 8, seed=3).alarms == []

    def test_almost_no_traffic_and_all_of_it_failing_now_and_then(self) -> None:
        assert thin(Truth(Side(errors=0.3), per_second=0.02), 8, seed=4).alarms == []


class TestBad:
    """Something is done within three windows; a good many runs for what is promised, some for the rest."""

    def test_ten_percent_of_errors(self) -> None:
        found = onsets(Truth(Side(errors=0.10)), 400, seed=5)
        # With 400 of 400 caught, the truth is above 99 % with a confidence of 98 %.
        assert found.caught() == 1.0
        assert {ending.rule for ending in found.endings} <= {Rule.ERROR_RATE, Rule.SUCCESS_RATE}

    def test_with_a_fifth_of_the_traffic(self) -> None:
        assert onsets(Truth(Side(errors=0.10), per_second=4.0), 60, seed=6).caught() >= 0.95

    def test_half_of_the_requests_failing_takes_half_a_window(self) -> None:
        assert onsets(Truth(Side(errors=0.5)), 60, seed=7).caught(0.5) == 1.0

    def test_twice_as_slow(self) -> None:
        found = onsets(Truth(SLOW), 60, seed=8)
        assert found.caught() == 1.0
        assert {ending.rule for ending in found.endings} == {Rule.LATENCY_P95_RATIO}

    def test_six_percent_takes_longer(self) -> None:
        found = onsets(Truth(Side(errors=0.06)), 40, seed=9, lasts_s=1200)
        assert found.caught(20) == 1.0

    def test_everything_failing_takes_no_window(self) -> None:
        found = onsets(Truth(Side(errors=1.0)), 20, seed=10)
        assert {(ending.after_s, ending.rule) for ending in found.endings} == {(2.0, Rule.CONSECUTIVE_FAILURES)}


class TestBothSick:
    @pytest.mark.parametrize("errors", [0.1, 1.0])
    def test_domain_is_not_blamed(self, errors: float) -> None:
        found = onsets(Truth(Side(errors=errors), Side(errors=errors)), 40, seed=11, lasts_s=300)
        assert [ending.after_s for ending in found.endings] == [None] * 40

    def test_nor_for_being_as_slow(self) -> None:
        found = onsets(Truth(SLOW, SLOW), 20, seed=12, lasts_s=300)
        assert [ending.after_s for ending in found.endings] == [None] * 20

    def test_but_for_being_worse(self) -> None:
        assert onsets(Truth(Side(errors=0.3), Side(errors=0.1)), 20, seed=13).caught() == 1.0


class TestShortCuts:
    """What lets the simulation leave hours out: numpy says the same as the judge does."""

    def test_shares(self) -> None:
        z = z_of(0.95)
        counts, of = np.array([0, 5, 9, 60, 100]), np.array([100, 100, 100, 1200, 100])
        expected = [share(count, total, z).low for count, total in zip(counts.tolist(), of.tolist(), strict=True)]
        assert wilson_low(counts, of, z).clip(0).tolist() == pytest.approx(expected)

    def test_percentiles(self) -> None:
        traffic = draw(Side(), 20.0, 100, np.random.default_rng(14))
        z = z_of(0.95)
        fast, at = P95(traffic), windows(traffic.latency[np.newaxis])[0]
        for look in range(20, 100, 7):
            counts = at[look].tolist()
            slow = quantile(counts, LATENCY_BOUNDS_S, 0.95, sum(counts), z)
            assert [fast.at(where)[look] for where in (0.0, -z, z)] == pytest.approx(list(slow))

    @pytest.mark.parametrize("domain", [Side(errors=0.045), Side(median_s=0.068), Side(median_s=0.09)])
    def test_what_is_left_out_would_not_have_mattered(self, domain: Side) -> None:
        truth = Truth(domain)
        coarse = Coarse(truth, 6, np.random.default_rng(15))
        may_fail = coarse.may_fail()
        one_is_enough = Limits(error_rate_margin=None)
        for hour in range(6):
            sides = coarse.in_full(coarse.domain, hour), coarse.in_full(coarse.legacy, hour)
            flagged = bool(coarse.errors_may_fail[hour] or (may_fail[hour] and latency_may_fail(*sides)))
            alarm = run(*sides, one_is_enough, bad_windows=1)
            assert flagged or alarm.after_s is None

    def test_a_coarse_hour_drawn_out_is_the_same_hour(self) -> None:
        coarse = Coarse(Truth(), 2, np.random.default_rng(16))
        full = coarse.in_full(coarse.domain, 1)
        assert (full.latency.sum(axis=1) == full.requests).all()
        assert full.requests.mean() == pytest.approx(40.0, rel=0.02)
        assert full.latency.sum(axis=0) / full.requests.sum() == pytest.approx(Side().shares(), abs=0.005)


def test_the_same_seed_gives_the_same_figures() -> None:
    truth = Truth(Side(errors=0.2))
    assert onsets(truth, 3, seed=17) == onsets(truth, 3, seed=17)
    assert onsets(truth, 3, seed=17) != onsets(truth, 3, seed=18)
