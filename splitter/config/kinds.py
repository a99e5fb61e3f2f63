"""Kinds of values a configuration holds: how each is read, what is refused and why, how it is shown again.

Owns: what a kind is, switches, words, texts, lists and mappings of other kinds.
Must not know: which key holds what, files, lines, the environment.
Invariants: `read(show(value)) == value`; a refusal says what is allowed and what was given; nothing is guessed.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, ClassVar, Final, Generic, TypeVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

T = TypeVar("T")

NO_VALUE: Final = "has no value: give one, or take the key out"
_SHOWN_CHARACTERS: Final = 60


def shown(given: object) -> str:
    """A value as a fault repeats it: short, on one line, quoted if it is text."""
    if isinstance(given, Mapping):
        return "a mapping"
    if isinstance(given, list | tuple):
        return "a list"
    if given is None:
        return "nothing"
    if isinstance(given, str):
        short = given if len(given) <= _SHOWN_CHARACTERS else given[: _SHOWN_CHARACTERS - 3] + "..."
        return json.dumps(short, ensure_ascii=not short.isprintable())
    if isinstance(given, bool):
        return "true" if given else "false"
    return str(given)[:_SHOWN_CHARACTERS]


def did_you_mean(given: str, allowed: list[str]) -> str:
    """`; did you mean X?` when something allowed looks like what was given, else nothing."""
    near = get_close_matches(given.lower(), [word.lower() for word in allowed], n=1)
    found = [word for word in allowed if near and word.lower() == near[0]]
    return f"; did you mean {found[0]}?" if found else ""


class Kind(ABC, Generic[T]):
    """One kind of value. Put into `Annotated[...]` of a model's field, it validates that field alone."""

    words: ClassVar[str] = ""
    """What is allowed, for the documentation."""

    @abstractmethod
    def read(self, given: object) -> T:
        """The value for what the file or the environment holds. Raises ValueError with a sentence for a person."""

    @abstractmethod
    def show(self, value: T) -> str:
        """The value as one would write it in the file."""

    @property
    def allowed(self) -> str:
        return self.words

    def text(self, given: object, otherwise: str) -> str:
        """`given` if it is text with something in it; else a ValueError that begins with `otherwise`."""
        if given is None:
            raise ValueError(NO_VALUE)
        if not isinstance(given, str) or not given.strip():
            raise ValueError(f"{otherwise}, not {shown(given)}")
        return given

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)


class Flag(Kind[bool]):
    """A switch. The words of the environment hold in the file too: at 3 a.m. `off` must not be refused."""

    words = "`true` or `false` (also yes/no, on/off, 1/0)"
    _WORDS: ClassVar[dict[str, bool]] = {
        **dict.fromkeys(("true", "yes", "on", "1"), True),
        **dict.fromkeys(("false", "no", "off", "0"), False),
    }

    def read(self, given: object) -> bool:
        if given is None:
            raise ValueError(NO_VALUE)
        if isinstance(given, bool):
            return given
        word = str(given).strip().lower()
        if isinstance(given, float) or word not in self._WORDS:
            raise ValueError(f"must be true or false, not {shown(given)}")
        return self._WORDS[word]

    def show(self, value: bool) -> str:
        return "true" if value else "false"


@dataclass(frozen=True)
class Word(Kind[str]):
    """One of a few words. `unbuilt` maps words that will be allowed one day to what to use today."""

    choices: tuple[str, ...]
    unbuilt: Mapping[str, str] = field(default_factory=dict)
    words = "word"

    def read(self, given: object) -> str:
        otherwise = f"must be {self._listed('')}"
        word = self.text(given, otherwise)
        if word in self.unbuilt:
            raise ValueError(f"{word} is not built yet in this version; use {self.unbuilt[word]}")
        if word not in self.choices:
            raise ValueError(f"{otherwise}, not {shown(word)}{did_you_mean(word, list(self.choices))}")
        return word

    def show(self, value: str) -> str:
        return value

    def _listed(self, quote: str) -> str:
        *first, last = (f"{quote}{choice}{quote}" for choice in self.choices)
        return f"{', '.join(first)} or {last}" if first else last

    @property
    def allowed(self) -> str:
        return self._listed("`")


