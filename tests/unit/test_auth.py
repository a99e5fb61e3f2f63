"""The gate of the admin side: tokens, names, sites, media types, and how guessing is slowed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitter.config import TcpAddress, UnixAddress
from splitter.control import auth
from splitter.control.auth import Asked, Cause, Gate, Page, Refusal, actor
from splitter.metrics.reading import ADMIN_REFUSALS

LOOPBACK = TcpAddress("127.0.0.1", 8090)
EVERYWHERE = TcpAddress("0.0.0.0", 8090)
TOKEN = "correct-horse-battery"
BEARER = f"Bearer {TOKEN}"


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def gate(
    token: str | None = None,
    address: TcpAddress | UnixAddress = LOOPBACK,
    names: tuple[str, ...] = (),
    clock: Clock | None = None,
) -> Gate:
    return Gate(token, address, names, clock or Clock())


ASKED = Asked("GET", Page.DATA, "127.0.0.1", "127.0.0.1:8090")


def asked(method: str = "GET", **fields: Any) -> Asked:
    return dataclasses.replace(ASKED, method=method, **fields)


def cause(refusal: Refusal | None) -> Cause | None:
    return None if refusal is None else refusal.cause


@pytest.mark.parametrize(
    ("address", "host", "status"),
    [
        (LOOPBACK, "127.0.0.1:8090", None),
        (LOOPBACK, "localhost:8090", None),
        (LOOPBACK, "LOCALHOST", None),
        (LOOPBACK, "localhost.", None),
        (LOOPBACK, "localhost:9000", None),  # a tunnel with another port at its near end
        (LOOPBACK, "[::1]:8090", None),
        (LOOPBACK, "127.8.8.8", None),
        (LOOPBACK, "ops.example", None),
        (LOOPBACK, "OPS.example:8090", None),
        (LOOPBACK, "evil.example:8090", 421),
        (LOOPBACK, "localhost.evil.example", 421),
        (LOOPBACK, "127.0.0.1.evil.example", 421),
        (LOOPBACK, "10.0.0.7:8090", 421),
        (LOOPBACK, "0.0.0.0:8090", 421),  # browsers let a page of another site ask this address
        (LOOPBACK, "[::1", None),
        (LOOPBACK, "[evil.example]", 421),
        (LOOPBACK, "", 400),
        (LOOPBACK, None, 400),
        (EVERYWHERE, "10.0.0.7:8090", None),
        (EVERYWHERE, "[2001:db8::7]:8090", None),
        (EVERYWHERE, "splitter.internal", 421),
        (TcpAddress("splitter.internal", 8090), "splitter.internal:8090", None),
        (UnixAddress("/run/s.sock"), "anything", None),
        (UnixAddress("/run/s.sock"), None, None),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_host(method: str, address: TcpAddress | UnixAddress, host: str | None, status: int | None) -> None:
    refusal = gate(address=address, names=("ops.example",)).check(asked(method, host=host))
    assert (refusal and refusal.status) == status
    assert cause(refusal) == (None if status is None else Cause.HOST)


def test_who_has_the_token_may_use_any_name() -> None:
    far = asked("POST", host="balancer.example", authorization=BEARER)
    assert gate(TOKEN, EVERYWHERE).check(far) is None
    assert cause(gate(TOKEN, EVERYWHERE).check(dataclasses.replace(far, authorization="Bearer x"))) is Cause.HOST
    assert cause(gate(None, LOOPBACK).check(dataclasses.replace(far, authorization="Bearer "))) is Cause.HOST


def test_what_is_public_is_told_under_any_name() -> None:
    assert gate().check(asked(page=Page.OPEN, host="prometheus-calls-me-so", fetch_site="cross-site")) is None


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"origin": "http://127.0.0.1:8090", "fetch_site": "same-origin"}, False),
        ({"origin": "http://127.0.0.1:8090"}, False),
        ({"fetch_site": "none"}, False),
        ({"origin": "http://127.0.0.1:3000"}, True),
        ({"origin": "http://evil.example"}, True),
        ({"origin": "http://evil.example/127.0.0.1:8090"}, True),
        ({"origin": "null"}, True),
        ({"origin": ""}, True),
        ({"fetch_site": "cross-site"}, True),
        ({"fetch_site": "same-site"}, True),
        ({"fetch_site": "cross-site", "fetch_mode": "navigate"}, True),
        ({"origin": "https://ops.example", "fetch_site": "same-origin"}, False),  # a proxy put another Host
        ({"origin": "https://ops.example", "fetch_site": "same-site"}, True),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("token", [None, TOKEN])
def test_other_sites(method: str, token: str | None, fields: dict[str, str], refused: bool) -> None:
    refusal = gate(token, names=("ops.example",)).check(asked(method, authorization=BEARER, **fields))
    assert cause(refusal) == (Cause.CROSS_SITE if refused else None)
    assert refusal is None or refusal.status == 403


def test_a_link_on_another_site_may_open_the_console_but_not_post_to_it() -> None:
    link: dict[str, Any] = {"page": Page.SHELL, "fetch_site": "cross-site", "fetch_mode": "navigate"}
    assert gate().check(asked(**link)) is None
    assert cause(gate().check(asked("POST", **link))) is Cause.CROSS_SITE
    assert cause(gate().check(asked(**link | {"fetch_mode": "no-cors"}))) is Cause.CROSS_SITE


@pytest.mark.parametrize(
    ("content_type", "allowed"),
    [
        (None, True),
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("", True),
        ("text/plain", False),
        ("application/x-www-form-urlencoded", False),
        ("multipart/form-data; boundary=x", False),
        ("text/plain; application/json", False),
    ],
)
def test_no_form_can_change_anything(content_type: str | None, allowed: bool) -> None:
    refusal = gate().check(asked("POST", content_type=content_type))
    assert cause(refusal) == (None if allowed else Cause.MEDIA_TYPE)
    assert refusal is None or refusal.status == 415
    assert gate().check(asked("GET", content_type=content_type)) is None


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (BEARER, None),
        (f"bearer {TOKEN}", None),
        (f"Bearer  {TOKEN} ", None),
        (None, Cause.NO_TOKEN),
        ("", Cause.WRONG_TOKEN),
        (TOKEN, Cause.WRONG_TOKEN),
        (f"Basic {TOKEN}", Cause.WRONG_TOKEN),
        (f"Bearer {TOKEN}x", Cause.WRONG_TOKEN),
        (f"Bearer {TOKEN[:-1]}", Cause.WRONG_TOKEN),
        ("Bearer", Cause.WRONG_TOKEN),
        ("Bearer \udcff\u00fc", Cause.WRONG_TOKEN),
    ],
)
def test_changing_anything_wants_the_token(authorization: str | None, expected: Cause | None) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "QUERY"):
        refusal = gate(TOKEN).check(asked(method, authorization=authorization))
        assert cause(refusal) == expected
        if refusal is not None:
            assert refusal.status == 401
            assert refusal.headers == (("WWW-Authenticate", 'Bearer realm="splitter"'),)
            assert TOKEN not in refusal.message
    assert gate(TOKEN).check(asked("GET", authorization=authorization)) is None


def test_every_cause_is_a_series_of_the_metric() -> None:
    assert set(gate().refused) == {cause.value for cause in Cause} == set(ADMIN_REFUSALS)


def test_guessing_gets_slower_and_slower_and_is_forgotten() -> None:
    clock = Clock()
    door = gate(TOKEN, clock=clock)
    guess = asked("POST", authorization="Bearer guess")

    def delay_s() -> float:
        refusal = door.check(guess)
        assert refusal is not None
        door.answered(guess, refusal)
        return refusal.delay_s

    assert [delay_s() for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    clock.now_s += auth.FORGET_AFTER_S + 1
    assert delay_s() == 0.1
    assert door.refused[Cause.WRONG_TOKEN] == 9
    assert door.refused[Cause.NO_TOKEN] == 0


def test_many_guesses_at_once_are_told_to_come_back_and_the_right_token_is_not() -> None:
    door = gate(TOKEN)
    guess = asked("POST", authorization="Bearer guess")
    refusals = [door.check(guess) for _ in range(auth.WAITING_PER_PEER + 3)]
    assert [refusal and refusal.status for refusal in refusals] == [401] * auth.WAITING_PER_PEER + [429] * 3
    last = refusals[-1]
    assert last is not None
    assert (last.delay_s, dict(last.headers)) == (0, {"Retry-After": "5"})
    assert door.check(dataclasses.replace(guess, authorization=BEARER)) is None, "from the same address, at once"
    other = dataclasses.replace(guess, peer="10.0.0.9")
    assert cause(door.check(other)) is Cause.WRONG_TOKEN
    first = refusals[0]
    assert first is not None
    door.answered(guess, first)
    assert cause(door.check(guess)) is Cause.WRONG_TOKEN


def test_what_waits_and_what_is_remembered_is_bounded() -> None:
    door = gate(TOKEN)
    guesses = [asked("POST", authorization="Bearer guess", peer=f"peer-{number}") for number in range(3 * auth.PEERS)]
    statuses = []
    for guess in guesses:
        refusal = door.check(guess)
        assert refusal is not None
        statuses.append(refusal.status)
    assert statuses == [401] * auth.WAITING + [429] * (len(guesses) - auth.WAITING)
    assert len(door._failures) == auth.PEERS


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60))
def test_everything_answered_leaves_nothing_waiting(steps: list[tuple[int, bool]]) -> None:
    door = gate(TOKEN)
    open_refusals: list[tuple[Asked, Refusal]] = []
    for peer, answer in steps:
        if answer and open_refusals:
            door.answered(*open_refusals.pop())
        else:
            guess = asked("POST", authorization="Bearer guess", peer=f"peer-{peer}")
            refusal = door.check(guess)
            assert refusal is not None
            open_refusals.append((guess, refusal))
    for guess, refusal in open_refusals:
        door.answered(guess, refusal)
    assert door._waiting == 0
    assert all(failures.waiting == 0 for failures in door._failures.values())


@pytest.mark.parametrize(
    ("declared", "peer", "who"),
    [
        ("cli:alice@ops1", "127.0.0.1", "cli:alice@ops1"),
        ("console", "127.0.0.1", "console"),
        (None, "10.0.0.5", "api:10.0.0.5"),
        (None, "", "api"),
        ("guardrail:error_rate", "10.0.0.5", "api:10.0.0.5"),  # nobody passes for a part of the splitter
        ("cli:alice\x1b[31m", "10.0.0.5", "api:10.0.0.5"),
        ("cli:two words", "", "api"),
        (f"cli:{'x' * 101}", "", "api"),
        ("", "", "api"),
    ],
)
def test_who_asked(declared: str | None, peer: str, who: str) -> None:
    assert actor(declared, peer) == who
