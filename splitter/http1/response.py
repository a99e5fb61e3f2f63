"""Response heads: what a backend may say, how long its body is, and how the head reaches the client.

Owns: status line policy, response framing (RFC 9112 section 6.3), persistence of the backend's connection.
Must not know: sockets, which backend spoke, what the request was beyond its method.
Invariant: a head that comes out of `ResponseHeadReader.read` has one framing for every RFC 9112 reader; anything else is
a BadResponse, because passing it on would let one client's response end inside another's.
"""

from __future__ import annotations

import re
from typing import Final

from httptools import HttpResponseParser

from splitter.errors import BadResponse
from splitter.http1.fields import DIGITS, FieldCollector, FieldsError, Pair, join_pairs, to_drop, tokens
from splitter.http1.request import CHUNKED, NO_BODY

UNTIL_CLOSE: Final = -2
"""`body` of a response without any length: all that comes until the backend closes."""

CONTINUE: Final = 100
SWITCHING: Final = 101

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t -~\x80-\xff]*))?\r\n")

_SPECIAL: Final = frozenset(
    {
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"te",
        b"transfer-encoding",
        b"content-length",
        b"upgrade",
        b"x-splitter-backend",
        b"x-splitter-reason",
    }
)
_REWRITTEN: Final = _SPECIAL - {b"content-length"}
_OURS: Final = frozenset({b"x-splitter-backend", b"x-splitter-reason"})


class ResponseHead:
    """One response as the backend gave it. `body` is a length in bytes, NO_BODY, CHUNKED or UNTIL_CLOSE.

    `lines` are the field lines for the client, each with its CRLF: what ends at this hop is gone, framing fields too when
    the length is not told by Content-Length.
    """

    __slots__ = (
        "body",
        "fields",
        "keep_alive",
        "lines",
        "minor",
        "reason",
        "rendered",
        "rendered_for",
        "status",
        "upgrade",
    )

    status: int
    reason: bytes
    minor: int
    fields: dict[bytes, bytes]
    lines: bytes
    body: int
    keep_alive: bool
    upgrade: bytes
    rendered: bytes
    rendered_for: bytes | None


_HEADS_KEPT: Final = 512
_HEAD_BYTES_KEPT: Final = 1024


class ResponseHeadReader:
    """Reads the response heads of one backend.

    A backend says much the same with most of its answers, at least within one second of its Date: what a head means is
    remembered by its bytes, bounded, as with requests.

    `known` holds final heads by their bytes without the empty line, as answers to any method but HEAD.
    """

    __slots__ = ("_collector", "_headers", "known")

    def __init__(self, headers: int) -> None:
        self._headers = headers
        self.known: dict[bytes, ResponseHead] = {}
        self._collector = FieldCollector()

    def read(self, block: bytes, method: bytes) -> ResponseHead:
        """The head in `block`, which ends with the empty line, as the answer to `method`. Raises BadResponse."""
        head = self._parse(block, method)
        # An answer to HEAD has the head of another answer, but no body.
        if method != b"HEAD" and head.status >= 200 and len(block) <= _HEAD_BYTES_KEPT:
            if len(self.known) >= _HEADS_KEPT:
                self.known.clear()
            self.known[block[:-4]] = head
        return head

    def _parse(self, block: bytes, method: bytes) -> ResponseHead:
        line = _STATUS_LINE.match(block)
        if line is None:
            raise BadResponse("the backend's status line is not HTTP/1.x")
        collector = self._collector
        try:
            collector.read(HttpResponseParser, block, self._headers)
        except FieldsError as error:
            raise BadResponse(f"the backend's head: {error}") from None
        head = ResponseHead()
        minor, status, reason = line.groups()
        head.minor = 1 if minor == b"1" else 0
        head.status = int(status)
        head.reason = reason or b""
        head.fields = collector.fields
        head.lines = block[line.end() : -2]
        head.keep_alive = head.minor == 1
        head.upgrade = b""
        head.body = UNTIL_CLOSE
        head.rendered_for = None
        if not _SPECIAL.isdisjoint(collector.fields):
            self._apply_special(head, collector.pairs)
        if method == b"HEAD" or head.status < 200 or head.status in {204, 304}:
            head.body = NO_BODY
        elif head.body == UNTIL_CLOSE:
            head.keep_alive = False
        return head

    def _apply_special(self, head: ResponseHead, pairs: list[Pair]) -> None:
        fields, repeated = head.fields, self._collector.repeated
        coding, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
        if coding is not None:
            if length is not None or head.minor == 0 or coding.lower() != b"chunked":
                raise BadResponse("the backend's response has a Transfer-Encoding that has no one meaning")
            head.body = CHUNKED
        elif length is not None:
            if b"content-length" in repeated or DIGITS.fullmatch(length) is None:
                raise BadResponse("the backend's Content-Length is not one whole number")
            head.body = int(length)
        connection = fields.get(b"connection")
        if connection is not None:
            named = tokens(connection)
            if b"close" in named:
                head.keep_alive = False
            elif b"keep-alive" in named:
                head.keep_alive = True
            if b"upgrade" in named:
                head.upgrade = fields.get(b"upgrade", b"")
        no_length = length is not None and (head.status < 200 or head.status == 204)  # RFC 9110 section 8.6
        if no_length or connection is not None or not _REWRITTEN.isdisjoint(fields):
            drop = to_drop(connection) | _OURS
            head.lines = join_pairs(pairs, drop | {b"content-length"} if no_length else drop)


_CLOSE: Final = b"Connection: close\r\n"
_KEEP: Final = b"Connection: keep-alive\r\n"
_CHUNKED_LINE: Final = b"Transfer-Encoding: chunked\r\n"


def render_response(head: ResponseHead, mark: bytes, *, client_minor: int, keep_alive: bool, chunked: bool) -> bytes:
    """The final head for the client. `mark` holds the splitter's own field lines.

    The version is ours, not the backend's (RFC 9110 section 2.5); a client of HTTP/1.0 learns that its connection stays
    open only if it is told. What most clients get is kept with the head (`rendered`, for this mark): look there first.
    """
    connection = b""
    if not keep_alive:
        connection = _CLOSE
    elif client_minor == 0:
        connection = _KEEP
    coding = _CHUNKED_LINE if chunked else b""
    data = b"HTTP/1.1 %d %b\r\n%b%b%b%b\r\n" % (head.status, head.reason, head.lines, coding, connection, mark)
    if keep_alive and client_minor == 1 and not chunked:
        head.rendered_for, head.rendered = mark, data
    return data


def render_interim(head: ResponseHead, mark: bytes) -> bytes:
    """A 1xx head (RFC 9110 section 15.2) as it is passed on; 101 with the protocol it switches to."""
    upgrade = b"Connection: Upgrade\r\nUpgrade: " + head.upgrade + b"\r\n" if head.status == SWITCHING else b""
    return b"HTTP/1.1 %d %b\r\n%b%b%b\r\n" % (head.status, head.reason, head.lines, upgrade, mark)
