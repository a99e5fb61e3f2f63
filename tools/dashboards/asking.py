"""A dashboard's queries as Grafana sends them, and what a Prometheus answers.

Owns: what is put in for variables, the span shown, series with the names that legends have. Must not know: how panels look.
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

import numpy

Json = dict[str, Any]
_POINTS = 300


@dataclass(frozen=True, slots=True)
class Span:
    """What is shown, as Unix time, and how often Prometheus scrapes."""

    start_s: float
    end_s: float
    scrape_s: float

    @property
    def step_s(self) -> float:
        return max(self.scrape_s, round((self.end_s - self.start_s) / _POINTS))

    @property
    def window_s(self) -> float:
        """Grafana's $__rate_interval: four scrapes, so that one that was missed leaves no hole."""
        return max(4 * self.scrape_s, self.step_s + self.scrape_s)


@dataclass(frozen=True, slots=True)
class Series:
    """One line: `values` at `times_s`, NaN where there is none, so that a line breaks there."""

    name: str
    labels: dict[str, str]
    times_s: numpy.ndarray[Any, Any]
    values: numpy.ndarray[Any, Any]

    @property
    def last(self) -> float:
        return float(self.values[-1])


class Asked:
    """A Prometheus, for one span of time. Raises OSError when it can't be asked, ValueError with what it complains of."""

    def __init__(self, url: str, span: Span) -> None:
        self.span = span
        self._url = url.rstrip("/")

    def series(self, target: Json) -> list[Series]:
        """What a panel gets for one of its queries; a query of the present has one value."""
        expression, legend = self.filled(target["expr"]), target.get("legendFormat", "__auto")
        if target.get("instant"):
            found = self._get("query", query=expression, time=self.span.end_s)["result"]
            return [_at_once(named(legend, one["metric"]), one) for one in found]
        return [self._over_time(named(legend, one["metric"]), one) for one in self.ranged(target["expr"])]

    def ranged(self, expression: str) -> list[Json]:
        """The series of a query over the whole span, as Prometheus has them."""
        span = self.span
        answer = self._get(
            "query_range", query=self.filled(expression), start=span.start_s, end=span.end_s, step=span.step_s
        )
        result: list[Json] = answer["result"]
        return result

    def exemplars(self, expression: str) -> list[tuple[float, float]]:
        """Time and value of each."""
        found = self._get("query_exemplars", query=self.filled(expression), start=self.span.start_s, end=self.span.end_s)
        return [(float(dot["timestamp"]), float(dot["value"])) for one in found for dot in one["exemplars"]]

    def filled(self, expression: str) -> str:
        """With everything chosen above."""
        expression = expression.replace("$__rate_interval", f"{self.span.window_s:g}s")
        return re.sub(r'"\$(?:job|instance|route)"', '".*"', expression)

    def _over_time(self, name: str, one: Json) -> Series:
        span = self.span
        times = numpy.arange(span.start_s, span.end_s + 1e-3, span.step_s)
        line = numpy.full(len(times), numpy.nan)
        for at_s, value in one["values"]:
            line[min(len(line) - 1, round((float(at_s) - span.start_s) / span.step_s))] = float(value)
        return Series(name, one["metric"], times, line)

    def _get(self, what: str, **parameters: Any) -> Any:
        try:
            with urllib.request.urlopen(f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}") as answer:  # noqa: S310 - a person's own
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{parameters['query']}: {error.read().decode()}") from None


def _at_once(name: str, one: Json) -> Series:
    at_s, value = one["value"]
    return Series(name, one["metric"], numpy.array([float(at_s)]), numpy.array([float(value)]))


def named(legend: str, labels: dict[str, str]) -> str:
    """A legend's template with labels put in."""
    if legend == "__auto":
        return ", ".join(value for name, value in sorted(labels.items()) if name != "__name__")
    return re.sub(r"\{\{ *(\w+) *\}\}", lambda found: labels.get(found[1], ""), legend)


def wait_until_ready(url: str, timeout_s: float = 30) -> None:
    """Until the Prometheus answers. Raises TimeoutError."""
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        try:
            urllib.request.urlopen(f"{url}/-/ready").close()  # noqa: S310 - a person's own
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"{url} does not get ready")
