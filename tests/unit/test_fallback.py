"""The rule and its budget, with the time in hand."""

from __future__ import annotations

import pytest

from splitter.fallback import ALWAYS_ALLOWED, WINDOW_S, Budget, FallbackPolicy

POLICY = FallbackPolicy(frozenset({"connect", "reset", "503"}), frozenset({b"GET"}), 0.2)


def allows(trigger: str, *, nothing_sent: bool = False, repeatable: bool = True) -> bool:
    return POLICY.allows(trigger, Budget(), 0, nothing_sent=nothing_sent, repeatable=repeatable)


@pytest.mark.parametrize(
    ("trigger", "allowed"),
    [("connect", True), ("overload", True), ("reset", True), ("protocol", True), ("503", True), ("502", False),
     ("timeout", False), ("500", False)],
)  # fmt: skip
def test_what_counts_as_failed(trigger: str, allowed: bool) -> None:
    assert allows(trigger) is allowed


def test_what_may_not_be_sent_twice_is_not() -> None:
    assert not allows("reset", repeatable=False)


def test_who_may_be_sent_twice() -> None:
    by_key = FallbackPolicy(frozenset(), frozenset({b"GET"}), 0.2, by_key=True)
    route = frozenset({b"POST"})
    for policy, method, fields, route_methods, may in (
        (POLICY, b"GET", {}, frozenset[bytes](), True),
        (POLICY, b"POST", {}, frozenset[bytes](), False),
        (POLICY, b"POST", {}, route, True),
        (POLICY, b"PATCH", {}, route, False),
        (POLICY, b"PATCH", {b"idempotency-key": b"1"}, route, False),
        (by_key, b"PATCH", {b"idempotency-key": b"1"}, frozenset[bytes](), True),
        (by_key, b"PATCH", {b"idempotency-key": b""}, frozenset[bytes](), False),
        (by_key, b"PATCH", {}, frozenset[bytes](), False),
    ):
        assert policy.may_repeat(method, fields, route_methods) is may


def test_when_nothing_was_sent_neither_repeating_nor_budget_matter() -> None:
    assert allows("connect", nothing_sent=True, repeatable=False)
    budget = Budget()
    assert all(POLICY.allows("connect", budget, 0, nothing_sent=True, repeatable=True) for _ in range(5 * ALWAYS_ALLOWED))
    assert budget.take(0.0, 0), "they use no budget"


def test_the_budget_is_a_share_of_the_last_ten_seconds() -> None:
    budget = Budget()
    budget.add_requests(1000, 100.0)
    assert sum(budget.take(0.2, 100.5) for _ in range(500)) == 200
    assert not budget.take(0.2, 100.0 + WINDOW_S - 0.1)
    assert sum(budget.take(0.2, 100.0 + WINDOW_S) for _ in range(100)) == ALWAYS_ALLOWED


@pytest.mark.parametrize("jump_s", [-5.0, 1e6])
def test_a_clock_that_jumps_does_no_harm(jump_s: float) -> None:
    budget = Budget()
    budget.add_requests(100, 1000.0)
    budget.take(0.2, 1000.0)
    assert budget.take(0.2, 1000.0 + jump_s)
