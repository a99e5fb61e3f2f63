"""The metrics a scraper sees: one table of names, filled from plain totals.

Owns: names, help texts, labels, which series exist from the start. Must not know: where the totals come from.
Invariants: every series of known label values is there before its first event, so `rate()` sees the first one; label
values come from closed sets (`splitter.stats`) and from the configuration.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from splitter.routing import BUCKETS, DEFAULT_ROUTE, Backend, Reason
from splitter.snapshot import Death, Gauges, Snapshot, WorkerInfo, WorkerState
from splitter.stats import BOUNDS_S, FAILURE_KINDS, FALLBACK_OUTCOMES, METHODS, Histogram, Stats

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

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
_SIDES: Final = (Backend.LEGACY, Backend.DOMAIN)


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything the metrics are made of, taken at one moment. `backend_up` by backend name."""

    stats: Stats
    gauges: Gauges
    snapshot: Snapshot
    version: str
    backend_up: Mapping[str, bool] = field(default_factory=dict)
    workers: Sequence[WorkerInfo] = ()
    deaths: Mapping[Death, int] = field(default_factory=dict)


class _Collector(Collector):
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterable[Metric]:
        reading = self._reading
        routes = [DEFAULT_ROUTE, *(rule.name for rule in reading.snapshot.table.routes)]
        yield _requests(reading.stats, routes)
        yield _durations(reading.stats, routes)
        yield from _traffic(reading.stats, reading.gauges)
        yield from _rollout(reading)
        yield from _workers(reading)


def _requests(stats: Stats, routes: Sequence[str]) -> Metric:
    family = CounterMetricFamily(
        "splitter_requests",
        "Requests that ended, by who answered, why, and with what.",
        labels=["backend", "reason", "route", "method", "code"],
    )
    known = {
        (backend.value, reason.value, route, method, 200): 0
        for backend, reason in ANSWERS
        for route in routes
        for method in METHODS.values()
    }
    for key, count in (known | stats.requests).items():
        family.add_metric([*key[:4], str(key[4])], count)
    return family


def _durations(stats: Stats, routes: Sequence[str]) -> Metric:
    family = HistogramMetricFamily(
        "splitter_request_duration_seconds",
        "From the request's head read to the last byte of its response written.",
        labels=["backend", "route"],
    )
    known = {(side.value, route): Histogram() for side in _SIDES for route in routes}
    for key, histogram in (known | stats.durations).items():
        family.add_metric(list(key), list(_cumulative(histogram)), histogram.sum_s)
    return family


def _cumulative(histogram: Histogram) -> Iterator[tuple[str, float]]:
    total = 0
    for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), histogram.counts, strict=True):
        total += count
        yield bound, total


def _traffic(stats: Stats, gauges: Gauges) -> Iterator[Metric]:
    failures = CounterMetricFamily(
        "splitter_backend_failures", "What a backend did wrong, whether or not its client noticed.",
        labels=["backend", "kind"],
    )  # fmt: skip
    known = {(side.value, kind): 0 for side in _SIDES for kind in FAILURE_KINDS}
    for key, count in (known | stats.failures).items():
        failures.add_metric(list(key), count)
    yield failures

    fallbacks = CounterMetricFamily(
        "splitter_fallbacks", "Failures of domain, by what became of the request.", labels=["kind", "outcome"]
    )
    none = {(kind, outcome): 0 for kind in FAILURE_KINDS for outcome in FALLBACK_OUTCOMES}
    for key, count in (none | stats.fallbacks).items():
        fallbacks.add_metric(list(key), count)
    yield fallbacks

    ignored = CounterMetricFamily("splitter_force_ignored", "Requests whose force_domain was not heeded.")
    ignored.add_metric([], stats.force_ignored)
    yield ignored

    transferred = CounterMetricFamily("splitter_bytes", "Bytes on the wire, heads included.", labels=["side", "direction"])
    transferred.add_metric(["downstream", "read"], stats.downstream_read_bytes)
    transferred.add_metric(["downstream", "written"], stats.downstream_written_bytes)
    transferred.add_metric(["upstream", "read"], stats.upstream_read_bytes)
    transferred.add_metric(["upstream", "written"], stats.upstream_written_bytes)
    yield transferred

    connections = GaugeMetricFamily("splitter_connections", "Open connections.", labels=["side", "state"])
    connections.add_metric(["downstream", "open"], gauges.downstream)
    connections.add_metric(["downstream", "tunnel"], gauges.tunnels)
    for state, count in gauges.upstream.items():
        connections.add_metric(["upstream", state], count)
    yield connections


def _rollout(reading: Reading) -> Iterator[Metric]:
    table = reading.snapshot.table
    up = GaugeMetricFamily("splitter_backend_up", "1 while the backend can be reached.", labels=["backend"])
    for backend, value in reading.backend_up.items():
        up.add_metric([backend], value)
    yield up
    percent = GaugeMetricFamily("splitter_rollout_percent", "Percent of clients on domain.", labels=["route"])
    for rule in (table.default, *table.routes):
        percent.add_metric([rule.name], rule.threshold * 100 / BUCKETS)
    yield percent
    yield GaugeMetricFamily("splitter_rollback_active", "1 while rolled back.", value=table.rolled_back)
    yield GaugeMetricFamily("splitter_domain_enabled", "0 when USE_DOMAIN_SERVICE is off.", value=table.domain_enabled)
    build = GaugeMetricFamily("splitter_build_info", "Always 1.", labels=["version"])
    build.add_metric([reading.version], 1)
    yield build


def _workers(reading: Reading) -> Iterator[Metric]:
    workers = GaugeMetricFamily("splitter_workers", "Processes that carry traffic, by where they stand.", labels=["state"])
    for state in WorkerState:
        workers.add_metric([state.value], sum(worker.state is state for worker in reading.workers))
    yield workers
    deaths = CounterMetricFamily("splitter_worker_deaths", "Workers that had to be replaced, by why.", labels=["cause"])
    for cause in Death:
        deaths.add_metric([cause.value], reading.deaths.get(cause, 0))
    yield deaths


def render(reading: Reading) -> bytes:
    """The page of a scrape, in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(reading))
    return generate_latest(registry)
