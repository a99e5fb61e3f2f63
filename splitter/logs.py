"""Log lines: JSON for machines, colours for a terminal.

Owns: how lines look, where they go, which requests are sampled. Must not know: who logs what.
Invariants: no token, cookie, query or body is ever in a line; a value from a client is always inside a JSON string, so it
can't start a line of its own; logging a request never blocks on the output for longer than one buffered write.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import BinaryIO, Final, Protocol

import orjson
import structlog

from splitter.errors import BadRequest
from splitter.keys import Request
from splitter.routing import Backend, Decision

FLUSH_EVERY_S: Final = 0.2
_BUFFER_LINES: Final = 512


def configure(level: str, *, terminal: bool) -> None:
    """Set up structlog for this process; `level` as in `log_level`."""
    renderer: list[structlog.typing.Processor]
    factory: Callable[..., structlog.typing.WrappedLogger]
    if terminal:
        renderer, factory = [structlog.dev.ConsoleRenderer()], structlog.PrintLoggerFactory(sys.stdout)
    else:
        renderer = [structlog.processors.JSONRenderer(serializer=orjson.dumps)]
        factory = structlog.BytesLoggerFactory(sys.stdout.buffer)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", key="time"),
            structlog.processors.format_exc_info,
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )


class Ended(Protocol):
    """What a line tells of a request that ended."""

    request_id: bytes
    status: int
    error: str
    response_bytes: int
    decision: Decision

    @property
    def trace_id(self) -> bytes: ...
    @property
    def head(self) -> Request: ...
    @property
    def peer(self) -> str: ...


class AccessLog:
    """One JSON line for each sampled request, 2 µs instead of structlog's 9; written in batches by `flush`."""

    def __init__(self, out: BinaryIO, sample: float, random: Callable[[], float], now: Callable[[], datetime]) -> None:
        self._out = out
        self._sample = sample
        self._random = random
        self._now = now
        self._lines: list[bytes] = []

    def request(self, ended: Ended, duration_s: float) -> None:
        decision = ended.decision
        if decision.backend is Backend.INTERNAL or (self._sample < 1 and self._random() >= self._sample):
            return
        line = {
            "time": self._now(),
            "level": "info",
            "event": "request",
            "request_id": ended.request_id.decode("latin-1"),
            "client": ended.peer,
            "method": ended.head.method.decode("latin-1"),
            "path": ended.head.path.decode("latin-1"),
            "status": ended.status,
            "backend": decision.backend,
            "reason": decision.reason,
            "route": decision.route,
            "duration_ms": round(duration_s * 1000, 3),
            "response_bytes": ended.response_bytes,
        }
        trace_id = ended.trace_id
        if trace_id:
            line["trace_id"] = trace_id.decode("latin-1")
        if ended.error:
            line["error"] = ended.error
        self._write(line)

    def refused(self, peer: str, error: BadRequest) -> None:
        self._write(
            {
                "time": self._now(),
                "level": "info",
                "event": "refused",
                "client": peer,
                "status": error.status,
                "error": f"{error.kind}: {error.message}",
            }
        )

    def _write(self, line: dict[str, object]) -> None:
        self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z))
        if len(self._lines) >= _BUFFER_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered. A reader that is gone costs the lines, not the requests."""
        lines, self._lines = self._lines, []
        if lines:
            try:
                self._out.write(b"".join(lines))
                self._out.flush()
            except (OSError, ValueError):
                return


def utc_now() -> datetime:
    return datetime.now(UTC)
