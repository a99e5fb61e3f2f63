"""What hooks are sent, and when."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from splitter.config import HOOK_EVENTS, parse
from splitter.control.deliveries import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    QUEUE,
    Answer,
    Backlog,
    Delivery,
    delivery_of,
    headers_of,
    judge,
    kind_of,
    pause_s,
    settings_of,
    signature,
    told,
)
from splitter.control.hooks import ASK_EVERY_S, CONFIRM_TIMEOUT_S, LAST_TRIES_S
from splitter.state import Event

ROLLBACK = Event(42, 1_764_028_800.123, "cli:ann@host", "rollback", "too slow", "25 %", "rolled back")


@pytest.mark.parametrize(
    ("what", "who", "kind"),
    [
        ("rollback", "cli:ann@host", "rollback"),
        ("rollback", "guardrail:error_rate", "rollback"),
        ("resume", "cli:ann@host", "resume"),
        ("percent", "cli:ann@host", "percent"),
        ("percent of camera-control", "api", "percent"),
        ("config", "config", "config"),
        ("state lost", "store", "state"),
        ("plan start", "cli:ann@host", "plan"),
        ("plan advance", "plan", "plan"),
        ("plan freeze", "guardrail:latency_p95_ratio", "guardrail"),
        ("guardrail", "guardrail:error_rate", "guardrail"),
        ("something of a later version", "?", "plan"),
    ],
)
def test_every_event_is_of_a_kind_that_can_be_chosen(what: str, who: str, kind: str) -> None:
    found = kind_of(Event(1, 0.0, who, what, "", "", ""))
    assert found == kind
    assert found in HOOK_EVENTS


def test_what_is_told_of_a_rollback() -> None:
    body = json.loads(delivery_of(told(ROLLBACK, "nothing goes to domain", "edge-1:8000"), "d1", 5.0).body)
    assert body == {
        "delivery": "d1",
        "id": body["id"],
        "event": "rollback",
        "splitter": "edge-1:8000",
        "version": 42,
        "when": "2025-11-25T00:00:00.123Z",
        "who": "cli:ann@host",
        "what": "rollback",
        "why": "too slow",
        "from": "25 %",
        "to": "rolled back",
        "summary": "nothing goes to domain",
    }
    assert len(body["id"]) == 32


def test_an_id_is_of_the_event_whoever_tells_it() -> None:
    assert told(ROLLBACK, "a", "b")["id"] == told(ROLLBACK, "c", "d")["id"]
    later = Event(43, ROLLBACK.at_s, ROLLBACK.who, ROLLBACK.what, ROLLBACK.why, ROLLBACK.before, ROLLBACK.after)
    assert told(ROLLBACK, "a", "b")["id"] != told(later, "a", "b")["id"]


# --- signing ----------------------------------------------------------------------------------------------------------


def test_a_signature_known_from_elsewhere() -> None:
    """Made with: printf '1764028800.{"a":1}' | openssl dgst -sha256 -hmac correct-horse"""
    wanted = "sha256=beb8df546d8513d89aaf2914317238ab10b3a5ef25d07933c966d112800f253e"
    assert signature(b"correct-horse", 1_764_028_800, b'{"a":1}') == wanted


def test_the_fields_of_a_try() -> None:
    fields = headers_of("rollback", "d1", b"{}", SecretStr("s"), 1_764_028_800.9)
    assert fields == {
        "Content-Type": "application/json",
        "X-Splitter-Event": "rollback",
        "X-Splitter-Delivery": "d1",
        "X-Splitter-Timestamp": "1764028800",
        "X-Splitter-Signature": signature(b"s", 1_764_028_800, b"{}"),
    }
    assert "X-Splitter-Signature" not in headers_of("rollback", "d1", b"{}", None, 0.0)


@given(st.binary(min_size=1), st.integers(0, 2**40), st.binary(), st.integers(0, 2**40), st.binary())
def test_a_signature_is_for_one_time_and_one_body(secret: bytes, at: int, body: bytes, at2: int, body2: bytes) -> None:
    same = signature(secret, at, body) == signature(secret, at2, body2)
    assert same == ((at, body) == (at2, body2))


def test_secrets_come_from_the_environment_and_are_not_shown() -> None:
    config = parse(
        "hooks: [{url: 'http://a/?key=hidden', secret_env: S, events: [rollback]}, {url: 'https://b/c'}]", "f", {}
    )
    one, other = settings_of(config, {"S": " correct-horse "})
    assert one.secret is not None
    assert one.secret.get_secret_value() == "correct-horse"
    assert "correct-horse" not in repr(one)
    assert (one.shown, one.events) == ("http://a/", frozenset({"rollback"}))
    assert (other.secret, other.events, other.timeout_s) == (None, frozenset(HOOK_EVENTS), 5.0)


# --- trying again -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, Answer.TAKEN), (204, Answer.TAKEN), (299, Answer.TAKEN),
        (301, Answer.NEVER), (307, Answer.NEVER), (400, Answer.NEVER), (404, Answer.NEVER), (410, Answer.NEVER),
        (408, Answer.LATER), (425, Answer.LATER), (429, Answer.LATER), (500, Answer.LATER), (503, Answer.LATER),
    ],
)  # fmt: skip
def test_what_a_status_means(status: int, answer: Answer) -> None:
    assert judge(status) is answer


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_pause_stays_within_its_bounds(failures: int, chance: float) -> None:
    pause = pause_s(failures, chance)
    assert FIRST_PAUSE_S / 2 <= pause <= LONGEST_PAUSE_S
    assert pause_s(failures + 1, chance) >= pause
    assert pause_s(failures, 0.0) <= pause


def test_pauses_double() -> None:
    assert [pause_s(n, 1.0) for n in range(1, 10)] == [1, 2, 4, 8, 16, 32, 64, 120, 120]


@given(st.integers(1, 20), st.lists(st.sampled_from(["put", "put", "take"])))
def test_a_backlog_keeps_the_newest_in_order_and_counts_what_it_lost(bound: int, steps: list[str]) -> None:
    backlog, made = Backlog(bound), 0
    model: list[str] = []
    for step in steps:
        if step == "put":
            made += 1
            lost = backlog.put(Delivery(str(made), "plan", b"", 0.0))
            model.append(str(made))
            assert lost == max(0, len(model) - bound)
            model = model[-bound:]
        else:
            taken = backlog.take()
            assert (None if taken is None else taken.id) == (model.pop(0) if model else None)
        assert [delivery.id for delivery in backlog.waiting] == model


# --- the page ---------------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text()


def test_the_page_checks_signatures_as_they_are_made() -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    page: dict[str, Any] = {}
    exec(code, page)
    check = page["is_from_splitter"]
    now_s = int(time.time())
    fields = headers_of("rollback", "d1", b'{"a":1}', SecretStr("s"), now_s)
    assert check(b"s", fields, b'{"a":1}')
    assert not check(b"t", fields, b'{"a":1}')
    assert not check(b"s", fields, b'{"a":2}')
    assert not check(b"s", headers_of("rollback", "d1", b"{}", SecretStr("s"), now_s - 400), b"{}")
    assert not check(b"s", fields | {"X-Splitter-Timestamp": str(now_s + 1)}, b'{"a":1}')


def test_the_page_names_what_there_is() -> None:
    example = json.loads(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0])
    assert list(example) == list(json.loads(delivery_of(told(ROLLBACK, "", ""), "d", 0.0).body))
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.partition("told when")[2].partition("**Once.**")[0], re.MULTILINE)
    assert rows == list(HOOK_EVENTS)
    assert f"more than {QUEUE} events wait" in PAGE
    assert f"{LONGEST_PAUSE_S / 60:g} min" in PAGE
    assert f"asked every {ASK_EVERY_S:g} s" in PAGE
    assert f"no answer within {CONFIRM_TIMEOUT_S:g} s" in PAGE
    assert f"{LAST_TRIES_S:g} s at most" in PAGE
    for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL):
        parse(text, "page", {})
