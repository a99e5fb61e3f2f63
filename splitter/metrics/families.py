"""What a metric is, the labels there are, and the series that exist before their first event.

Owns: the types of families and labels, the closed sets as labels. Must not know: any family, how text is written.
Invariant: the values of a label come from closed sets and from the configuration, never from a request or a response.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import product
from typing import Any, Final

from splitter.metrics.reading import GUARDRAIL_RULES, Reading
from splitter.routing import DEFAULT_ROUTE, Backend, Reason
from splitter.stats import FAILURE_KINDS, METHODS, OTHER, Histogram

LabelValues = tuple[str | int, ...]
"""In the order of the family's labels. An integer is a status."""

Value = float | Histogram

Values = Mapping[Any, Value]
"""By LabelValues; `Any`, because a mapping of narrower tuples would not be one of these to mypy."""


class Kind(Enum):
    """The types of the exposition formats."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the configuration: its name, and the methods that can come to it."""

    name: str
    methods: tuple[str, ...]


Known = Callable[[Sequence[Route]], Iterable[LabelValues]]


@dataclass(frozen=True, slots=True)
class Label:
    """A label and its values; where they are not known before a configuration is read, `note` says what they are."""

    name: str
    values: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `read` gives the values there are; `known` the label values that exist from the start.

    Without `known` these are all combinations of the labels' values.
    """

    name: str
    kind: Kind
    help: str
    read: Callable[[Reading], Values]
    labels: tuple[Label, ...] = ()
    known: Known | None = None

    def series(self, routes: Sequence[Route]) -> Iterable[LabelValues]:
        """The label values that exist from the start."""
        return product(*(label.values for label in self.labels)) if self.known is None else self.known(routes)


# --- labels ---------------------------------------------------------------------------------------------------------

_SIDES: Final = (Backend.LEGACY.value, Backend.DOMAIN.value)

BACKEND: Final = Label("backend", _SIDES, "`internal` for the splitter's own pages, `none` for requests refused at once")
SIDE: Final = Label("backend", _SIDES)
REASON: Final = Label("reason", tuple(reason.value for reason in Reason))
ROUTE: Final = Label("route", (), f"the names in `rollout.routes`, and `{DEFAULT_ROUTE}`")
METHOD: Final = Label("method", (*METHODS.values(), OTHER))
CODE: Final = Label("code", (), f"100 to 599, and `{OTHER}`; 499 is a client that left before its answer")
FAILURE: Final = Label("kind", FAILURE_KINDS)
RULE: Final = Label("rule", GUARDRAIL_RULES)

# Which reasons can come with which backend: the precedence table, read by columns.
ANSWERS: Final = (
    (Backend.LEGACY, Reason.DISABLED),
    (Backend.LEGACY, Reason.ROLLBACK),
    (Backend.LEGACY, Reason.FORCED),
    (Backend.DOMAIN, Reason.FORCED),
    (Backend.LEGACY, Reason.BUCKET),
    (Backend.DOMAIN, Reason.BUCKET),
    (Backend.LEGACY, Reason.UNHEALTHY),
    (Backend.LEGACY, Reason.FALLBACK),
    (Backend.LEGACY, Reason.NO_KEY),
)
_EXPECTED_CODES: Final = (200, 500, 502, 503, 504)
_REFUSALS: Final = (400, 405, 408, 413, 414, 417, 431, 501, 505)


def requests_series(routes: Sequence[Route]) -> Iterable[LabelValues]:
    for (backend, reason), route in product(ANSWERS, routes):
        for method, code in product(route.methods, _EXPECTED_CODES):
            yield (backend.value, reason.value, route.name, method, code)
    yield ("internal", "own", "internal", "GET", 200)
    for code in _REFUSALS:
        yield ("none", "refused", "none", OTHER, code)


def by_route(routes: Sequence[Route]) -> Iterable[LabelValues]:
    return ((route.name,) for route in routes)


def by_side_and_route(routes: Sequence[Route]) -> Iterable[LabelValues]:
    return ((side, route.name) for side, route in product(_SIDES, routes))
