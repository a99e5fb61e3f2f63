"""Kinds of values that are numbers: durations, sizes, percents, shares, counts.

Owns: their units and bounds, reading and showing them. Must not know: which key holds what.
Invariants: `read(show(value)) == value`; no unit is assumed; a percent is exact to the hundredth, because a client's side
hangs on it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, Final

from splitter.config.kinds import NO_VALUE, Kind, shown


def decimal_text(number: Decimal) -> str:
    """A number without exponent and without zeros that say nothing."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _number(given: object, otherwise: str) -> Decimal:
    """An int or float of the file as a decimal. Raises ValueError for anything else, true and .nan included."""
    if given is None:
        raise ValueError(NO_VALUE)
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
            raise ValueError(NO_VALUE)
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
