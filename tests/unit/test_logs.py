"""Lines: what is in them, what never is, and that nobody can forge one."""

from __future__ import annotations

import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from select import PIPE_BUF
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from splitter.errors import BadRequest
from splitter.logs import AccessLog, Logs, configure, visible
from splitter.logs.storms import Storms
from splitter.routing import OWN, Backend, Decision, Reason

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DECIDED = Decision(Backend.DOMAIN, Reason.BUCKET, "default", 7, force_ignored=False)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@dataclass
class Asked:
    method: bytes = b"GET"
    path: bytes = b"/a"
    query: bytes = b"token=secret"
    fields: dict[bytes, bytes] = field(default_factory=lambda: {b"cookie": b"secret"})


@dataclass
class Done:
    decision: Decision = DECIDED
    request_id: bytes = b"id-1"
    trace_id: bytes = TRACE.encode()
    status: int = 200
    error: str = ""
    answered_s: float = 0.01
    request_bytes: int = 3
    response_bytes: int = 7
    head: Asked = field(default_factory=Asked)
    peer: str = "192.0.2.1"
    upstream: str = "127.0.0.1:8002"


class Time:
    """A clock in the test's hands."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Written:
    """What was written by logs that go to a file."""

    def __init__(self, folder: Path, *, level: str = "info", terminal: bool = False) -> None:
        self.clock = Time()
        self._file = folder / "log"
        self._fd = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.logs = Logs(self._fd, level, terminal=terminal, clock=self.clock, now=lambda: NOW)

    def access_log(self, sample: float = 1.0, random: Callable[[], float] = lambda: 0.5) -> AccessLog:
        return AccessLog(self.logs, sample, random, lambda: NOW)

    def text(self) -> str:
        self.logs.output.close()
        os.close(self._fd)
        return self._file.read_text("utf-8")

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


# --- requests, failures, refusals ------------------------------------------------------------------------------------


def test_a_request_line_has_all_it_should_and_no_secret(written: Written) -> None:
    log = written.access_log()
    log.request(Done(), 0.0123456)
    log.flush()
    (line,) = written.lines()
    assert line == {
        "time": "2026-01-02T03:04:05Z", "level": "info", "event": "request", "request_id": "id-1", "trace_id": TRACE,
        "client": "192.0.2.1", "method": "GET", "path": "/a", "status": 200, "backend": "domain", "reason": "bucket",
        "route": "default", "upstream": "127.0.0.1:8002", "head_ms": 10.0, "duration_ms": 12.345, "request_bytes": 3,
        "response_bytes": 7,
    }  # fmt: skip


def test_a_request_that_failed_says_why(written: Written) -> None:
    log = written.access_log()
    log.request(Done(status=502, error="reset: the backend reset the connection", trace_id=b""), 0.1)
    log.flush()
    (line,) = written.lines()
    assert line["error"] == "reset: the backend reset the connection"
    assert "trace_id" not in line


def test_a_failure_of_a_backend_is_a_line_even_when_requests_are_not(written: Written) -> None:
    log = written.access_log(sample=0)
    log.request(Done(), 0.1)
    log.failed(Done(status=0), "timeout", "no answer within 2 s", 2.0)
    log.endpoint("domain", "127.0.0.1:8002", "out")
    log.endpoint("domain", "127.0.0.1:8002", "back")
    log.refused("192.0.2.7", BadRequest("no Host"))
    log.flush()
    failed, out, back, refused = written.lines()
    assert failed["event"] == "backend_failure"
    assert failed["level"] == "warning"
    assert (failed["backend"], failed["kind"], failed["detail"]) == ("domain", "timeout", "no answer within 2 s")
    assert (failed["request_id"], failed["trace_id"], failed["reason"], failed["route"]) == (
        "id-1",
        TRACE,
        "bucket",
        "default",
    )
    assert (failed["duration_ms"], failed["request_bytes"], failed["response_bytes"]) == (2000.0, 3, 7)
    assert (out["event"], out["level"], out["upstream"]) == ("endpoint_out", "warning", "127.0.0.1:8002")
    assert (back["event"], back["level"]) == ("endpoint_back", "info")
    assert (refused["event"], refused["client"], refused["status"]) == ("refused", "192.0.2.7", 400)


def test_sampling(written: Written) -> None:
    log = written.access_log(0.5, iter([0.1, 0.9, 0.4]).__next__)
    for _ in range(3):
        log.request(Done(), 0.1)
    log.flush()
    assert len(written.lines()) == 2


def test_own_pages_are_not_logged(written: Written) -> None:
    log = written.access_log()
    log.request(Done(OWN), 0.1)
    log.flush()
    assert written.lines() == []


def test_the_level_holds_for_failures_too(tmp_path: Path) -> None:
    written = Written(tmp_path, level="error")
    log = written.access_log(sample=0)
    log.failed(Done(), "reset", "", 0.1)
    log.refused("192.0.2.7", BadRequest("no"))
    log.flush()
    assert written.lines() == []


# --- storms ----------------------------------------------------------------------------------------------------------


def test_a_storm_is_ten_lines_and_a_sum(written: Written) -> None:
    log = written.access_log()
    for _ in range(1244):
        log.failed(Done(), "reset", "", 0.1)
    log.failed(Done(), "timeout", "", 0.1)
    assert log.flush() == {"suppressed": 1234}
    written.clock.now_s += 1.0
    assert log.flush() == {}
    lines = written.lines()
    assert [line.get("kind") for line in lines] == ["reset"] * 10 + ["timeout", "backend_failure domain reset"]
    assert lines[-1]["event"] == "suppressed"
    assert lines[-1]["lines"] == 1234


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.1, 0.4, 2.0])), max_size=200))
def test_every_line_is_admitted_or_in_one_sum(storm: list[tuple[str, float]]) -> None:
    storms, now_s, admitted, told = Storms(3, 1.0), 0.0, 0, 0
    for kind, pause_s in storm:
        now_s += pause_s
        told += sum(count for _, count in storms.over(now_s))
        admitted += storms.admit(kind, now_s)
    told += sum(count for _, count in storms.over(now_s + 1.0))
    assert admitted + told == len(storm)
    assert storms.over(now_s + 2.0) == []


# --- structlog and the standard library ------------------------------------------------------------------------------


@pytest.fixture
def configured(capfd: pytest.CaptureFixture[str]) -> Iterator[tuple[Logs, Callable[[], list[dict[str, Any]]]]]:
    """This process's logging as `run` sets it up, and what it wrote to file descriptor 1."""
    before, handlers, level = structlog.get_config(), logging.getLogger().handlers, logging.getLogger().level
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", os.fdopen(1, "w", closefd=False))
        logs = configure("info", terminal=False)

    def lines() -> list[dict[str, Any]]:
        logs.output.close()
        return [json.loads(line) for line in capfd.readouterr().out.splitlines()]

    yield logs, lines
    structlog.configure(**before)
    logging.captureWarnings(capture=False)
    logging.getLogger().handlers, logging.getLogger().level = handlers, level