@dataclass(frozen=True)
class Text(Kind[str]):
    """Any text, empty too, up to a length."""

    at_most: int = 256
    words = "text"

    def read(self, given: object) -> str:
        if given is None:
            raise ValueError('has no value: give one, or take the key out (for none write "")')
        if not isinstance(given, str):
            quoted = f': put it in quotes, "{shown(given)}"' if isinstance(given, int | float) else ""
            raise ValueError(f"must be text, not {shown(given)}{quoted}")
        if len(given) > self.at_most:
            raise ValueError(f"has at most {self.at_most} characters, this one {len(given)}")
        return given

    def show(self, value: str) -> str:
        return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class Nullable(Kind[T | None], Generic[T]):
    """What `kind` reads, or None for `null`."""

    kind: Kind[T]

    def read(self, given: object) -> T | None:
        return None if given is None else self.kind.read(given)

    def show(self, value: T | None) -> str:
        return "null" if value is None else self.kind.show(value)

    @property
    def allowed(self) -> str:
        return f"{self.kind.allowed}, or `null`"


class PartsError(ValueError):
    """What is wrong inside a list or a mapping: (index or key, sentence) for each part, all of them."""

    def __init__(self, faults: list[tuple[int | str, str]]) -> None:
        super().__init__("; ".join(f"[{where}] {message}" for where, message in faults))
        self.faults = faults


@dataclass(frozen=True)
class Listing(Kind[tuple[T, ...]], Generic[T]):
    """A list of one kind, each value once. `null` is the empty list, which is shown as `empty`."""

    kind: Kind[T]
    at_least: int = 0
    example: str = "[a, b]"
    empty: str = "[]"

    def read(self, given: object) -> tuple[T, ...]:
        given = [] if given is None else given
        if not isinstance(given, list | tuple):
            raise ValueError(f"must be a list, such as {self.example}, not {shown(given)}")
        if len(given) < self.at_least:
            raise ValueError("must not be empty: name at least one, or take the key out for the default")
        values: list[T] = []
        faults: list[tuple[int | str, str]] = []
        for index, item in enumerate(given):
            try:
                value = self.kind.read(item)
            except ValueError as error:
                faults.append((index, str(error)))
                continue
            if value in values:
                faults.append((index, f"is in the list twice: {self.kind.show(value)}"))
            values.append(value)
        if faults:
            raise PartsError(faults)
        return tuple(values)

    def show(self, value: tuple[T, ...]) -> str:
        return "[" + ", ".join(self.kind.show(item) for item in value) + "]" if value else self.empty

    @property
    def allowed(self) -> str:
        return f"list of: {self.kind.allowed}"


@dataclass(frozen=True)
class Named(Kind[dict[str, T]], Generic[T]):
    """A mapping from names to one kind. `null` is the empty mapping."""

    kind: Kind[T]

    def read(self, given: object) -> dict[str, T]:
        given = {} if given is None else given
        if not isinstance(given, Mapping):
            raise ValueError(f"must be a mapping, such as {{name: value}}, not {shown(given)}")
        values: dict[str, T] = {}
        faults: list[tuple[int | str, str]] = []
        for name, item in given.items():
            try:
                values[name] = self.kind.read(item)
            except ValueError as error:
                faults.append((name, str(error)))
        if faults:
            raise PartsError(faults)
        return values

    def show(self, value: dict[str, T]) -> str:
        return "{" + ", ".join(f"{name}: {self.kind.show(item)}" for name, item in value.items()) + "}"

    @property
    def allowed(self) -> str:
        return f"mapping from names to: {self.kind.allowed}"
