"""Request heads: what is accepted, and what is refused with which status.

Owns: request line policy, Host, request framing (RFC 9112 section 6.3), expectations, upgrades, Max-Forwards.
Must not know: sockets, backends' addresses, where the request will go, what is added when it is forwarded.
Invariant: a head that comes out of `RequestHeadReader.read` has one meaning for every RFC 9112 reader: one Host, one
framing, one line per field, an origin-form (or `*`) target of visible ASCII.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from httptools import HttpRequestParser

from splitter.errors import BadRequest
from splitter.http1.fields import DIGITS, TOKEN, FieldCollector, FieldsError, Pair, join_pairs, to_drop, tokens
from splitter.http1.trace import trace_id_of

NO_BODY: Final = 0
CHUNKED: Final = -1
"""`body` of a head: a number of bytes, or CHUNKED."""

_REQUEST_LINE: Final = re.compile(rb"(" + TOKEN + rb") (/[!\"$-~]*) HTTP/1\.([01])\r\n")
_ANY_LINE: Final = re.compile(rb"(" + TOKEN + rb") ([^ \t\r\n\x00-\x1f\x7f-\xff]+) HTTP/([0-9])\.([0-9])\r\n")
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.%A-Za-z\-_~]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]*)(?::[0-9]{0,5})?")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#@]+)(/[^#]*|\?[^#]*)?", re.IGNORECASE)
_REQUEST_ID: Final = re.compile(rb"[!-~]{1,128}")

# What llhttp is told instead of the request line, which is judged here: it knows a fixed list of methods, some of which
# (SOURCE, SETUP, ...) it takes for other protocols, and any token is a method (RFC 9110 section 9.1).
_PLAIN_LINE: Final = (b"GET / HTTP/1.0\r\n", b"GET / HTTP/1.1\r\n")
_REFUSED_METHODS: Final = frozenset({b"CONNECT", b"TRACE"})
_JUDGED_METHODS: Final = _REFUSED_METHODS | {b"OPTIONS"}

# A head with none of these needs no further look than its Host, and is forwarded as it came.
_SPECIAL: Final = frozenset(
    {
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"te",
        b"transfer-encoding",
        b"content-length",
        b"upgrade",
        b"http2-settings",
        b"expect",
        b"max-forwards",
        b"traceparent",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-request-id",
        b"x-splitter-token",
        b"x-splitter-mirror",
    }
)
_REWRITTEN: Final = _SPECIAL - {b"content-length", b"expect", b"traceparent"}

_DEPENDENT: Final = _REWRITTEN - {b"connection", b"proxy-connection", b"keep-alive", b"te", b"upgrade", b"http2-settings"}
"""Fields that are rewritten in different ways on different connections, or for single methods."""


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Where a head or body is too much. `body_bytes` None: no limit."""

    header_bytes: int
    target_bytes: int
    headers: int
    body_bytes: int | None = None


class Shape:
    """What the field lines of a request say, whatever its request line is. Never changed once made.

    `lines` are the field lines as they came, each with its CRLF; `fields` their values by lower-case name; `body` a length
    in bytes, NO_BODY or CHUNKED; `upgrade` the protocols asked for, empty without; `request_id` and `trace_id` are empty
    without one that can be used; `rewrite`: `lines` can't be forwarded as they are, `pairs` (empty otherwise) are for
    building others.
    """

    __slots__ = ("body", "expects_continue", "fields", "host", "keep_alive", "lines", "pairs", "request_id", "rewrite",
                 "trace_id", "upgrade", "wants_trailers")  # fmt: skip

    def __init__(self, lines: bytes, pairs: list[Pair], fields: dict[bytes, bytes], *, keep_alive: bool) -> None:
        self.lines = lines
        self.pairs = pairs
        self.fields = fields
        self.host = b""
        self.body = NO_BODY
        self.keep_alive = keep_alive
        self.expects_continue = False
        self.wants_trailers = False
        self.upgrade = b""
        self.request_id = b""
        self.trace_id = b""
        self.rewrite = False


