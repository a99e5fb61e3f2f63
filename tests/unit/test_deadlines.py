"""The wheel of deadlines, with a clock in hand."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from splitter.proxy.deadlines import RESOLUTION_S, Wheel


class Watched:
    def __init__(self, clock: list[float]) -> None:
        self.deadline_s = inf
        self.slot = 0
        self.fired_s: list[float] = []
        self._clock = clock

    def on_deadline(self) -> None:
        self.fired_s.append(self._clock[0])


def make() -> tuple[list[float], Wheel]:
    clock = [1000.0]
    return clock, Wheel(lambda: clock[0])


@given(st.lists(st.tuples(st.floats(0.001, 3), st.floats(0, 1)), min_size=1, max_size=20))
def test_it_fires_once_never_early_and_little_late(moves: list[tuple[float, float]]) -> None:
    clock, wheel = make()
    watched = Watched(clock)
    due_s = inf
    for after_s, wait_s in moves:
        if watched.fired_s:
            break
        wheel.set(watched, after_s)
        due_s = clock[0] + after_s
        until_s = clock[0] + wait_s
        while clock[0] < until_s and not watched.fired_s:
            clock[0] += RESOLUTION_S / 2
            wheel.tick()
    while not watched.fired_s and clock[0] < 1100:
        clock[0] += RESOLUTION_S / 2
        wheel.tick()
    assert len(watched.fired_s) == 1
    assert due_s <= watched.fired_s[0] <= due_s + 3 * RESOLUTION_S
    assert watched.slot == 0


def test_what_is_forgotten_never_fires_and_is_not_kept() -> None:
    clock, wheel = make()
    watched = Watched(clock)
    wheel.set(watched, 1)
    wheel.forget(watched)
    clock[0] += 10
    wheel.tick()
    assert watched.fired_s == []
    assert not any(wheel._slots.values())


def test_a_busy_connection_is_in_one_slot_however_often_it_is_set() -> None:
    clock, wheel = make()
    watched = Watched(clock)
    for _ in range(1000):
        wheel.set(watched, 30)
        clock[0] += 0.01
        wheel.set(watched, 75)
    assert sum(len(slot) for slot in wheel._slots.values()) == 1


def test_time_in_which_the_process_stood_still_counts_against_nobody() -> None:
    clock, wheel = make()
    watched = Watched(clock)
    wheel.set(watched, 1)
    clock[0] += 5500
    wheel.tick()
    assert not watched.fired_s
    for _ in range(10):
        clock[0] += RESOLUTION_S
        wheel.tick()
    wheel.set(watched, 1)
    started_s = clock[0]
    while not watched.fired_s:
        clock[0] += RESOLUTION_S
        wheel.tick()
    assert 1 <= clock[0] - started_s <= 1 + 3 * RESOLUTION_S
