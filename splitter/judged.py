"""What guardrails judge by: the requests that a bucket sent to a side, counted apart from everything else.

Owns: which requests count and as what; their totals by side and route; the bounds of their latencies.
Must not know: limits, verdicts, clocks, who relays.
Invariants: counters only grow; `merge` is associative and commutative; forced requests, those without a key, those that were
refused and probes are in none of it; a request that domain failed counts on domain's side whoever answered it.

Both sides are counted by route, because routes may have percents of their own, and like is to be compared with like.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import add, sub
from typing import Any, Final

LATENCY_BOUNDS_S: Final = tuple(0.0005 * 2 ** (step / 8) for step in range(137))
"""From 0.5 ms to 66 s, each 9 % above the one before: two sides that are 1 % apart must never look 50 % apart because a
bound lies between them."""

LEFT: Final = 499
"""The status counted for a client that left before its answer."""


@dataclass(slots=True)
class Tally:
    """One side of one route. All are numbers of requests.

    `requests` ended with an answer or a failure; `failures` of these by what the backend did wrong; `errors` of these did
    not end well for the client; `refused` of these were answered with 4xx. `left` are clients that went before an answer:
    nobody's failure, but a time waited. `turned_away` were meant for domain while it was ejected. `latency` counts by
    `LATENCY_BOUNDS_S` the time to the head of the answer; its last count is what took longer than every bound.
    """

    requests: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    errors: int = 0
    refused: int = 0
    left: int = 0
    turned_away: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_S) + 1))

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    def add(self, other: Tally) -> None:
        """Add another's numbers to these."""
        self.requests += other.requests
        for kind, count in other.failures.items():
            self.failures[kind] = self.failures.get(kind, 0) + count
        self.errors += other.errors
        self.refused += other.refused
        self.left += other.left
        self.turned_away += other.turned_away
        self.latency = list(map(add, self.latency, other.latency))

    def since(self, earlier: Tally) -> Tally:
        """What came on top of an earlier state of the same."""
        return Tally(
            self.requests - earlier.requests,
            {kind: count - earlier.failures.get(kind, 0) for kind, count in self.failures.items()},
            self.errors - earlier.errors,
            self.refused - earlier.refused,
            self.left - earlier.left,
            self.turned_away - earlier.turned_away,
            list(map(sub, self.latency, earlier.latency)),
        )

    def to_wire(self) -> list[Any]:
        """As lists, texts and numbers; latencies as pairs of index and count, since most counts are 0."""
        latency = [[index, count] for index, count in enumerate(self.latency) if count]
        return [self.requests, self.failures, self.errors, self.refused, self.left, self.turned_away, latency]

    @classmethod
    def from_wire(cls, wire: Sequence[Any]) -> Tally:
        tally = cls()
        tally.requests, failures, tally.errors, tally.refused, tally.left, tally.turned_away, latency = wire
        tally.failures = dict(failures)
        for index, count in latency:
            tally.latency[index] = count
        return tally


_NOTHING: Final = Tally()

Window = dict[str, Tally]
"""One side over some time, by route."""


def total(window: Window) -> Tally:
    """All routes together."""
    tally = Tally()
    for other in window.values():
        tally.add(other)
    return tally


@dataclass(slots=True)
class Judged:
    """Both sides, by route: totals of a data plane, or what came on top within some time (`since`)."""

    legacy: Window = field(default_factory=dict)
    domain: Window = field(default_factory=dict)

    def tally(self, backend: str, reason: str, route: str) -> Tally:
        """Where a request that ended so is counted."""
        is_domain = backend == "domain" or reason != "bucket"
        side = self.domain if is_domain else self.legacy
        tally = side.get(route)
        if tally is None:
            tally = side[route] = Tally()
        return tally

    def record(
        self, backend: str, reason: str, route: str, status: int, failure: str, latency_s: float, *, cut: bool
    ) -> None:
        """Count one request that has ended and had a bucket. Those that went well are counted in `Stats.record`.

        `failure` is what the backend it was meant for did wrong, empty for nothing; `cut`: its answer broke off.
        """
        tally = self.tally(backend, reason, route)
        if reason == "unhealthy":
            tally.turned_away += 1
            return
        tally.latency[bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1
        if failure:
            tally.failures[failure] = tally.failures.get(failure, 0) + 1
        elif status == LEFT:
            tally.left += 1
            return
        tally.requests += 1
        if status >= 500 or cut:
            tally.errors += 1
        elif status >= 400 and status != LEFT:
            tally.refused += 1

    def merge(self, other: Judged) -> None:
        """Add another plane's totals to these."""
        for mine, theirs in ((self.legacy, other.legacy), (self.domain, other.domain)):
            for route, tally in theirs.items():
                if route not in mine:
                    mine[route] = Tally()
                mine[route].add(tally)

    def copy(self) -> Judged:
        return self.since(Judged())

    def since(self, earlier: Judged) -> Judged:
        """What came on top of earlier totals of the same planes."""
        legacy, domain = (
            {route: tally.since(then.get(route, _NOTHING)) for route, tally in now.items()}
            for now, then in ((self.legacy, earlier.legacy), (self.domain, earlier.domain))
        )
        return Judged(legacy, domain)

    def to_wire(self) -> dict[str, Any]:
        """As lists, texts and numbers only, for JSON; `from_wire` makes the same totals of it."""
        sides = (("legacy", self.legacy), ("domain", self.domain))
        return {name: {route: tally.to_wire() for route, tally in side.items()} for name, side in sides}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Judged:
        return cls(
            *({route: Tally.from_wire(tally) for route, tally in wire[name].items()} for name in ("legacy", "domain"))
        )
