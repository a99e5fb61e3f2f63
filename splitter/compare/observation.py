"""One answer, as far as it is compared: what a side said, and the reading of its body.

Owns: content codings, JSON read strictly, the bounds of both. Must not know: the other answer, rules.
Invariants: decoding never makes more than the given number of bytes, whatever a body claims to hold; what two readers of
JSON could read differently (a key twice, NaN, a number beyond all bounds) is not taken for JSON.
"""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, NoReturn

DECODED_BYTES_MAX: Final = 16 << 20
_DIGEST_CHARACTERS: Final = 12
_WINDOW_ANY: Final = 32 + zlib.MAX_WBITS  # zlib or gzip, told apart by the data
_CODINGS_MAX: Final = 2


class UnreadableError(ValueError):
    """A body can't be looked into; the text says why, as the end of a sentence that begins with the body."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one side answered. `headers` by name as they came; `failure`: why there was no answer, empty if there was.

    A body that was too large to keep has its `size_bytes` and its `digest` only.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    failure: str = ""
    size_bytes: int = -1
    digest: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether the body is here."""
        return self.size_bytes < 0

    def header(self, name: str) -> str | None:
        """The values of a header as one list; `name` in lower case."""
        values = [value for given, value in self.headers if given.lower() == name]
        return ", ".join(values) if values else None

    @property
    def is_json(self) -> bool:
        """Whether it says so."""
        kind = (self.header("content-type") or "").partition(";")[0].strip().lower()
        return kind == "application/json" or kind.endswith("+json")

    def content(self) -> bytes:
        """The body without its content codings. Raises UnreadableError."""
        codings = [coding.strip().lower() for coding in (self.header("content-encoding") or "").split(",")]
        codings = [coding for coding in codings if coding not in {"", "identity"}]
        if len(codings) > _CODINGS_MAX:
            raise UnreadableError(f"has {len(codings)} content codings")
        data = self.body
        for coding in reversed(codings):
            if coding not in {"gzip", "x-gzip", "deflate"}:
                raise UnreadableError(f"is coded as {coding[:20]!r}, which is not read here")
            data = _inflate(data, coding)
        return data

    def described(self) -> str:
        """The body in a few words that show nothing of what it says."""
        if not self.is_whole:
            return f"{self.size_bytes:,} bytes, sha256 {self.digest[:_DIGEST_CHARACTERS]}"
        if not self.body:
            return "empty"
        return f"{len(self.body):,} bytes, sha256 {sha256(self.body).hexdigest()[:_DIGEST_CHARACTERS]}"


def _inflate(data: bytes, coding: str) -> bytes:
    windows = [_WINDOW_ANY] if coding != "deflate" else [_WINDOW_ANY, -zlib.MAX_WBITS]  # some send deflate without its head
    for window in windows:
        decoder = zlib.decompressobj(window)
        try:
            content = decoder.decompress(data, DECODED_BYTES_MAX + 1)
        except zlib.error:
            continue
        if len(content) > DECODED_BYTES_MAX:
            raise UnreadableError(f"holds more than {DECODED_BYTES_MAX >> 20} MiB once decoded")
        if not decoder.eof:
            raise UnreadableError(f"is {coding} that breaks off")
        return content
    raise UnreadableError(f"is no {coding}, though its Content-Encoding says so")


def read_json(content: bytes) -> Any:
    """The value a JSON text holds. Raises UnreadableError for what is no JSON, or has no one meaning."""
    try:
        return json.loads(
            content.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_no_key_twice
        )
    except UnicodeDecodeError:
        raise UnreadableError("is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise UnreadableError(f"is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise UnreadableError("is nested too deeply") from None
    except UnreadableError:
        raise
    except ValueError:  # int() of more digits than Python takes
        raise UnreadableError("has a number of thousands of digits") from None


def _no_constant(name: str) -> NoReturn:
    raise UnreadableError(f"is not JSON: it has {name}")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise UnreadableError(f"has a number that is too large: {digits[:40]}")
    return value


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise UnreadableError("has a key twice in one object")
    return found
