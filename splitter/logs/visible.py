"""Values made harmless for a log line.

Owns: what a line may hold. Must not know: who logs, where lines go.
Invariants: what comes out has no control, format or separator character but the space, whoever wrote it, so it can neither
start a line nor steer a terminal; it is bounded, so one line stays below what a pipe takes in one piece; what is named
like a secret, or stands before the @ of a URL, is not in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

TEXT_CHARACTERS: Final = 1024
HIDDEN: Final = "[hidden]"
_SECRET: Final = re.compile(r"token|secret|passw|cookie|authori[sz]ation|credential|api_?key", re.IGNORECASE)
_USERINFO: Final = re.compile(r"(://)[^/?#\s]*@")
_DEPTH: Final = 6
_JSON_INTEGER: Final = 1 << 63


def of_text(text: str) -> str:
    """Text with everything that can't be seen written as an escape, as Python writes it."""
    cut = len(text) - TEXT_CHARACTERS
    if cut > 0:
        text = text[:TEXT_CHARACTERS]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return f"{text}... ({cut} more)" if cut > 0 else text


def of_lines(text: str) -> str:
    """The same for a text of several lines, such as a traceback; indented, so that none looks like a line of a log."""
    return "\n".join(f"    {of_text(line)}" for line in text.split("\n"))


def of_value(value: Any, name: str = "", depth: int = _DEPTH) -> Any:
    """Any value as what JSON has; bytes as visible ASCII, everything else in them as `\\xNN`.

    `name` is what the value is called, and decides whether it is a secret.
    """
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and -_JSON_INTEGER <= value < _JSON_INTEGER:
        return int(value)
    if _is_secret(name):
        return HIDDEN
    if isinstance(value, bytes):
        value = value.decode("ascii", "backslashreplace")
    elif not isinstance(value, str) and depth:
        if isinstance(value, Mapping):
            return {of_text(str(key)): of_value(inner, str(key), depth - 1) for key, inner in value.items()}
        if isinstance(value, Iterable):
            return [of_value(inner, name, depth - 1) for inner in value]
    text = str(value)
    return of_text(_USERINFO.sub(r"\1***@", text) if "@" in text else text)


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET.search(name) is not None
