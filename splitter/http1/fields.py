"""Header fields: names, which of them belong to one connection only, and how a list of them is written.

Owns: the interned names, the hop-by-hop rules (RFC 9110 section 7.6.1), the grammar of single field lines.
Must not know: requests, responses, connections.
Invariant: what `join_pairs` writes is what was read, name by name in case and order, less the names to be dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

Pair = tuple[bytes, bytes]

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"

FIELD_LINE: Final = re.compile(rb"(" + TOKEN + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
"""One field line without its CRLF; the value may still end in white space."""

DIGITS: Final = re.compile(rb"[0-9]{1,18}")
"""A length that fits in 64 bits whatever it says."""

HOP_BY_HOP: Final = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"te", b"transfer-encoding", b"upgrade", b"http2-settings"}
)

# `Connection: close, X-Forwarded-For` is how a client would strip what tells the backend who it is.
NEVER_NOMINATED: Final = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
    }
)

_NAMES_KEPT: Final = 4096


class _Names(dict[bytes, bytes]):
    """Lower-case names by the spelling they came in. Bounded, so that clients can't make it grow."""

    __slots__ = ()

    def __missing__(self, name: bytes) -> bytes:
        lower = name.lower()
        if len(self) < _NAMES_KEPT and len(name) <= 64:
            self[name] = lower
        return lower


NAMES: Final = _Names()
"""`NAMES[name]` is `name.lower()`, at 35 ns instead of 60, and with its hash already computed."""


def tokens(value: bytes) -> list[bytes]:
    """The members of a comma-separated list, lower case, empty ones left out (RFC 9110 section 5.6.1)."""
    return [part for part in (raw.strip(b" \t").lower() for raw in value.split(b",")) if part]


def to_drop(connection: bytes | None) -> frozenset[bytes] | set[bytes]:
    """Names that end at this hop: the fixed ones and those `Connection` names, except the never nominated."""
    if connection is None:
        return HOP_BY_HOP
    named = [token for token in tokens(connection) if token not in NEVER_NOMINATED]
    return HOP_BY_HOP.union(named)


def join_pairs(pairs: Iterable[Pair], drop: frozenset[bytes] | set[bytes]) -> bytes:
    """The field lines, each with its CRLF, of all pairs whose name is not dropped."""
    names = NAMES
    return b"".join([b"%b: %b\r\n" % pair for pair in pairs if names[pair[0]] not in drop])


class FieldsError(ValueError):
    """The fields of a head can't be read; `too_many` when only their number is wrong."""

    def __init__(self, message: str, *, too_many: bool = False) -> None:
        super().__init__(message)
        self.too_many = too_many


class FieldCollector:
    """What httptools calls for each field: keeps the pairs as they came, and the values by lower-case name.

    Repeated fields stay apart in `pairs` and are one list in `fields` (RFC 9110 section 5.3; `Cookie` by RFC 6265).
    """

    __slots__ = ("fields", "headers_done", "pairs", "repeated")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.pairs: list[Pair] = []
        self.fields: dict[bytes, bytes] = {}
        self.repeated: set[bytes] = set()
        self.headers_done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name, value))
        lower = NAMES[name]
        fields = self.fields
        if lower in fields:
            self.repeated.add(lower)
            fields[lower] += (b"; " if lower == b"cookie" else b", ") + value
        else:
            fields[lower] = value

    def on_headers_complete(self) -> None:
        self.headers_done = True

    def read(self, parser: type[HttpRequestParser] | type[HttpResponseParser], block: bytes, most: int) -> None:
        """Take in the fields of a head: `block` with its first line and the empty line. Raises FieldsError.

        A new parser for each head, 0.2 µs: one that has seen `Connection: close` or a length refuses the next head.
        """
        self.reset()
        try:
            parser(self).feed_data(block)
        except HttpParserUpgrade:
            pass
        except HttpParserError as error:
            # A transfer coding it does not know raises after the fields are complete; our own policy judges those.
            if not self.headers_done:
                raise FieldsError(f"malformed: {error}") from None
        if len(self.pairs) > most:
            raise FieldsError(f"more than {most} header fields", too_many=True)
        # llhttp's lines and ours must be the same lines: this is what forwarding them as they came relies on.
        lines = len(self.pairs) + 2
        if block.count(b"\n") != lines or block.count(b"\r") != lines:
            raise FieldsError("malformed: a bare CR or LF")
        if b" \r\n" in block or b"\t\r\n" in block:  # llhttp leaves the white space behind values there
            self.fields = {name: value.strip(b" \t") for name, value in self.fields.items()}
