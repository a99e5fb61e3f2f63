"""Kinds of values a configuration holds: how each is read, what is refused and why, how it is shown again.

Owns: durations, sizes, percents, shares, counts, words, texts and lists of them.
Must not know: which key holds what, files, lines, the environment.
Invariants: `read(show(value)) == value`; a refusal says what is allowed and what was given; a percent is exact to the
hundredth, because a client's side hangs on it; nothing is guessed (no unit is assumed, no word taken for a number).
"""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, ClassVar, Final, Generic, TypeVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

T = TypeVar("T")

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
        return json.dumps(short, ensure_ascii=False)
    if isinstance(given, bool):
        return "true" if given else "false"
    return str(given)[:_SHOWN_CHARACTERS]


def did_you_mean(given: str, allowed: list[str]) -> str:
    """`; did you mean X?` when something allowed looks like what was given, else nothing."""
    near = get_close_matches(given.lower(), [word.lower() for word in allowed], n=1)
    found = [word for word in allowed if near and word.lower() == near[0]]
    return f"; did you mean {found[0]}?" if found else ""


def decimal_text(number: Decimal) -> str:
    """A number without exponent and without zeros that say nothing."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


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
            raise ValueError("has no value: give one, or take the key out")
        if not isinstance(given, str) or not given.strip():
            raise ValueError(f"{otherwise}, not {shown(given)}")
        return given

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)


def _number(given: object, otherwise: str) -> Decimal:
    """An int or float of the file as a decimal. Raises ValueError for anything else, true and .nan included."""
    if given is None:
        raise ValueError("has no value: give one, or take the key out")
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise ValueError(f"{otherwise}, not {shown(given)}")
    return Decimal(repr(given))


@dataclass(frozen=True)
class Duration(Kind[float]):
    """Seconds, written with a unit."""

    at_least_s: float = 0.001
    at_most_s: float = 86_400.0
    words = "duration"

    _UNITS: ClassVar[dict[str, Decimal]] = {
        "d": Decimal(86_400),
        "h": Decimal(3_600),
        "m": Decimal(60),
        "s": Decimal(1),
        "ms": Decimal("0.001"),
    }
    _FORM: ClassVar[re.Pattern[str]] = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)", re.ASCII)

    def read(self, given: object) -> float:
        otherwise = "must be a duration such as 500ms, 10s, 5m, 1h or 1d"
        if isinstance(given, int | float) and not isinstance(given, bool):
            raise ValueError(f"needs a unit: {given}s for seconds, {given}ms for milliseconds")
        text = self.text(given, otherwise)
        found = self._FORM.fullmatch(text)
        if not found:
            raise ValueError(f"{otherwise}, not {shown(text)}")
        seconds = float(Decimal(found[1]) * self._UNITS[found[2]])
        if not self.at_least_s <= seconds <= self.at_most_s:
            raise ValueError(f"must be from {self.show(self.at_least_s)} to {self.show(self.at_most_s)}, not {text}")
        return seconds

    def show(self, value: float) -> str:
        exact = Decimal(repr(value))
        for unit, length in self._UNITS.items():
            if exact and exact % length == 0:
                return f"{decimal_text(exact / length)}{unit}"
        return f"{decimal_text(exact)}s"

    @property
    def allowed(self) -> str:
        return f"duration from {self.show(self.at_least_s)} to {self.show(self.at_most_s)}"


@dataclass(frozen=True)
class Size(Kind[int]):
    """Bytes, written with a unit of 1024 or as a plain number."""

    at_least: int = 0
    at_most: int = 1 << 30
    words = "size"

    _UNITS: ClassVar[dict[str, int]] = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
    _FORM: ClassVar[re.Pattern[str]] = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(B|KiB|MiB|GiB)", re.ASCII)
    _OTHER: ClassVar[re.Pattern[str]] = re.compile(r"([0-9.]+)\s*([kmg])(?:i?b)?", re.ASCII | re.IGNORECASE)

    def read(self, given: object) -> int:
        otherwise = "must be a size such as 512B, 64KiB or 1MiB"
        if isinstance(given, int) and not isinstance(given, bool):
            size = Decimal(given)
        else:
            text = self.text(given, otherwise)
            other = self._OTHER.fullmatch(text)
            found = self._FORM.fullmatch(text)
            if not found and other:
                raise ValueError(f"must be a size in units of 1024: {other[1]}{other[2].upper()}iB, not {shown(text)}")
            if not found:
                raise ValueError(f"{otherwise}, not {shown(text)}")
            size = Decimal(found[1]) * self._UNITS[found[2]]
        if size != int(size):
            raise ValueError(f"must be a whole number of bytes, not {decimal_text(size)}")
        if not self.at_least <= size <= self.at_most:
            raise ValueError(f"must be from {self.show(self.at_least)} to {self.show(self.at_most)}, not {given}")
        return int(size)

    def show(self, value: int) -> str:
        for unit, length in self._UNITS.items():
            if value and value % length == 0:
                return f"{value // length}{unit}"
        return f"{value}B"

    @property
    def allowed(self) -> str:
        return f"size from {self.show(self.at_least)} to {self.show(self.at_most)}"


class Percent(Kind[float]):
    """0 to 100 with two decimals; text is taken too, since the environment has nothing else."""

    words = "percent from 0 to 100, two decimals"
    _FORM: ClassVar[re.Pattern[str]] = re.compile(r"[0-9]{1,9}(\.[0-9]{1,20})?", re.ASCII)

    def read(self, given: object) -> float:
        otherwise = "must be a percent from 0 to 100"
        if isinstance(given, str) and given.endswith("%") and self._FORM.fullmatch(given[:-1].strip()):
            raise ValueError(f"must be a number without the sign: {given[:-1].strip()}, not {shown(given)}")
        if isinstance(given, str) and self._FORM.fullmatch(given.strip()):
            percent = Decimal(given.strip())
        else:
            percent = _number(given, otherwise)
        if not 0 <= percent <= 100:
            raise ValueError(f"{otherwise}, not {shown(given)}")
        if percent != percent.quantize(Decimal("0.01")):
            raise ValueError(f"has at most two decimals (one bucket is 0.01 %), not {shown(given)}")
        return float(percent)

    def show(self, value: float) -> str:
        return decimal_text(Decimal(repr(value)))


def threshold_of(percent: float) -> int:
    """How many of the 10,000 buckets a percent is, exactly: no binary fraction is multiplied."""
    return int(Decimal(repr(percent)) * 100)


@dataclass(frozen=True)
class Number(Kind[float]):
    """A number between bounds."""

    at_least: float
    at_most: float
    hint: str = ""
    words = "number"

    def read(self, given: object) -> float:
        otherwise = f"must be a number from {self.show(self.at_least)} to {self.show(self.at_most)}"
        number = float(_number(given, otherwise))
        if not self.at_least <= number <= self.at_most:
            raise ValueError(f"{otherwise}, not {shown(given)}{self.hint}")
        return number

    def show(self, value: float) -> str:
        return decimal_text(Decimal(repr(value)))

    @property
    def allowed(self) -> str:
        return f"number from {self.show(self.at_least)} to {self.show(self.at_most)}"


SHARE: Final = Number(0, 1, "; a share, not a percent: 0.05 is 5 %")


@dataclass(frozen=True)
class Count(Kind[int]):
    """A whole number between bounds."""

    at_least: int
    at_most: int
    words = "whole number"

    def read(self, given: object) -> int:
        otherwise = f"must be a whole number from {self.at_least} to {self.at_most}"
        if given is None:
            raise ValueError("has no value: give one, or take the key out")
        if isinstance(given, str) and given.strip().isdecimal():
            raise ValueError(f"{otherwise}, not text: take the quotes away from {shown(given)}")
        if isinstance(given, bool) or not isinstance(given, int) or not self.at_least <= given <= self.at_most:
            raise ValueError(f"{otherwise}, not {shown(given)}")
        return given

    def show(self, value: int) -> str:
        return str(value)

    @property
    def allowed(self) -> str:
        return f"whole number from {self.at_least} to {self.at_most}"


class Flag(Kind[bool]):
    """A switch. The words of the environment hold in the file too: at 3 a.m. `off` must not be refused."""

    words = "`true` or `false` (also yes/no, on/off, 1/0)"
    _WORDS: ClassVar[dict[str, bool]] = {
        **dict.fromkeys(("true", "yes", "on", "1"), True),
        **dict.fromkeys(("false", "no", "off", "0"), False),
    }

    def read(self, given: object) -> bool:
        if given is None:
            raise ValueError("has no value: give one, or take the key out")
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
    """A list of one kind, each value once. `null` is the empty list."""

    kind: Kind[T]
    at_least: int = 0
    example: str = "[a, b]"

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
        return "[" + ", ".join(self.kind.show(item) for item in value) + "]"

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
