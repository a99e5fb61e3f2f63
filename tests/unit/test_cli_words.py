"""What commands say: short, exact, and nothing that could steer a terminal."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from splitter.cli import words
from splitter.cli.follow import Message
from splitter.cli.status import lines
from splitter.cli.target import Target
from splitter.cli.watch import View

WHEN = "2026-11-24T21:29:00.123Z"
EVIL = "\x1b[2J\x07\u202erm -rf\n"
STATUS: dict[str, Any] = {
    "summary": "10 % of clients go to domain",
    "use_domain_service": {"value": True, "from": "default"},
    "rolled_back": {"value": False, "from": "default"},
    "percent": {"value": 10.0, "from": "file:4"},
    "routes": {"camera-control": {"value": 5.5, "from": "file:7"}},
    "key": ["header:X-User-Id", "client_ip"],
    "force": "open",
    "version": 7,
    "plan": None,
    "guardrails": {"verdict": None, "bad_windows": 0, "bad_windows_max": 2},
    "backends": {"legacy": {"status": "up"}, "domain": {"status": "down"}},
    "domain_ejected": False,
    "workers": {"in_force_on": 2, "replaced": 0, "took_ms": 1.5},
    "store": {"url": "file:state/rollout.json", "status": "up", "fault": None, "saved": True, "notice": None},
    "config": {"status": "ok", "fault": None, "restart_needed": []},
    "last_change": None,
    "problems": [],
}
LATCH = {"value": True, "from": "operator", "who": "cli:ann@ops1", "when": WHEN, "why": "too slow"}


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def row(name: str, **changes: Any) -> str:
    found = [line for line in lines(STATUS | changes) if line.startswith(f"{name} ")]
    assert len(found) == 1
    return found[0].removeprefix(name).strip()


def test_rows_of_the_status() -> None:
    assert row("domain") == "on"
    assert row("percent") == "10 %, from file:4"
    assert row("route camera-control") == "5.5 %, from file:7"
    assert row("backends") == "legacy up, domain down"
    assert row("state") == "version 7 in file:state/rollout.json, everything saved"
    beaten = {
        "value": 25.0,
        "from": "operator",
        "who": "api",
        "when": WHEN,
        "why": "",
        "instead_of": {"value": 10.0, "from": "file:4"},
    }
    assert row("percent", percent=beaten) == "25 %, from operator (api, 2026-11-24 21:29:00), instead of 10 % from file:4"


def test_why_nothing_goes_to_domain() -> None:
    assert row("domain", rolled_back=LATCH) == "off: rolled back by cli:ann@ops1, 2026-11-24 21:29:00: too slow"
    off = {"value": False, "from": "env:USE_DOMAIN_SERVICE"}
    assert (
        row("domain", use_domain_service=off, rolled_back=LATCH)
        == "off: use_domain_service is false (env:USE_DOMAIN_SERVICE)"
    )
    assert row("domain", domain_ejected=True) == "down: its clients go to legacy"


def test_problems_stand_last() -> None:
    found = lines(STATUS | {"problems": ["the state store is down: file:x: no space"]})
    assert found[-1] == "problem: the state store is down: file:x: no space"


def test_how_a_change_went() -> None:
    done: dict[str, Any] = {"workers": 1, "replaced": 0, "saved": True, "took_ms": 3.14, "status": STATUS}
    assert words.went(done) == ["in force on 1 worker after 3.1 ms"]
    store = STATUS["store"] | {"fault": "file:x: no space left"}
    late = done | {"workers": 2, "replaced": 1, "saved": False, "status": STATUS | {"store": store}}
    assert words.went(late) == [
        "in force on 2 workers after 3.1 ms",
        "1 worker did not acknowledge in time and had to be replaced",
        "NOT SAVED YET, a restart now would forget it: file:x: no space left",
    ]


def test_nothing_that_others_wrote_reaches_the_terminal_as_it_is() -> None:
    latch = LATCH | {"who": EVIL, "why": EVIL, "when": EVIL}
    event = {"version": 1, "when": EVIL, "who": EVIL, "what": EVIL, "why": EVIL, "from": EVIL, "to": EVIL}
    status = STATUS | {
        "rolled_back": latch,
        "percent": STATUS["percent"] | {"from": EVIL},
        "routes": {EVIL: STATUS["percent"]},
        "key": [EVIL],
        "backends": {EVIL: {"status": EVIL}},
        "store": STATUS["store"] | {"url": EVIL},
        "last_change": event,
        "problems": [EVIL],
    }
    for line in lines(status):
        assert line.isprintable(), line


def render(view: View) -> str:
    out = io.StringIO()
    Console(file=out, width=120, color_system=None).print(view)
    return out.getvalue()


def test_watch_shows_state_rates_and_events_and_says_when_they_are_old() -> None:
    view = View(Target("127.0.0.1", 8090))
    assert render(view).strip() == "splitter at http://127.0.0.1:8090"
    view.take(Message("status", STATUS))
    side = {"requests_per_s": 1234.5, "error_rate": 0.0123, "p50_s": 0.0012, "p95_s": 0.0105, "p99_s": None}
    view.take(Message("stats", {"interval_s": 1.0, "legacy": side, "domain": side}))
    view.take(
        Message(
            "event",
            {"version": 1, "when": WHEN, "who": "api", "what": "rollback", "why": "", "from": "10 %", "to": "rolled back"},
        )
    )
    shown = render(view)
    assert "1234.5" in shown
    assert "1.23 %" in shown
    assert "10.5 ms" in shown
    assert "2026-11-24 21:29:00  api  rollback: 10 % -> rolled back" in shown
    view.trouble = "can't reach the splitter: nothing listens there"
    assert "can't reach the splitter: nothing listens there; trying again" in render(view)
    view.take(Message("status", STATUS))
    assert "trying again" not in render(view)
