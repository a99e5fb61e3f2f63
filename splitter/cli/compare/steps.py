"""What is asked of both sides: steps, and scenarios of steps that belong together.

Owns: their shape, and the filling of `{variables}`. Must not know: where they were read from, who sends them.
Invariants: immutable; a text without variables is sent as it came, byte by byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from splitter.compare import Rules
from splitter.config import JsonPath

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
BUILT_IN: Final = frozenset({"run", "side"})
"""Variables that are always there: a word of this run, and a letter of each side."""

_VARIABLE: Final = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]{0,63})\}")
NO_JSON: Final = object()
"""`Step.json` of a step that sends none: null is a value."""


class Format(StrEnum):
    """What requests may be read from."""

    LIST = "list"
    OPENAPI = "openapi"
    HAR = "har"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Step:
    """One request. `target` and what is sent may hold variables, unless it is `literal`.

    `expect`: statuses that control may answer, empty for any; `repeat`: how often it is sent when it is safe; `shared`: its
    answer shows what belongs to all sides, so no side's own names are made alike in it; `messages`: how many a WebSocket is
    to give, 0 for a plain request; `stream`: its answer has no end, so only its head is looked at.
    """

    title: str
    method: str
    target: str
    endpoint: str
    rules: Rules
    headers: tuple[tuple[str, str], ...] = ()
    json: Any = NO_JSON
    body: bytes = b""
    expect: frozenset[int] = frozenset()
    capture: Mapping[str, JsonPath] = field(default_factory=dict)
    repeat: int = 1
    messages: int = 0
    literal: bool = False
    compared: bool = True
    shared: bool = False
    stream: bool = False

    @property
    def is_safe(self) -> bool:
        return self.method in SAFE_METHODS


@dataclass(frozen=True, slots=True)
class Scenario:
    """Steps in an order that matters. The clean-up is done whatever happened before."""

    requests: tuple[Step, ...]
    setup: tuple[Step, ...] = ()
    cleanup: tuple[Step, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def sends(self) -> int:
        """How many times its steps are sent to a side, if all goes well."""
        return sum(step.repeat for step in (*self.setup, *self.requests, *self.cleanup))


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to be done.

    `skipped`: (request, why not) for what the source has and that is not sent; `mask`: more names of what is not shown.
    """

    title: str
    scenarios: tuple[Scenario, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    mask: tuple[str, ...] = ()


def printable(text: str) -> str:
    """A text as it can be shown anywhere: on one line, of characters that every encoding has a place for."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text[:200])


def fill(text: str, variables: Mapping[str, str]) -> str:
    """A text with its variables filled in; `{{` and `}}` are braces. Raises KeyError for one that has no value yet."""

    def value(found: re.Match[str]) -> str:
        return found[0][0] if found[1] is None else variables[found[1]]

    return _VARIABLE.sub(value, text)


def fill_json(value: Any, variables: Mapping[str, str]) -> Any:
    """A JSON value with the variables in its texts filled in, keys too. Raises KeyError."""
    if isinstance(value, str):
        return fill(value, variables)
    if isinstance(value, list):
        return [fill_json(item, variables) for item in value]
    if isinstance(value, dict):
        return {fill(key, variables): fill_json(item, variables) for key, item in value.items()}
    return value


def variables_in(value: Any) -> Iterator[str]:
    """The names of all variables in a text or a JSON value."""
    if isinstance(value, str):
        yield from (found[1] for found in _VARIABLE.finditer(value) if found[1] is not None)
    elif isinstance(value, list):
        for item in value:
            yield from variables_in(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from variables_in(key)
            yield from variables_in(item)
