"""The lines of the data plane: requests, refusals, failures of backends.

Owns: what is in them, which requests are sampled. Must not know: where lines go, what ends a request.
Invariants: no token, cookie, query or body is ever in a line; a request's line costs an eighth of a structlog event and is
written later, together with others; failures and refusals are limited by kind, so that a storm of them is not one of lines.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from select import PIPE_BUF
from typing import Any, Final, Protocol

import orjson

from splitter.errors import BadRequest
from splitter.keys import Request
from splitter.logs.structured import JSON, Logs, utc_now
from splitter.logs.visible import of_text, of_value
from splitter.routing import Backend, Decision

FLUSH_EVERY_S: Final = 0.2
_BUFFER_LINES: Final = 512
_DELETE: Final = 0x7F
_NOTHING: Final[Mapping[str, Any]] = {}


class Ended(Protocol):
    """What a line tells of a request that ended, or that its backend just failed.

    `trace_id` is empty without a trace, `upstream` the address that was asked; sizes are of bodies. `answered_s` is how long
    it took until the head of the response was there, 0 without one.
    """

    request_id: bytes
    status: int
    error: str
    answered_s: float
    request_bytes: int
    response_bytes: int
    decision: Decision

    @property
    def trace_id(self) -> bytes: ...
    @property
    def head(self) -> Request: ...
    @property
    def peer(self) -> str: ...
    @property
    def upstream(self) -> str: ...


class AccessLog:
    """Gets every request when it ends; writes a line for `sample` (0 to 1) of them, and for every failure."""

    def __init__(
        self, logs: Logs, sample: float, random: Callable[[], float], now: Callable[[], datetime] = utc_now
    ) -> None:
        self._logs = logs
        self._sample = sample
        self.wants_requests = sample > 0
        self._random = random
        self._now = now
        self._lines: list[bytes] = []

    def request(self, ended: Ended, duration_s: float) -> None:
        sample = self._sample
        if sample < 1 and (not sample or self._random() >= sample):
            return
        if ended.decision.backend is Backend.INTERNAL:
            return
        more = {"error": ended.error} if ended.error else _NOTHING
        self._lines.append(self._line("info", "request", ended, duration_s, more))
        if len(self._lines) >= _BUFFER_LINES:
            self._hand_over()

    def refused(self, peer: str, error: BadRequest) -> None:
        """A request that no backend may see."""
        if self._may(logging.INFO, f"refused {error.kind}"):
            text = of_text(f"{error.kind}: {error.message}")
            self._hand_over()  # lines stay in their order
            self._logs.write("info", "refused", client=of_text(peer), status=error.status, error=text)

    def failed(self, ended: Ended, kind: str, detail: str, duration_s: float) -> None:
        """A backend failed a request, whatever its client will see of that."""
        if self._may(logging.WARNING, f"backend_failure {ended.decision.backend} {kind}"):
            more = {"kind": kind, "detail": detail}
            self._lines.append(self._line("warning", "backend_failure", ended, duration_s, more))
            self._hand_over()

    def endpoint(self, backend: str, upstream: str, state: str) -> None:
        """An endpoint is out, on trial, or back."""
        level = logging.WARNING if state == "out" else logging.INFO
        if self._may(level, f"endpoint_{state} {backend}"):
            self._hand_over()
            self._logs.write(logging.getLevelName(level).lower(), f"endpoint_{state}", backend=backend, upstream=upstream)

    def flush(self) -> dict[str, int]:
        """Hand over what has gathered; how many lines were lost since the last time, by why. Call it now and then."""
        self._logs.tell()
        self._hand_over()
        return self._logs.take_lost()

    def _hand_over(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            self._logs.output.write(b"".join(lines))

    def _may(self, level: int, kind: str) -> bool:
        return level >= self._logs.level and self._logs.admit(kind)

    def _line(self, level: str, event: str, ended: Ended, duration_s: float, more: Mapping[str, Any]) -> bytes:
        decision, head = ended.decision, ended.head
        line = {
            "time": self._now(),
            "level": level,
            "event": event,
            "request_id": ended.request_id.decode("latin-1"),
            "client": ended.peer,
            "method": head.method.decode("latin-1"),
            "path": head.path.decode("latin-1"),
            "status": ended.status or None,  # none yet
            "backend": decision.backend,
            "reason": decision.reason,
            "route": decision.route,
            "upstream": ended.upstream,
            "head_ms": int(ended.answered_s * 1e6) / 1e3,  # half the price of round()
            "duration_ms": int(duration_s * 1e6) / 1e3,
            "request_bytes": ended.request_bytes,
            "response_bytes": ended.response_bytes,
        }
        if ended.trace_id:
            line["trace_id"] = ended.trace_id.decode("latin-1")
        if more:
            line |= more
        if not self._logs.terminal:
            try:
                data = orjson.dumps(line, option=JSON)
            except TypeError:  # text that is none, such as half of a surrogate pair
                return self._cleaned(line, ended)
            # orjson escapes control characters. The others that do harm are not ASCII, but for one.
            if data.isascii() and _DELETE not in data and len(data) <= PIPE_BUF:
                return data
        return self._cleaned(line, ended)

    def _cleaned(self, line: dict[str, Any], ended: Ended) -> bytes:
        line |= {"request_id": ended.request_id, "method": ended.head.method, "path": ended.head.path}
        if ended.trace_id:
            line["trace_id"] = ended.trace_id
        time = line.pop("time")
        return self._logs.render({"time": time} | {name: of_value(value) for name, value in line.items()})
