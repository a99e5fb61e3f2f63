"""Kinds of values that speak about answers: JSON paths, what of an answer is ignored, how far values may be apart.

Owns: reading these from text, and writing a place in a JSON value as such a text. Must not know: answers themselves
(`splitter.compare` does).
Invariant: what `path_text` writes, `read_json_path` reads, and it means the same place: a path out of a report can be
pasted into a rule.

The language is the part of RFC 9535 that names places: `$`, `.name`, `['name']`, `[0]`, `.*`, `[*]` and `..` before any of
these. Names may have hyphens without quotes, which the RFC wants quoted. Slices, unions and filters are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import ClassVar, Final

from splitter.config.kinds import Kind, PartsError, shown
from splitter.config.numbers import Duration, decimal_text

MAX_PARTS: Final = 32
HEADER_PREFIX: Final = "header:"
_WHOLE_PARTS: Final = ("status", "body")

_NAME: Final = r"[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff-]*"
_SHORTHAND: Final = re.compile(_NAME)
_SEGMENT: Final = re.compile(
    rf"""(?P<dots>\.\.?) (?: (?P<name>{_NAME}) | \* )
      |  (?P<deep>\.\.)? \[ (?: \* | (?P<index>0|[1-9][0-9]{{0,8}}) | (?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*") ) \]
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE_OR_QUOTE: Final = re.compile(r"\\.|\"", re.DOTALL)
_DIGIT: Final = re.compile(r"[0-9]", re.ASCII)
_TIME_CHARACTERS: Final = 64
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PathPart:
    """One step into a JSON value. `name`: a key, an index, or None for any of both; `deep`: at this or any lower level."""

    name: str | int | None
    deep: bool = False


@dataclass(frozen=True, slots=True)
class JsonPath:
    """Places in a JSON value. Without parts: the whole of it."""

    text: str
    parts: tuple[PathPart, ...]

    def __str__(self) -> str:
        return self.text


def key_text(key: str) -> str:
    """The step to an object's key, as it stands in a path."""
    printable = key.isprintable()
    if printable and _SHORTHAND.fullmatch(key):
        return f".{key}"
    quoted = json.dumps(key, ensure_ascii=not printable)[1:-1].replace('\\"', '"').replace("'", "\\'")
    return f"['{quoted}']"


def path_text(steps: tuple[str | int, ...]) -> str:
    """A place as a path: keys as text, indexes as numbers."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else key_text(step) for step in steps)


def read_json_path(text: str) -> JsonPath:
    """The path a text names. Raises ValueError with a sentence for a person."""
    if not text.startswith("$"):
        raise ValueError(f"must begin with $, the whole of a JSON value, such as $.timestamp; not {shown(text)}")
    parts: list[PathPart] = []
    position = 1
    while position < len(text):
        found = _SEGMENT.match(text, position)
        if found is None:
            raise ValueError(_why_not(text, position))
        parts.append(PathPart(_name_of(found), found["dots"] == ".." or found["deep"] is not None))
        position = found.end()
        if len(parts) > MAX_PARTS:
            raise ValueError(f"has more than {MAX_PARTS} steps: {shown(text)}")
    return JsonPath(text, tuple(parts))


def _name_of(found: re.Match[str]) -> str | int | None:
    if found["index"] is not None:
        return int(found["index"])
    if found["quoted"] is None:
        return found["name"]
    inner = found["quoted"][1:-1]
    if found["quoted"][0] == "'":  # to a JSON string's escapes: a double quote gets one, a single quote needs none
        inner = _ESCAPE_OR_QUOTE.sub(lambda part: {'"': '\\"', "\\'": "'"}.get(part[0], part[0]), inner)
    try:
        return str(json.loads(f'"{inner}"', strict=False))
    except ValueError:
        raise ValueError(f"has a quoted name that JSON would not read: {shown(found['quoted'])}") from None


def _why_not(text: str, position: int) -> str:
    rest = text[position:]
    if re.match(r"(?:\.\.)?\[\s*(?:\?|[-0-9]*:|-)", rest):
        return f"slices, filters and negative indexes are not taken; [*] is every item: {shown(text)}"
    if re.match(r"(?:\.\.)?\[[^]]*,", rest):
        return f"several names in one pair of brackets are not taken, write a path for each: {shown(text)}"
    if re.match(r"(?:\.\.)?\[[^]'\"]*\]", rest):
        return f"a name in brackets is quoted, as in ['name']: {shown(text)}"
    if rest in {".", ".."}:
        return f"ends with a dot: {shown(text)}"
    return f"can't be read from {shown(rest)} on: a step is .name, ['name'], [0], [*] or .*, and .. goes to any depth"


class JsonPathKind(Kind[JsonPath]):
    """A path that a rule of the comparison is about."""

    words = "JSON path such as `$.cameras[*].since` or `$..id`"

    def read(self, given: object) -> JsonPath:
        return read_json_path(self.text(given, "must be a JSON path such as $.timestamp or $..id"))

    def show(self, value: JsonPath) -> str:
        return json.dumps(value.text, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Ignored:
    """What of an answer is not compared: a place in its JSON, or (`path` None) `status`, `body` or `header:name`."""

    text: str
    path: JsonPath | None


class IgnoreRule(Kind[Ignored]):
    """What of an answer is not compared. Every place a report names can be written here."""

    words = "JSON path such as `$.timestamp` or `$..id`, `header:NAME`, `status`, `body`"

    def read(self, given: object) -> Ignored:
        text = self.text(given, "must be a JSON path such as $.timestamp, or header:NAME, status or body")
        if text in _WHOLE_PARTS:
            return Ignored(text, None)
        if text.startswith(HEADER_PREFIX):
            name = text.removeprefix(HEADER_PREFIX)
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"no header can have the name {shown(name)}")
            return Ignored(HEADER_PREFIX + name.lower(), None)
        if not text.startswith("$"):
            hint = f"; did you mean $.{text}?" if _SHORTHAND.fullmatch(text) else ""
            raise ValueError(
                f"must be a JSON path such as $.timestamp, or header:NAME, status or body, not {shown(text)}{hint}"
            )
        return Ignored(text, read_json_path(text))

    def show(self, value: Ignored) -> str:
        return json.dumps(value.text, ensure_ascii=False)


class HeaderName(Kind[str]):
    """The name of a header whose value is compared; `*` is all of them."""

    words = "name of a header, or `*`"

    def read(self, given: object) -> str:
        text = self.text(given, 'must be the name of a header, or "*"')
        if not _HEADER_NAME.fullmatch(text):
            raise ValueError(f"no header can have the name {shown(text)}")
        return text.lower()

    def show(self, value: str) -> str:
        return '"*"' if value == "*" else value


class Measure(Enum):
    """What a tolerance counts in."""

    NUMBER = "number"
    SHARE = "share"
    """Of the larger of the two numbers."""
    SECONDS = "seconds"
    """Between two times, written as RFC 3339 has them."""
    ANY = "any"
    """Whatever it is, as long as it is of the same type."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far two values may be apart and still be equal."""

    by: float
    measure: Measure = Measure.NUMBER

    def allows(self, one: object, other: object) -> bool:
        """Whether two JSON values count as equal: numbers, times that are written in the same form, or all of a type."""
        if self.measure is Measure.ANY:
            return type(one) is type(other)
        if self.measure is Measure.SECONDS:
            return isinstance(one, str) and isinstance(other, str) and self._are_near(one, other)
        if not (type(one) in {int, float} and type(other) in {int, float}):
            return False
        return one == other or self._is_near(one, other)  # type: ignore[arg-type] # the line above

    def _is_near(self, one: float, other: float) -> bool:
        """Exact for whole numbers of any size."""
        try:
            by = self.by * max(abs(one), abs(other)) if self.measure is Measure.SHARE else self.by
            return abs(one - other) <= by
        except OverflowError:  # a whole number beyond any float
            return False

    def _are_near(self, one: str, other: str) -> bool:
        """Another zone or other fractions of a second are a difference that clients notice, not one in time."""
        if len(one) > _TIME_CHARACTERS or _DIGIT.sub("0", one) != _DIGIT.sub("0", other):
            return False
        try:
            apart = datetime.fromisoformat(one) - datetime.fromisoformat(other)
        except (ValueError, TypeError):
            return False
        return abs(apart.total_seconds()) <= self.by


class ToleranceKind(Kind[Tolerance]):
    """A number, a percent of the larger of two numbers, a duration between two times, or any value of a type."""

    words = "number such as `0.5`, share such as `5%`, duration between times such as `2s`, or `any` value of the same type"
    _FORM: ClassVar[re.Pattern[str]] = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(%?)", re.ASCII)

    def read(self, given: object) -> Tolerance:
        otherwise = "must be a number such as 0.5, a share such as 5%, a duration such as 2s, or any"
        if isinstance(given, int | float) and not isinstance(given, bool):
            given = repr(given)
        text = self.text(given, otherwise).strip()
        if text == "any":
            return Tolerance(0.0, Measure.ANY)
        if text[-1] in "smhd":
            return Tolerance(Duration(0, 366 * 86_400).read(text), Measure.SECONDS)
        found = self._FORM.fullmatch(text)
        try:
            by = Decimal(found[1]) if found else Decimal(text)
        except InvalidOperation:
            raise ValueError(f"{otherwise}, not {shown(text)}") from None
        is_share = found is not None and bool(found[2])
        if not by.is_finite() or not 0 <= by <= (100 if is_share else Decimal(10) ** 15):
            raise ValueError(f"{otherwise}, not {shown(text)}")
        return Tolerance(float(by / 100), Measure.SHARE) if is_share else Tolerance(float(by))

    def show(self, value: Tolerance) -> str:
        if value.measure is Measure.ANY:
            return "any"
        if value.measure is Measure.SECONDS:
            return Duration().show(value.by)
        if value.measure is Measure.SHARE:
            return f"{decimal_text(Decimal(repr(value.by)) * 100)}%"
        return decimal_text(Decimal(repr(value.by)))


class Tolerances(Kind[dict[str, Tolerance]]):
    """From JSON paths to tolerances."""

    def read(self, given: object) -> dict[str, Tolerance]:
        given = {} if given is None else given
        if not isinstance(given, Mapping):
            raise ValueError(f'must be a mapping, such as {{"$.load": 0.5}}, not {shown(given)}')
        values: dict[str, Tolerance] = {}
        faults: list[tuple[int | str, str]] = []
        for path, item in given.items():
            try:
                read_json_path(path)
                values[path] = ToleranceKind().read(item)
            except ValueError as error:
                faults.append((path, str(error)))
        if faults:
            raise PartsError(faults)
        return values

    def show(self, value: dict[str, Tolerance]) -> str:
        inner = ", ".join(f"{json.dumps(path)}: {ToleranceKind().show(item)}" for path, item in value.items())
        return f"{{{inner}}}"

    @property
    def allowed(self) -> str:
        return f"mapping from JSON paths to: {ToleranceKind.words}"
