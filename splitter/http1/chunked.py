"""The chunked transfer coding (RFC 9112 section 7.1), read strictly and written in its plainest form.

Owns: chunk sizes, extensions, trailers. Must not know: who sends or receives.
Invariants: chunk extensions never pass (they are for one hop only); every line ends with CRLF; no line and no trailer
section grows without bound; `feed` never takes a byte that lies behind the end of the body.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from splitter.http1.fields import FIELD_LINE, NAMES, TOKEN, Pair

LAST_CHUNK: Final = b"0\r\n\r\n"

_MAX_SIZE_LINE_BYTES: Final = 1024
_QUOTED: Final = rb"\"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*\""
_SIZE_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[ \t]*" + TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + TOKEN + rb"|" + _QUOTED + rb"))?)*"
)

# RFC 9110 section 6.5.1: a trailer must not change what the head already said about framing, routing, access or content.
_NOT_IN_TRAILERS: Final = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"forwarded",
        b"host",
        b"keep-alive",
        b"max-forwards",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"set-cookie",
        b"te",
        b"traceparent",
        b"tracestate",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"via",
        b"www-authenticate",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-request-id",
        b"x-splitter-backend",
        b"x-splitter-reason",
        b"x-splitter-token",
    }
)


class ChunkError(ValueError):
    """The bytes are not the chunked coding."""


class _State(Enum):
    SIZE = "size"
    DATA = "data"
    DATA_END = "data end"
    TRAILERS = "trailers"
    DONE = "done"


class ChunkedReader:
    """Takes a chunked body apart, however its bytes are split over reads."""

    __slots__ = ("_left_bytes", "_pending", "_state", "_trailer_bytes", "_trailer_limit_bytes", "trailers")

    def __init__(self, trailer_limit_bytes: int) -> None:
        self._state = _State.SIZE
        self._left_bytes = 0
        self._pending = b""
        self._trailer_bytes = 0
        self._trailer_limit_bytes = trailer_limit_bytes
        self.trailers: list[Pair] = []

    @property
    def done(self) -> bool:
        return self._state is _State.DONE

    def feed(self, data: bytes, out: list[bytes]) -> bytes:
        """Append the payload in `data` to `out`; return what lies behind the end of the body. Raises ChunkError."""
        if self._pending:
            data = self._pending + data
            self._pending = b""
        position, end = 0, len(data)
        while position < end:
            if self._state is _State.DATA:
                taken = min(self._left_bytes, end - position)
                out.append(data[position : position + taken])
                position += taken
                self._left_bytes -= taken
                if not self._left_bytes:
                    self._state = _State.DATA_END
            elif self._state is _State.DATA_END:
                if end - position == 1 and data[position] == 0x0D:
                    self._pending = b"\r"
                    return b""
                if data[position : position + 2] != b"\r\n":
                    raise ChunkError("a chunk's data is not followed by CRLF")
                position += 2
                self._state = _State.SIZE
            elif self._state is _State.DONE:
                return data[position:]
            else:
                line_end = data.find(b"\r\n", position)
                if line_end < 0:
                    self._keep(data[position:])
                    return b""
                self._read_line(data[position:line_end])
                position = line_end + 2
        return b""

    def _keep(self, partial: bytes) -> None:
        limit = _MAX_SIZE_LINE_BYTES if self._state is _State.SIZE else self._trailer_limit_bytes
        if len(partial) > limit or b"\n" in partial or b"\r" in partial[:-1]:
            raise ChunkError("a chunk line is too long or has a bare CR or LF")
        self._pending = partial

    def _read_line(self, line: bytes) -> None:
        if self._state is _State.SIZE:
            found = _SIZE_LINE.fullmatch(line) if len(line) <= _MAX_SIZE_LINE_BYTES else None
            if found is None:
                raise ChunkError("a chunk size is not a hexadecimal number")
            self._left_bytes = int(found[1], 16)
            self._state = _State.DATA if self._left_bytes else _State.TRAILERS
            return
        if not line:
            self._state = _State.DONE
            return
        self._trailer_bytes += len(line) + 2
        found = FIELD_LINE.fullmatch(line)
        if found is None or self._trailer_bytes > self._trailer_limit_bytes:
            raise ChunkError("the trailer section is malformed or too large")
        if NAMES[found[1]] not in _NOT_IN_TRAILERS:
            self.trailers.append((found[1], found[2]))


def encode_chunk(data: bytes) -> bytes:
    """One chunk. `data` must not be empty: an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode_end(trailers: list[Pair]) -> bytes:
    """The last chunk and the trailer section."""
    if not trailers:
        return LAST_CHUNK
    return b"0\r\n" + b"".join([b"%b: %b\r\n" % pair for pair in trailers]) + b"\r\n"
