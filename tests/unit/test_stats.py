"""Totals add up, and come through a channel as they were."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitter.snapshot import Gauges
from splitter.stats import BOUNDS_S, FAILURE_KINDS, OTHER_CODE, Exemplar, Histogram, Stats

# Sums of these are exact, so that the order of adding can't be seen.
SECONDS = st.integers(0, 60 * 1024).map(lambda n: n / 1024)
PLACES = st.tuples(st.sampled_from(["legacy", "domain"]), st.sampled_from(["default", "control", "naïve \x1b"]))
EVENTS = st.one_of(
    st.tuples(
        st.just("record"), PLACES, st.sampled_from([b"GET", b"POST", b"BREW"]), st.integers(0, 999), SECONDS,
        st.sampled_from(["", "a" * 32, "b" * 32]), SECONDS,
    ),
    st.tuples(st.just("refuse"), st.integers(400, 599)),
    st.tuples(st.just("fail"), st.sampled_from(["legacy", "domain"]), st.sampled_from(FAILURE_KINDS)),
    st.tuples(st.just("fall_back"), st.sampled_from(FAILURE_KINDS), st.sampled_from(["rescued", "refused"])),
    st.tuples(st.just("mirror"), st.sampled_from(["match", "dropped"])),
    st.tuples(st.just("lose_lines"), st.sampled_from(["suppressed", "unread"]), st.integers(1, 1000)),
    st.tuples(st.just("bytes"), st.integers(0, 1 << 50)),
)  # fmt: skip


def made_of(events: list[tuple[Any, ...]]) -> Stats:
    stats = Stats()
    for what, *rest in events:
        match what, rest:
            case "record", [(backend, route), method, status, took_s, trace_id, at_s]:
                stats.record(backend, "bucket", route, method, status, took_s)
                if trace_id:
                    stats.show(backend, route, took_s, trace_id, at_s)
            case "bytes", [count]:
                stats.downstream_read_bytes += count
                stats.upstream_written_bytes += count * 2
                stats.force_ignored += 1
            case str(), _:
                getattr(stats, what)(*rest)
    return stats


STATS = st.lists(EVENTS, max_size=30).map(made_of)


def content(stats: Stats) -> object:
    """All that is in it, comparable. Counters that are not there are zero."""
    return stats.judged.to_wire(), {
        name: {key: shape(value) for key, value in found.items()} if isinstance(found, dict) else found
        for name in Stats.__slots__
        if name not in {"judged", "_places"} and (found := getattr(stats, name))
    }


def shape(value: Histogram | int) -> object:
    return (value.counts, value.sum_s, value.exemplars) if isinstance(value, Histogram) else value


def merged(*parts: Stats) -> Stats:
    total = Stats()
    for part in parts:
        total.merge(part)
    return total


@given(STATS)
def test_what_comes_out_of_the_channel_is_what_went_in(stats: Stats) -> None:
    assert content(Stats.from_wire(orjson.loads(orjson.dumps(stats.to_wire())))) == content(stats)


@given(STATS, STATS, STATS)
def test_the_order_of_adding_does_not_matter(one: Stats, two: Stats, three: Stats) -> None:
    assert content(merged(one, two, three)) == content(merged(three, two, one))
    assert content(merged(merged(one, two), three)) == content(merged(one, merged(two, three)))
    assert content(merged(one, Stats())) == content(one)


@given(st.lists(EVENTS, max_size=30), st.integers(0, 30))
def test_two_planes_count_what_one_would(events: list[tuple[Any, ...]], cut: int) -> None:
    together, apart = made_of(events), merged(made_of(events[:cut]), made_of(events[cut:]))
    for histogram in (*together.durations.values(), *apart.durations.values()):
        histogram.exemplars.clear()  # which of two examples is kept depends on what was kept before
    assert content(apart) == content(together)


@given(STATS, STATS)
def test_adding_changes_only_what_is_added_to(one: Stats, other: Stats) -> None:
    before = content(other)
    one.merge(other)
    one.merge(other)
    assert content(other) == before


@given(STATS)
def test_keys_come_from_closed_sets(stats: Stats) -> None:
    for _, _, _, method, code in stats.requests:
        assert method in {"GET", "POST", "other"}
        assert code == OTHER_CODE or 100 <= code <= 599


def test_what_was_not_made_here_is_not_taken_for_totals() -> None:
    wire = Stats().to_wire()
    with pytest.raises(KeyError):
        Stats.from_wire({name: part for name, part in wire.items() if name != "failures"})
    with pytest.raises(ValueError, match="unpack"):
        Stats.from_wire(wire | {"durations": [["legacy"]]})


def test_the_latest_example_of_a_bucket_is_kept() -> None:
    histogram = Histogram()
    for at_s, trace_id in ((100.0, "old"), (100.5, "too soon"), (101.0, "new")):
        histogram.show(0.0042, trace_id, at_s)
    histogram.show(99.0, "slow", 100.0)
    assert histogram.exemplars == {3: Exemplar(101.0, 0.0042, "new"), len(BOUNDS_S): Exemplar(100.0, 99.0, "slow")}
    assert sum(histogram.counts) == 0  # shown is not counted


def test_the_bounds_are_fine_enough_to_see_half_more() -> None:
    assert all(high <= 2 * low for low, high in pairwise(BOUNDS_S))
    assert BOUNDS_S[0] == 0.001
    assert BOUNDS_S[-1] == 30


COUNTS = st.integers(0, 1 << 40)
GAUGES = st.builds(Gauges, COUNTS, COUNTS, st.dictionaries(st.sampled_from(["idle", "active", "connecting"]), COUNTS))


@given(GAUGES, GAUGES)
def test_gauges_add_up_and_come_through_the_channel(one: Gauges, other: Gauges) -> None:
    again = Gauges.from_wire(orjson.loads(orjson.dumps(one.to_wire())))
    assert again == one
    again.merge(other)
    assert again.downstream == one.downstream + other.downstream
    assert again.tunnels == one.tunnels + other.tunnels
    for state in one.upstream | other.upstream:
        assert again.upstream[state] == one.upstream.get(state, 0) + other.upstream.get(state, 0)
