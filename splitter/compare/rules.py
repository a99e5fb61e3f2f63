"""What is compared how: the rules of a configuration, ready to be asked at each step into a JSON value.

Owns: which rules hold at a place. Must not know: values, what is done with a rule.
Invariant: a step costs the same however many rules there are, once it was taken before: places with the same rules ahead
of them are one spot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from splitter.config import Comparison, JsonPath, Tolerance
from splitter.config.jsonpath import Ignored, read_json_path

_SPOTS_KEPT: Final = 8192

# Headers that differ between two implementations, or two answers, by nature: when and by whom they were made, how they
# were sent, and what the splitter says of them itself. Content-Encoding and Content-Length: the decoded body is compared.
BY_NATURE: Final = frozenset(
    {
        "age", "alt-svc", "connection", "content-encoding", "content-length", "date", "keep-alive", "proxy-connection",
        "server", "server-timing", "te", "trailer", "transfer-encoding", "upgrade", "via", "x-powered-by",
        "x-request-id", "x-response-time", "x-splitter-backend", "x-splitter-reason",
    }
)  # fmt: skip

_State = tuple[int, int]
"""A rule by number, and how many of its parts are behind us."""


class MoreRules(Protocol):
    """Rules that come on top of others."""

    @property
    def ignore(self) -> tuple[Ignored, ...]: ...
    @property
    def unordered(self) -> tuple[JsonPath, ...]: ...
    @property
    def tolerance(self) -> Mapping[str, Tolerance]: ...


class Spot:
    """The rules at a place, and those that may hold further down."""

    __slots__ = ("by_index", "ignored", "states", "tolerance", "unordered")

    def __init__(self, states: tuple[_State, ...], by_index: bool) -> None:
        self.states = states
        self.by_index = by_index
        self.ignored = False
        self.unordered = False
        self.tolerance: Tolerance | None = None


class Rules:
    """See the top of the file. Immutable, but for what it remembers."""

    def __init__(
        self,
        ignore: Iterable[Ignored] = (),
        unordered: Iterable[JsonPath] = (),
        tolerance: Mapping[str, Tolerance] | None = None,
        headers: Iterable[str] = ("*",),
    ) -> None:
        ignored = tuple(ignore)
        self.ignored_parts = frozenset(rule.text for rule in ignored if rule.path is None)
        self._headers = frozenset(headers)
        self._paths: list[tuple[JsonPath, str, Tolerance | None]] = [
            (rule.path, "ignore", None) for rule in ignored if rule.path is not None
        ]
        self._paths += [(path, "unordered", None) for path in unordered]
        self._paths += [(read_json_path(text), "tolerance", by) for text, by in (tolerance or {}).items()]
        self._spots: dict[tuple[tuple[_State, ...], str | int], Spot] = {}
        self.start = self._spot([(number, 0) for number in range(len(self._paths))])

    @classmethod
    def of(cls, comparison: Comparison, more: MoreRules | None = None) -> Rules:
        """The rules of a configuration, and more of them."""
        if more is None:
            return cls(comparison.ignore, comparison.unordered, comparison.tolerance, comparison.headers)
        return cls(
            (*comparison.ignore, *more.ignore),
            (*comparison.unordered, *more.unordered),
            {**comparison.tolerance, **more.tolerance},
            comparison.headers,
        )

    def compares_header(self, name: str) -> bool:
        """Whether a header counts; `name` in lower case."""
        if f"header:{name}" in self.ignored_parts:
            return False
        return name in self._headers or ("*" in self._headers and name not in BY_NATURE)

    def step(self, spot: Spot, step: str | int) -> Spot:
        """The rules one step further: into an object's key, or a list's item."""
        if not spot.states:
            return NO_RULES
        if isinstance(step, int) and not spot.by_index:
            step = 0
        key = (spot.states, step)
        found = self._spots.get(key)
        if found is None:
            found = self._spot(list(self._ahead(spot, step)))
            if len(self._spots) >= _SPOTS_KEPT:
                self._spots.clear()
            self._spots[key] = found
        return found

    def _ahead(self, spot: Spot, step: str | int) -> Iterable[_State]:
        for number, done in spot.states:
            part = self._paths[number][0].parts[done]
            if part.deep:
                yield number, done
            if part.name is None or (part.name == step and type(part.name) is type(step)):
                yield number, done + 1

    def _spot(self, states: list[_State]) -> Spot:
        going = [(number, done) for number, done in dict.fromkeys(states) if done < len(self._paths[number][0].parts)]
        by_index = any(isinstance(self._paths[number][0].parts[done].name, int) for number, done in going)
        spot = Spot(tuple(going), by_index)
        for number, done in states:
            path, what, tolerance = self._paths[number]
            if done == len(path.parts):
                spot.ignored |= what == "ignore"
                spot.unordered |= what == "unordered"
                spot.tolerance = tolerance or spot.tolerance
        return spot


NO_RULES: Final = Spot((), by_index=False)
