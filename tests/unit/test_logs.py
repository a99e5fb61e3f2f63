"""Access lines: what is in them and what never is."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from splitter.errors import BadRequest
from splitter.logs import AccessLog
from splitter.routing import OWN, Backend, Decision, Reason


@dataclass
class Asked:
    method: bytes = b"GET"
    path: bytes = b"/a\xff\x1b"
    query: bytes = b"token=secret"
    fields: dict[bytes, bytes] = field(default_factory=lambda: {b"cookie": b"secret"})


@dataclass
class Done:
    decision: Decision
    request_id: bytes = b'id"\n{"event":"forged"}'
    status: int = 200
    error: str = ""
    response_bytes: int = 7
    head: Asked = field(default_factory=Asked)
    peer: str = "192.0.2.1"
    trace_id: bytes = b""


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DECIDED = Decision(Backend.DOMAIN, Reason.BUCKET, "default", 7, force_ignored=False)


def written(sample: float, randoms: list[float], *ended: Done) -> list[dict[str, object]]:
    out = io.BytesIO()
    log = AccessLog(out, sample, iter(randoms).__next__, lambda: NOW)
    for done in ended:
        log.request(done, 0.0123456)
    log.flush()
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_one_line_whatever_the_client_wrote() -> None:
    (line,) = written(1.0, [], Done(DECIDED))
    assert line["event"] == "request"
    assert (line["backend"], line["reason"], line["status"], line["duration_ms"]) == ("domain", "bucket", 200, 12.346)
    assert line["time"] == "2026-01-02T03:04:05Z"
    assert "secret" not in json.dumps(line)


def test_the_trace_is_named_when_there_is_one() -> None:
    with_one, without = written(1.0, [], Done(DECIDED, trace_id=b"4bf92f3577b34da6a3ce929d0e0e4736"), Done(DECIDED))
    assert with_one["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert "trace_id" not in without


def test_sampling() -> None:
    assert len(written(0.5, [0.1, 0.9, 0.4], Done(DECIDED), Done(DECIDED), Done(DECIDED))) == 2


def test_own_pages_are_not_logged() -> None:
    assert written(1.0, [], Done(OWN)) == []


class Writes(io.BytesIO):
    """Keeps what came in one write."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def write(self, data: Any) -> int:
        self.pieces.append(bytes(data))
        return len(data)


def test_writes_are_whole_lines_and_small_enough_to_stay_in_one_piece() -> None:
    out = Writes()
    log = AccessLog(out, 1.0, lambda: 0.0, lambda: NOW)
    for length in [*range(0, 1500, 7), 4000, 16_000, 5]:
        log.request(Done(DECIDED, head=Asked(path=b"/" + b'"' * length)), 0.1)
    log.flush()
    assert max(map(len, out.pieces)) <= 4096
    assert all(piece.endswith(b"\n") for piece in out.pieces)
    assert len(out.pieces) < 150, "as few as can be"
    lines = [json.loads(line) for line in b"".join(out.pieces).splitlines()]
    assert len(lines) == len(range(0, 1500, 7)) + 3
    assert lines[-2]["path"] == "/" + '"' * 799 + "..."
    assert lines[0]["path"] == "/"


def test_a_closed_output_costs_lines_not_requests() -> None:
    out = io.BytesIO()
    log = AccessLog(out, 1.0, lambda: 0.0, lambda: NOW)
    out.close()
    log.refused("192.0.2.1", BadRequest("no"))
    log.flush()
    log.flush()
