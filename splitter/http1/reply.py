"""Responses the splitter makes itself: errors, as JSON of one shape.

Owns: the shape `{"error": {"code", "message", "request_id"}}` and the fields that go with a status.
Must not know: why a request failed beyond what it is told.
Invariant: every reply has a length, so a client never waits for its end.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

ALLOWED: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_RETRY_AFTER_S: Final = 1
_PHRASES: Final = {413: "Content Too Large", 414: "URI Too Long"}
"""RFC 9110's names where Python's older ones have RFC 2616's."""


def render_options(*, date: str, close: bool, client_minor: int) -> bytes:
    """The answer to OPTIONS that is for the splitter itself (RFC 9110 section 9.3.7)."""
    connection = b"Connection: close\r\n" if close else b"" if client_minor else b"Connection: keep-alive\r\n"
    return b"HTTP/1.1 200 OK\r\nDate: %b\r\nAllow: %b\r\nContent-Length: 0\r\n%b\r\n" % (date.encode(), ALLOWED, connection)


def render_error(
    status: int,
    code: str,
    message: str,
    request_id: str,
    *,
    mark: bytes,
    date: str,
    close: bool,
    head_only: bool = False,
) -> bytes:
    """The whole response. `mark` are the splitter's own field lines; `head_only` for HEAD (RFC 9110 section 9.3.2)."""
    body = json.dumps({"error": {"code": code, "message": message, "request_id": request_id}}).encode() + b"\n"
    phrase = _PHRASES.get(status) or HTTPStatus(status).phrase
    lines = [
        f"HTTP/1.1 {status} {phrase}\r\nDate: {date}\r\nContent-Type: application/json\r\n".encode(),
        b"Content-Length: %d\r\n" % len(body),
        mark,
    ]
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append(b"Allow: " + ALLOWED + b"\r\n")  # RFC 9110 section 15.5.6: it must be there
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        lines.append(b"Retry-After: %d\r\n" % _RETRY_AFTER_S)
    if close:
        lines.append(b"Connection: close\r\n")
    lines.append(b"\r\n")
    if not head_only:
        lines.append(body)
    return b"".join(lines)