class RequestHead:
    """One request as it was asked. `target` is in origin-form (or `*`), `path` and `query` its parts, all as they came.

    One that was asked in the same words before is the same object: nothing in it is changed once it was read. `prepared` is
    for its user, who may put there what it made of the head.
    """

    __slots__ = ("fields", "method", "minor", "path", "prepared", "query", "shape", "target")

    method: bytes
    target: bytes
    path: bytes
    query: bytes
    minor: int
    fields: dict[bytes, bytes]
    shape: Shape
    prepared: Any


class OwnAnswer(Exception):
    """This request ends here: OPTIONS with `Max-Forwards: 0` asks what the splitter can do (RFC 9110 section 7.6.2)."""

    def __init__(self, head: RequestHead) -> None:
        super().__init__()
        self.head = head


_KEPT: Final = 2048
_BYTES_KEPT: Final = 1024
KNOWN_BYTES: Final = 2 * _BYTES_KEPT
"""What is longer is not in `known`."""

Asked = tuple[bytes, bytes, bytes, bytes]
"""What an ordinary request line says: method, target, path, query."""


class RequestHeadReader:
    """Reads request heads.

    A client sends the same field lines with most of its requests, and many ask for the same targets: what they mean is
    remembered by their bytes, 0.2 µs instead of 7 and 0.1 instead of 0.5. The memory is bounded, and what is in it depends
    on nothing but those bytes.

    `known` holds whole heads, of requests without a body, by their bytes: a client that polls says the same words each time.
    """

    __slots__ = ("_collector", "_limits", "_lines", "_rewrite_all", "_shapes", "known")

    def __init__(self, limits: HeadLimits, *, rewrite_all: bool = False) -> None:
        """`rewrite_all`: what is added when forwarding may replace any field, so no head is forwarded as it came."""
        self._limits = limits
        self._rewrite_all = rewrite_all
        self._collector = FieldCollector()
        self._shapes: dict[bytes, Shape] = {}
        self._lines: dict[bytes, Asked] = {}
        self.known: dict[bytes, RequestHead] = {}

    def read(self, block: bytes) -> RequestHead:
        """The head in `block`, which ends with the empty line.

        Raises BadRequest with the status RFC 9110 names, OwnAnswer when no backend is to see it.
        """
        end = block.find(b"\n") + 1
        line = block[:end]
        asked = self._lines.get(line) or self._new_line(line)
        if asked is None:
            return self._read_rare(block)
        head = RequestHead()
        head.method, head.target, head.path, head.query = asked
        head.minor = 1
        head.prepared = None
        lines = block[end:]
        shape = self._shapes.get(lines)
        if shape is None:
            shape = self._new_shape(lines)
        elif shape.body == NO_BODY and len(block) <= KNOWN_BYTES and head.method not in _JUDGED_METHODS:
            if len(self.known) >= _KEPT:
                self.known.clear()
            self.known[block] = head
        head.shape = shape
        head.fields = shape.fields
        if head.method in _JUDGED_METHODS:
            self._judge_method(head)
        return head

    def _new_line(self, line: bytes) -> Asked | None:
        """What an ordinary request line says; None of any other."""
        found = _REQUEST_LINE.fullmatch(line)
        if found is None or found[3] != b"1":
            return None
        method, target, _ = found.groups()
        self._check_target(target)
        path, _, query = target.partition(b"?")
        asked = (method, target, path, query)
        if len(line) <= _BYTES_KEPT:
            if len(self._lines) >= _KEPT:
                self._lines.clear()
            self._lines[line] = asked
        return asked

    def _check_target(self, target: bytes) -> None:
        if len(target) > self._limits.target_bytes:
            raise BadRequest(f"the target is longer than {self._limits.target_bytes} bytes", status=414, kind="uri_too_long")

    def _read_rare(self, block: bytes) -> RequestHead:
        """A head with another request line than most: HTTP/1.0, another form of target, or none that is allowed."""
        head = RequestHead()
        head.prepared = None
        line = _REQUEST_LINE.match(block)
        if line is None:
            shape = self._read_odd(block, head)
        else:
            head.method, head.target, _ = line.groups()
            head.minor = 0
            shape = self._read_fields(block[line.end() :], 0)
        self._check_target(head.target)
        head.path, _, head.query = head.target.partition(b"?")
        head.shape = shape
        head.fields = shape.fields
        if head.method in _JUDGED_METHODS:
            self._judge_method(head)
        return head

    @staticmethod
    def _judge_method(head: RequestHead) -> None:
        if head.method in _REFUSED_METHODS:
            raise BadRequest(f"{head.method.decode()} is not for this server", status=405, kind="method_not_allowed")
        hops = head.fields.get(b"max-forwards")
        if hops is not None:
            if DIGITS.fullmatch(hops) is None:
                raise BadRequest("Max-Forwards is not one whole number")
            if not int(hops):
                raise OwnAnswer(head)

    def _new_shape(self, lines: bytes) -> Shape:
        shape = self._read_fields(lines, 1)
        # With an id of the request or its trace in them these lines never come again.
        if len(lines) <= _BYTES_KEPT and not shape.request_id and not shape.trace_id:
            if len(self._shapes) >= _KEPT:
                self._shapes.clear()
            self._shapes[lines] = shape
        return shape

    def _read_fields(self, lines: bytes, minor: int, authority: bytes | None = None) -> Shape:
        """`lines` ends with the empty line; `authority` comes from an absolute target."""
        collector = self._collector
        try:
            collector.read(HttpRequestParser, _PLAIN_LINE[minor] + lines, self._limits.headers)
        except FieldsError as error:
            status, kind = (431, "headers_too_large") if error.too_many else (400, "bad_request")
            raise BadRequest(f"the request head: {error}", status=status, kind=kind) from None
        shape = Shape(lines[:-2], collector.pairs, collector.fields, keep_alive=minor == 1)
        shape.rewrite = self._rewrite_all
        self._check_host(shape, minor, authority)
        if not _SPECIAL.isdisjoint(shape.fields):
            self._apply_special(shape, minor)
            if minor and not self._rewrite_all and self._rewritten_alike(shape):
                shape.lines = join_pairs(shape.pairs, to_drop(shape.fields.get(b"connection")))
                shape.rewrite = False
        if not shape.rewrite and minor:
            shape.pairs = []  # two thirds of what is remembered of a shape, and nobody will ask for them
        return shape

    def _read_odd(self, block: bytes, head: RequestHead) -> Shape:
        """Request lines other than `METHOD /path HTTP/1.x`: normalised, or refused with the reason."""
        line = _ANY_LINE.match(block)
        if line is None:
            raise BadRequest(_fault_of_line(block.partition(b"\r\n")[0]))
        method, target, major, minor = line.groups()
        if major != b"1" or minor not in b"01":
            raise BadRequest(
                f"HTTP/{major.decode()}.{minor.decode()} is not spoken here", status=505, kind="version_not_supported"
            )
        head.method, head.target, head.minor = method, target, int(minor)
        authority = None
        if method == b"CONNECT":
            raise BadRequest("CONNECT is not for this server", status=405, kind="method_not_allowed")
        if b"#" in target:
            raise BadRequest("a fragment in the target")
        if target == b"*":
            if method != b"OPTIONS":
                raise BadRequest("the target * is for OPTIONS only")
        else:
            absolute = _ABSOLUTE.fullmatch(target)
            if absolute is None:
                raise BadRequest("the target is neither a path nor an http URL")
            authority, rest = absolute[1], absolute[2] or b""
            if method == b"OPTIONS" and not rest:
                head.target = b"*"  # RFC 9112 section 3.2.4: that is how a client asks a proxy for it
            else:
                head.target = rest if rest.startswith(b"/") else b"/" + rest
        return self._read_fields(block[line.end() :], head.minor, authority)

    def _check_host(self, shape: Shape, minor: int, authority: bytes | None) -> None:
        host = shape.fields.get(b"host")
        if host is None:
            if minor == 1:
                raise BadRequest("no Host field (RFC 9112 section 3.2)")
            shape.rewrite = True
        elif b"host" in self._collector.repeated:
            raise BadRequest("more than one Host field (RFC 9112 section 3.2)")
        elif _HOST.fullmatch(host) is None:
            raise BadRequest("the Host field is not a host")
        shape.host = host or b""
        if authority is not None and authority != host:
            # RFC 9112 section 3.2.2: the target's authority replaces whatever Host said.
            if _HOST.fullmatch(authority) is None:
                raise BadRequest("the target's host is not a host")
            shape.host = authority
            shape.rewrite = True

    def _apply_special(self, shape: Shape, minor: int) -> None:
        fields = shape.fields
        self._frame(shape, minor)
        connection = fields.get(b"connection")
        if connection is not None:
            named = tokens(connection)
            if b"close" in named:
                shape.keep_alive = False
            elif b"keep-alive" in named:
                shape.keep_alive = True
            if b"upgrade" in named and minor == 1:
                offered = [p.strip(b" \t") for p in fields.get(b"upgrade", b"").split(b",")]
                # h2c would let a client speak past every check made here.
                shape.upgrade = b", ".join(p for p in offered if p and p.lower() != b"h2c")
        expect = fields.get(b"expect")
        if expect is not None and minor == 1:
            if expect.lower() != b"100-continue":
                raise BadRequest("the only expectation met here is 100-continue", status=417, kind="expectation_failed")
            shape.expects_continue = shape.body != NO_BODY
        shape.wants_trailers = b"trailers" in tokens(fields.get(b"te", b""))
        request_id = fields.get(b"x-request-id", b"")
        if _REQUEST_ID.fullmatch(request_id):
            shape.request_id = request_id
        shape.trace_id = trace_id_of(fields.get(b"traceparent", b""))
        if connection is not None or not _REWRITTEN.isdisjoint(fields):
            shape.rewrite = True

    @staticmethod
    def _rewritten_alike(shape: Shape) -> bool:
        """Whether the lines only lose what ends at this hop, so that they can be rewritten once, as for the clients that say
        `Connection: keep-alive` with every request. Nothing of it depends on the connection they come on."""
        fields = shape.fields
        ours = shape.upgrade or shape.wants_trailers or shape.body == CHUNKED or fields.get(b"host") != shape.host
        return not ours and _DEPENDENT.isdisjoint(fields)

    def _frame(self, shape: Shape, minor: int) -> None:
        """RFC 9112 section 6.3, for requests: rules 3, 4, 5, 6 and 7."""
        fields, repeated = shape.fields, self._collector.repeated
        coding, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
        if coding is not None:
            if length is not None:
                raise BadRequest("both Transfer-Encoding and Content-Length")
            if minor == 0:
                raise BadRequest("Transfer-Encoding in an HTTP/1.0 request")
            if b"transfer-encoding" in repeated:
                raise BadRequest("more than one Transfer-Encoding field")
            if coding.lower() != b"chunked":
                raise BadRequest("the only transfer coding known here is chunked", status=501, kind="not_implemented")
            shape.body = CHUNKED
        elif length is not None:
            if b"content-length" in repeated or DIGITS.fullmatch(length) is None:
                raise BadRequest("Content-Length is not one whole number")
            shape.body = int(length)
            limit = self._limits.body_bytes
            if limit is not None and shape.body > limit:
                raise BadRequest(f"the body is larger than {limit} bytes", status=413, kind="content_too_large")


def _fault_of_line(line: bytes) -> str:
    words = line.split(b" ")
    if len(words) == 2 and words[1].startswith(b"/"):
        return "the request line has no version (HTTP/0.9 is not spoken here)"
    if any(byte < 0x21 or byte > 0x7E for byte in line.replace(b" ", b"")):
        return "the request line has bytes that are not visible ASCII"
    return "the request line is not METHOD TARGET HTTP/1.1"
