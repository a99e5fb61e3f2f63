"""Intervals: against figures worked out elsewhere, and against the truth they are to hold."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitter.estimates import Interval, difference, quantile, ratio, share, z_of
from splitter.judged import LATENCY_BOUNDS_S

Z95 = 1.959963984540054
"""Of a two-sided interval of 95 %, as the literature tabulates them."""


def test_z() -> None:
    assert z_of(0.5) == pytest.approx(0.0)
    assert z_of(0.95) == pytest.approx(1.6448536)
    assert z_of(0.975) == pytest.approx(Z95)


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, Statistics in Medicine 17, 857-872, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_shares_as_published(count: int, total: int, low: float, high: float) -> None:
    interval = share(count, total, Z95)
    assert interval.value == count / total
    assert list(interval[1:]) == pytest.approx([low, high], abs=5e-5)


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),  # Newcombe 1998, Statistics in Medicine 17, 873-890, table II, method 10
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_differences_as_published(one: tuple[int, int], other: tuple[int, int], low: float, high: float) -> None:
    interval = difference(share(*one, Z95), share(*other, Z95))
    assert list(interval[1:]) == pytest.approx([low, high], abs=1e-4)


@given(st.integers(1, 5000), st.floats(0, 1), st.floats(0.0, 4.0))
def test_an_interval_holds_its_estimate_and_stays_a_share(total: int, of: float, z: float) -> None:
    low, high = share(round(of * total), total, z)[1:]
    assert 0.0 <= low <= round(of * total) / total <= high <= 1.0


@given(st.integers(1, 500), st.floats(0, 1))
def test_more_of_the_same_narrows_it(total: int, of: float) -> None:
    count = round(of * total)
    few, many = share(count, total, Z95), share(10 * count, 10 * total, Z95)
    assert many.high - many.low < few.high - few.low


def test_ratios_are_differences_of_logarithms() -> None:
    one, other = Interval(4.0, 2.0, 8.0), Interval(2.0, 1.0, 4.0)
    spread = math.exp(math.hypot(math.log(2), math.log(2)))
    assert list(ratio(one, other)) == pytest.approx([2.0, 2 / spread, 2 * spread])


class TestQuantile:
    BOUNDS = (1.0, 2.0, 4.0)

    def test_within_a_bucket(self) -> None:
        assert quantile([0, 100, 100, 0], self.BOUNDS, 0.75, 200, 0.0).value == pytest.approx(3.0)
        assert quantile([0, 100, 100, 0], self.BOUNDS, 0.25, 200, 0.0).value == pytest.approx(1.5)

    def test_in_the_first_and_in_the_open_bucket(self) -> None:
        assert quantile([10, 0, 0, 0], self.BOUNDS, 0.5, 10, 0.0).value == pytest.approx(0.75)
        assert quantile([0, 0, 0, 10], self.BOUNDS, 0.5, 10, 0.0).value == pytest.approx(6.0)

    @given(st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any), st.floats(0.01, 0.99), st.floats(0, 4))
    def test_it_holds_its_estimate_and_is_positive(self, counts: list[int], of: float, z: float) -> None:
        value, low, high = quantile(counts, self.BOUNDS, of, sum(counts), z)
        assert 0 < low <= value <= high <= 8.0


def counts_of(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[int]:
    return [int(n) for n in np.bincount(np.searchsorted(LATENCY_BOUNDS_S, values), minlength=len(LATENCY_BOUNDS_S) + 1)]


class TestCoverage:
    """How often the truth is beyond one end: 5 in 100, by the confidence asked for. 2,000 trials know it to 1 in 100."""

    TRIALS = 2000

    @pytest.mark.parametrize(("truth", "total"), [(0.05, 100), (0.05, 1200), (0.01, 1200), (0.5, 100)])
    def test_of_shares(self, truth: float, total: int) -> None:
        counts = np.random.default_rng(1).binomial(total, truth, self.TRIALS)
        missed = sum(share(int(count), total, z_of(0.95)).low > truth for count in counts) / self.TRIALS
        assert missed <= 0.07

    @pytest.mark.parametrize("total", [200, 1200])
    @pytest.mark.parametrize("shape", ["lognormal", "two humps", "constant"])
    def test_of_the_95th_percentile(self, shape: str, total: int) -> None:
        rng = np.random.default_rng(2)

        def draw(size: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
            if shape == "constant":
                return 0.1 + rng.uniform(0, 0.001, size)
            values = rng.lognormal(-3, 0.8, size)
            return np.where(rng.random(size) < 0.1, values + 1.0, values) if shape == "two humps" else values

        truth = float(np.quantile(draw(2_000_000), 0.95))
        ends = [quantile(counts_of(draw(total)), LATENCY_BOUNDS_S, 0.95, total, z_of(0.95)) for _ in range(self.TRIALS)]
        step = LATENCY_BOUNDS_S[1] / LATENCY_BOUNDS_S[0]  # a histogram knows no more than the bucket
        assert sum(end.low > truth * step for end in ends) / self.TRIALS <= 0.07
        assert sum(end.high < truth / step for end in ends) / self.TRIALS <= 0.07

    @pytest.mark.parametrize("times", [1.0, 1.5])
    def test_of_ratios_of_the_95th_percentile(self, times: float) -> None:
        rng = np.random.default_rng(3)
        z, total, missed = z_of(0.95), 300, 0
        for _ in range(self.TRIALS):
            one, other = (
                quantile(counts_of(rng.lognormal(-3, 0.8, total) * by), LATENCY_BOUNDS_S, 0.95, total, z)
                for by in (times, 1.0)
            )
            missed += ratio(one, other).low > times
        assert missed / self.TRIALS <= 0.07


def test_two_sides_a_bound_apart_are_not_far_apart() -> None:
    """Constant latencies on both sides of a bound: the histogram makes a hundredth look like a tenth, not like a half."""
    bound = random.Random(4).choice(LATENCY_BOUNDS_S[20:100])
    one = quantile(counts_of(np.full(1000, bound * 1.005)), LATENCY_BOUNDS_S, 0.95, 1000, z_of(0.95))
    other = quantile(counts_of(np.full(1000, bound * 0.995)), LATENCY_BOUNDS_S, 0.95, 1000, z_of(0.95))
    assert ratio(one, other).value < 1.2
