"""The breaker, with the time in hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from splitter.outlier import MAX_FACTOR, Breaker, State


def opened(limit: int = 3, for_s: float = 10) -> Breaker:
    breaker = Breaker(limit, for_s)
    for _ in range(limit):
        breaker.failed(0)
    return breaker


def test_failures_in_a_row_open_it() -> None:
    breaker = Breaker(3, 10)
    breaker.failed(0)
    breaker.failed(0)
    assert breaker.admits()
    breaker.failed(0)
    assert not breaker.admits()


def test_one_success_between_keeps_it_closed() -> None:
    breaker = Breaker(2, 10)
    for _ in range(10):
        breaker.failed(0)
        breaker.succeeded()
    assert breaker.state is State.CLOSED


def test_one_request_at_a_time_tries_when_its_time_is_over() -> None:
    breaker = opened()
    assert not breaker.tick(9.9)
    assert breaker.tick(10)
    assert breaker.admits()
    breaker.begin(10)
    assert not breaker.admits()
    breaker.succeeded()
    assert breaker.state is State.CLOSED
    assert breaker.admits()


def test_each_failed_trial_doubles_the_time_up_to_a_cap() -> None:
    breaker, now_s, times = opened(for_s=1), 0.0, []
    for _ in range(6):
        start_s = now_s
        while not breaker.tick(now_s):
            now_s += 0.5
        times.append(now_s - start_s)
        breaker.begin(now_s)
        breaker.failed(now_s)
    assert times == [1, 2, 4, 8, 8, 8]
    assert max(times) <= MAX_FACTOR


def test_a_trial_that_never_ends_is_forgotten() -> None:
    breaker = opened(for_s=10)
    breaker.tick(10)
    breaker.begin(10)
    assert not breaker.tick(19)
    assert breaker.tick(20)
    assert breaker.admits()


@given(st.lists(st.tuples(st.sampled_from(["ok", "fail", "begin", "tick"]), st.floats(0, 30)), max_size=60))
def test_it_never_stays_out_for_good(events: list[tuple[str, float]]) -> None:
    breaker, now_s = Breaker(3, 1), 0.0
    for event, wait_s in events:
        now_s += wait_s
        if event == "ok":
            breaker.succeeded()
            assert breaker.admits()
        elif event == "fail":
            breaker.failed(now_s)
        elif event == "begin" and breaker.admits():
            breaker.begin(now_s)
        breaker.tick(now_s)
    breaker.tick(now_s + MAX_FACTOR)
    breaker.tick(now_s + 2 * MAX_FACTOR)
    assert breaker.admits()