Configured = tuple[Logs, Callable[[], list[dict[str, Any]]]]


def test_events_and_library_records_are_lines(configured: Configured) -> None:
    log = structlog.get_logger()
    log.debug("not at this level")
    log.info("rolled_back", by="operator", seconds=0.004, reason="太慢了", token="t0p", nested={"Cookie": "c", "n": 1})
    logging.getLogger("asyncio").error("Task failed: %s", "x\ny")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    rolled_back, library, warned = configured[1]()
    assert list(rolled_back)[:3] == ["time", "level", "event"]
    assert rolled_back["time"].endswith("Z")
    assert (rolled_back["level"], rolled_back["event"], rolled_back["reason"]) == ("info", "rolled_back", "太慢了")
    assert rolled_back["token"] == "[hidden]"
    assert rolled_back["nested"] == {"Cookie": "[hidden]", "n": 1}
    assert (library["event"], library["logger"], library["message"]) == ("library", "asyncio", "Task failed: x\\ny")
    assert (warned["logger"], warned["level"]) == ("py.warnings", "warning")


def test_an_exception_is_a_traceback_without_locals(configured: Configured) -> None:
    def fails() -> None:
        local = "local value"
        raise ValueError("\x1b[2J" + local[:0])

    try:
        fails()
    except ValueError:
        structlog.get_logger().exception("task_failed", task="x")
    (line,) = configured[1]()
    assert line["level"] == "error"
    assert "ValueError: \\x1b[2J" in line["exception"]
    assert "local value" not in line["exception"].replace('local = "local value"', "")


def test_a_value_that_cannot_be_written_costs_the_value(configured: Configured) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no")

    structlog.get_logger().info("odd", value=Odd(), count=1)
    structlog.get_logger().info("big", count=1 << 80, share=float("nan"), path=Path("/a"), raw=b"\xff", none=None)
    odd, big = configured[1]()
    assert (odd["event"], odd["unwritable"]) == ("odd", "RuntimeError: no")
    assert (big["count"], big["share"], big["path"], big["raw"]) == (str(1 << 80), None, "/a", "\\xff")


