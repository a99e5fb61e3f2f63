"""What is counted to be judged: which requests, on which side, as what."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from splitter.judged import LATENCY_BOUNDS_S, Judged, Tally, total
from splitter.stats import FAILURE_KINDS, Stats


def numbers(tally: Tally) -> tuple[int, dict[str, int], int, int, int, int]:
    return tally.requests, tally.failures, tally.errors, tally.refused, tally.left, tally.turned_away


class TestRecord:
    def record(
        self, backend: str, reason: str = "bucket", status: int = 200, failure: str = "", *, cut: bool = False
    ) -> Judged:
        judged = Judged()
        judged.record(backend, reason, "default", status, failure, 0.01, cut=cut)
        return judged

    def test_each_side_by_its_buckets(self) -> None:
        assert numbers(self.record("domain").domain["default"]) == (1, {}, 0, 0, 0, 0)
        assert numbers(self.record("legacy").legacy["default"]) == (1, {}, 0, 0, 0, 0)
        assert self.record("legacy").domain == self.record("domain").legacy == {}

    def test_what_legacy_rescued_is_domains_failure(self) -> None:
        judged = self.record("legacy", "fallback", 200, "connect")
        assert numbers(judged.domain["default"]) == (1, {"connect": 1}, 0, 0, 0, 0)
        assert judged.legacy == {}

    def test_what_legacy_failed_to_rescue_the_client_saw_too(self) -> None:
        assert numbers(self.record("legacy", "fallback", 502, "reset").domain["default"]) == (1, {"reset": 1}, 1, 0, 0, 0)

    def test_turned_away_is_no_request_of_domains(self) -> None:
        tally = self.record("legacy", "unhealthy").domain["default"]
        assert numbers(tally) == (0, {}, 0, 0, 0, 1)
        assert sum(tally.latency) == 0

    def test_errors_refusals_and_broken_answers(self) -> None:
        assert numbers(self.record("domain", status=500, failure="5xx").domain["default"]) == (1, {"5xx": 1}, 1, 0, 0, 0)
        assert numbers(self.record("domain", status=404).domain["default"]) == (1, {}, 0, 1, 0, 0)
        assert numbers(self.record("domain", failure="reset", cut=True).domain["default"]) == (1, {"reset": 1}, 1, 0, 0, 0)

    def test_a_client_that_left_is_nobodys_failure_but_a_time_waited(self) -> None:
        tally = self.record("domain", status=499).domain["default"]
        assert numbers(tally) == (0, {}, 0, 0, 1, 0)
        assert sum(tally.latency) == 1

    def test_one_that_left_after_domain_failed(self) -> None:
        assert numbers(self.record("legacy", "fallback", 499, "timeout").domain["default"]) == (
            1,
            {"timeout": 1},
            0,
            0,
            0,
            0,
        )


def test_bounds_are_fine_enough_and_reach_from_a_blink_to_a_minute() -> None:
    assert all(1 < high / low < 1.1 for low, high in pairwise(LATENCY_BOUNDS_S))
    assert LATENCY_BOUNDS_S[0] == 0.0005
    assert LATENCY_BOUNDS_S[-1] > 60


@st.composite
def totals(draw: st.DrawFn) -> Judged:
    judged = Judged()
    for _ in range(draw(st.integers(0, 20))):
        judged.record(
            draw(st.sampled_from(["legacy", "domain"])),
            draw(st.sampled_from(["bucket", "fallback", "unhealthy"])),
            draw(st.sampled_from(["default", "control"])),
            draw(st.sampled_from([200, 404, 499, 502])),
            draw(st.sampled_from(["", *FAILURE_KINDS])),
            draw(st.floats(0, 100)),
            cut=draw(st.booleans()),
        )
    return judged


@settings(max_examples=40)
@given(totals(), totals())
def test_totals_add_up_and_come_apart_again(one: Judged, other: Judged) -> None:
    both = one.copy()
    both.merge(other)
    swapped = other.copy()
    swapped.merge(one)
    assert both.to_wire().keys() == swapped.to_wire().keys()
    for side in ("legacy", "domain"):
        mine, theirs = total(getattr(both, side)), total(getattr(swapped, side))
        assert numbers(mine) == numbers(theirs)
        assert mine.latency == theirs.latency
        rest = total(getattr(both.since(one), side))
        assert {kind: count for kind, count in rest.failures.items() if count} == total(getattr(other, side)).failures
        assert rest.latency == total(getattr(other, side)).latency


@given(totals())
def test_they_travel_as_json(judged: Judged) -> None:
    assert Judged.from_wire(json.loads(json.dumps(judged.to_wire()))).to_wire() == judged.to_wire()


def test_a_copy_is_no_view() -> None:
    judged = Judged()
    judged.record("domain", "bucket", "default", 500, "5xx", 0.01, cut=False)
    copy = judged.copy()
    judged.record("domain", "bucket", "default", 500, "5xx", 0.01, cut=False)
    assert numbers(copy.domain["default"]) == (1, {"5xx": 1}, 1, 0, 0, 0)


def test_the_totals_of_planes_hold_those_too() -> None:
    one, other = Stats(), Stats()
    for stats in (one, other):
        stats.judged.record("domain", "bucket", "default", 200, "", 0.01, cut=False)
    one.merge(other)
    assert one.judged.domain["default"].requests == 2
