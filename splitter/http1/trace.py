"""W3C Trace Context: whether a `traceparent` is one, and what a new one looks like.

Owns: the syntax (Trace Context, section 3.2). Must not know: who records traces; randomness is given.
Invariant: what is taken for valid is valid for every reader of the version it names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_FORM: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16


def trace_id_of(traceparent: bytes) -> bytes:
    """The trace id, 32 hexadecimal digits; empty when `traceparent` is not valid."""
    found = _FORM.fullmatch(traceparent)
    if found is None:
        return b""
    version, trace, span, rest = found.groups()
    if version == b"ff" or (rest is not None and version == b"00") or trace == _NO_TRACE or span == _NO_SPAN:
        return b""
    return trace


def new_traceparent(random_bits: Callable[[int], int]) -> bytes:
    """A new trace, marked as sampled: left unmarked, backends that follow their parent would record none of it."""
    return b"00-%032x-%016x-01" % (random_bits(128) or 1, random_bits(64) or 1)