def test_passwords_in_urls_are_not_written(configured: Configured) -> None:
    structlog.get_logger().warning("store_down", url="redis://user:pass@db:6379/0", error="can't reach redis://:pw@db")
    (line,) = configured[1]()
    assert (line["url"], line["error"]) == ("redis://***@db:6379/0", "can't reach redis://***@db")


# --- forgery ---------------------------------------------------------------------------------------------------------

HOSTILE = [
    '\n{"event":"rollback","level":"info"}',
    "\r\n12:00:00 [info] rollback",
    "\x1b[2J\x1b[1;31mgone\x1b[0m",
    "\x9b2J",  # the one-byte form of the same
    "a\u202eb\u2028c\u2029d\u0085e\u200bf",
    "\x00\x07\x08\x7f",
    "\ud800",
    '"}\n',
    "x" * 100_000,
]
HARMLESS = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]*")
SGR = re.compile(r"\x1b\[\d+(?:;\d+)*m")
"""What the console's own colours are made of."""


def wire(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def everywhere(text: str, written: Written) -> None:
    """This text in every field that a client, a backend or an operator has any influence on, in every kind of line."""
    decision = Decision(Backend.DOMAIN, Reason.BUCKET, text, 7, force_ignored=False)
    done = Done(
        decision, wire(text), wire(text), 200, text, 0.1, 1, 2, Asked(wire(text), wire(text), wire(text)), text, text
    )  # fmt: skip
    log = written.access_log()
    log.request(done, 0.1)
    log.failed(done, "reset", text, 0.1)
    log.refused(text, BadRequest(text, kind=text))
    log.endpoint("domain", text, "out")
    log.flush()
    for event in (
        {"event": "changed", "reason": text, "faults": [text], "deep": {text: {"a": text}}, "raw": wire(text)},
        {"event": text},
        {"event": "failed", "exception": f"Traceback:\n  {text}\nValueError: {text}"},
        {"event": "own", "time": text, "level": text},
    ):
        written.logs.output.write(written.logs.take(None, "info", event))


LINES = 8


@pytest.mark.parametrize("text", HOSTILE)
def test_nobody_can_forge_a_json_line(text: str, written: Written) -> None:
    everywhere(text, written)
    raw = written.text()
    lines = raw.removesuffix("\n").split("\n")
    assert len(lines) == LINES
    for line in lines:
        assert HARMLESS.fullmatch(line)
        event = json.loads(line)
        assert event["time"] == "2026-01-02T03:04:05Z"
        assert event["level"] in {"info", "warning"}
    assert {json.loads(line)["event"] for line in lines} >= {"request", "backend_failure", "refused", "endpoint_out", "own"}


@pytest.mark.parametrize("text", HOSTILE)
def test_nobody_can_forge_a_console_line(text: str, tmp_path: Path) -> None:
    written = Written(tmp_path, terminal=True)
    everywhere(text, written)
    lines = SGR.sub("", written.text()).removesuffix("\n").split("\n")
    begin = re.compile(r"03:04:05\.000 \[(?:info|warning) *\] ")
    assert len([line for line in lines if begin.match(line)]) == LINES
    for line in lines:
        assert HARMLESS.fullmatch(line)
        assert begin.match(line) or line.startswith("    ")  # a traceback's


def test_a_long_path_is_cut_so_that_a_pipe_takes_the_line_in_one_piece(written: Written) -> None:
    log = written.access_log()
    log.request(Done(head=Asked(path=b"/" + b'"' * 16_000)), 0.1)
    log.flush()
    (line,) = written.text().splitlines()
    assert len(line) < PIPE_BUF
    assert json.loads(line)["path"] == "/" + '"' * 1023 + "... (14977 more)"


@given(st.text(max_size=2000))
def test_visible_text_is_harmless_and_bounded(text: str) -> None:
    shown = visible.of_text(text)
    assert shown.isprintable()
    assert len(shown) <= 10 * visible.TEXT_CHARACTERS + 30
    if text.isprintable() and len(text) <= visible.TEXT_CHARACTERS:
        assert shown == text


@given(st.binary(max_size=2000))
def test_visible_bytes_are_ascii(data: bytes) -> None:
    shown = visible.of_value(data)
    assert shown.isascii()
    assert shown.isprintable()
