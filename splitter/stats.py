"""What the data plane counts: plain numbers that can be added up.

Owns: the counters, the latency histogram and its bounds, the closed sets of label values.
Must not know: Prometheus, clocks, who reads the numbers.
Invariants: counters only grow; `merge` is associative and commutative; `from_wire(to_wire(s))` adds up to the same; keys
come from closed sets, so that no client can make this grow.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Final

BOUNDS_S: Final = (
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75,
    1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0,
)  # fmt: skip
"""Upper bounds in seconds, each at most twice the one before: p95 + 50 % must be seen, not rounded away."""

METHODS: Final = {method.encode(): method for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")}
OTHER: Final = "other"

FAILURE_KINDS: Final = ("connect", "timeout", "reset", "protocol", "overload", "5xx")
"""Values of `kind`: what a backend did wrong."""

FALLBACK_OUTCOMES: Final = ("rescued", "failed", "refused")

RequestKey = tuple[str, str, str, str, int]
"""backend, reason, route, method, status."""


class Histogram:
    """Counts of durations by bound; the last count holds what is above every bound."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, duration_s: float) -> None:
        self.counts[bisect_left(BOUNDS_S, duration_s)] += 1
        self.sum_s += duration_s

    def merge(self, other: Histogram) -> None:
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum_s += other.sum_s


class Stats:
    """The totals of one data plane since it started."""

    __slots__ = (
        "downstream_read_bytes",
        "downstream_written_bytes",
        "durations",
        "failures",
        "fallbacks",
        "force_ignored",
        "requests",
        "upstream_read_bytes",
        "upstream_written_bytes",
    )

    def __init__(self) -> None:
        self.requests: dict[RequestKey, int] = {}
        self.durations: dict[tuple[str, str], Histogram] = {}
        self.failures: dict[tuple[str, str], int] = {}
        self.fallbacks: dict[tuple[str, str], int] = {}
        self.force_ignored = 0
        self.downstream_read_bytes = 0
        self.downstream_written_bytes = 0
        self.upstream_read_bytes = 0
        self.upstream_written_bytes = 0

    def record(self, backend: str, reason: str, route: str, method: bytes, status: int, duration_s: float) -> None:
        """Count one request that has ended, whatever its end. `duration_s` from its head read to its last byte sent."""
        key = (backend, reason, route, METHODS.get(method, OTHER), status)
        requests = self.requests
        requests[key] = requests.get(key, 0) + 1
        place = (backend, route)
        histogram = self.durations.get(place)
        if histogram is None:
            histogram = self.durations[place] = Histogram()
        histogram.counts[bisect_left(BOUNDS_S, duration_s)] += 1
        histogram.sum_s += duration_s

    def fail(self, backend: str, kind: str) -> None:
        """Count one failure of a backend, whether or not its client noticed."""
        key = (backend, kind)
        self.failures[key] = self.failures.get(key, 0) + 1

    def fall_back(self, kind: str, outcome: str) -> None:
        """Count one failure of domain by what became of its request: rescued, failed on legacy too, or refused."""
        key = (kind, outcome)
        self.fallbacks[key] = self.fallbacks.get(key, 0) + 1

    def merge(self, other: Stats) -> None:
        """Add another plane's totals to these."""
        for request, count in other.requests.items():
            self.requests[request] = self.requests.get(request, 0) + count
        for place, histogram in other.durations.items():
            self.durations.setdefault(place, Histogram()).merge(histogram)
        for failure, count in other.failures.items():
            self.failures[failure] = self.failures.get(failure, 0) + count
        for fallback, count in other.fallbacks.items():
            self.fallbacks[fallback] = self.fallbacks.get(fallback, 0) + count
        self.force_ignored += other.force_ignored
        self.downstream_read_bytes += other.downstream_read_bytes
        self.downstream_written_bytes += other.downstream_written_bytes
        self.upstream_read_bytes += other.upstream_read_bytes
        self.upstream_written_bytes += other.upstream_written_bytes

    def to_wire(self) -> dict[str, Any]:
        """As plain JSON, so that the totals of another process can be merged: rows of a key's parts and its count."""
        return {
            "requests": [[*key, count] for key, count in self.requests.items()],
            "durations": [[*place, histogram.counts, histogram.sum_s] for place, histogram in self.durations.items()],
            "failures": [[*key, count] for key, count in self.failures.items()],
            "fallbacks": [[*key, count] for key, count in self.fallbacks.items()],
            "force_ignored": self.force_ignored,
            "downstream_read_bytes": self.downstream_read_bytes,
            "downstream_written_bytes": self.downstream_written_bytes,
            "upstream_read_bytes": self.upstream_read_bytes,
            "upstream_written_bytes": self.upstream_written_bytes,
        }

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Stats:
        stats = cls()
        for backend, reason, route, method, status, count in wire["requests"]:
            stats.requests[backend, reason, route, method, status] = count
        for backend, route, counts, sum_s in wire["durations"]:
            histogram = stats.durations[backend, route] = Histogram()
            histogram.counts, histogram.sum_s = counts, sum_s
        stats.failures = {(backend, kind): count for backend, kind, count in wire["failures"]}
        stats.fallbacks = {(kind, outcome): count for kind, outcome, count in wire["fallbacks"]}
        stats.force_ignored = wire["force_ignored"]
        stats.downstream_read_bytes = wire["downstream_read_bytes"]
        stats.downstream_written_bytes = wire["downstream_written_bytes"]
        stats.upstream_read_bytes = wire["upstream_read_bytes"]
        stats.upstream_written_bytes = wire["upstream_written_bytes"]
        return stats
