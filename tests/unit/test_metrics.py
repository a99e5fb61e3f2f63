"""The page of a scrape, read back by Prometheus' own parser."""

from __future__ import annotations

from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

from splitter.config import KeySource
from splitter.metrics import ANSWERS, Reading, render
from splitter.routing import Rule, Table
from splitter.snapshot import Death, Gauges, Snapshot, WorkerInfo, WorkerState
from splitter.stats import BOUNDS_S, Stats

KEY = (KeySource("header", "X-User-Id"),)
TABLE = Table(Rule("default", 1025, KEY), (Rule("control", 0, KEY),))


def samples(stats: Stats, gauges: Gauges | None = None) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    page = render(Reading(stats, gauges or Gauges(), Snapshot(TABLE), "1.2.3", {"legacy": True, "domain": False}))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def value(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_series_of_known_values_are_there_before_their_first_event() -> None:
    found = samples(Stats())
    for backend, reason in ANSWERS:
        for route in ("default", "control"):
            known = {"backend": backend, "reason": reason, "route": route, "method": "GET", "code": "200"}
            assert value(found, "splitter_requests_total", **known) == 0
    assert value(found, "splitter_backend_failures_total", backend="domain", kind="timeout") == 0
    assert value(found, "splitter_request_duration_seconds_count", backend="legacy", route="control") == 0
    assert value(found, "splitter_rollout_percent", route="default") == 10.25
    assert value(found, "splitter_backend_up", backend="domain") == 0
    assert value(found, "splitter_build_info", version="1.2.3") == 1


def test_what_is_recorded_is_what_is_shown() -> None:
    stats = Stats()
    stats.record("domain", "bucket", "default", b"GET", 200, 0.0042)
    stats.record("domain", "bucket", "default", b"BREW", 418, 99.0)
    stats.fail("domain", "reset")
    stats.fall_back("reset", "rescued")
    found = samples(stats, Gauges(downstream=3, tunnels=1, upstream={"idle": 2}))
    labels = {"backend": "domain", "reason": "bucket", "route": "default"}
    assert value(found, "splitter_requests_total", **labels, method="GET", code="200") == 1
    assert value(found, "splitter_requests_total", **labels, method="other", code="418") == 1
    place = {"backend": "domain", "route": "default"}
    assert value(found, "splitter_request_duration_seconds_bucket", **place, le="0.003") == 0
    assert value(found, "splitter_request_duration_seconds_bucket", **place, le="0.005") == 1
    assert value(found, "splitter_request_duration_seconds_bucket", **place, le="30.0") == 1
    assert value(found, "splitter_request_duration_seconds_bucket", **place, le="+Inf") == 2
    assert value(found, "splitter_fallbacks_total", kind="reset", outcome="rescued") == 1
    assert value(found, "splitter_connections", side="downstream", state="open") == 3
    assert value(found, "splitter_connections", side="upstream", state="idle") == 2


def test_workers_are_counted_by_state_and_their_deaths_by_cause() -> None:
    workers = [WorkerInfo(slot, 1, 7, WorkerState.READY, 1.0) for slot in range(2)]
    workers.append(WorkerInfo(0, 0, 8, WorkerState.DRAINING, 9.0))
    page = render(Reading(Stats(), Gauges(), Snapshot(TABLE), "1", workers=workers, deaths={Death.STUCK: 3})).decode()
    assert 'splitter_workers{state="ready"} 2.0' in page
    assert 'splitter_workers{state="draining"} 1.0' in page
    assert 'splitter_workers{state="starting"} 0.0' in page
    assert 'splitter_worker_deaths_total{cause="stuck"} 3.0' in page
    assert 'splitter_worker_deaths_total{cause="no_ack"} 0.0' in page


def test_totals_add_up() -> None:
    one, other = Stats(), Stats()
    for stats, times in ((one, 2), (other, 3)):
        for _ in range(times):
            stats.record("legacy", "bucket", "default", b"GET", 200, 0.01)
        stats.fail("domain", "connect")
        stats.fall_back("connect", "rescued")
        stats.downstream_read_bytes += times
    one.merge(other)
    assert one.requests == {("legacy", "bucket", "default", "GET", 200): 5}
    assert sum(one.durations["legacy", "default"].counts) == 5
    assert one.failures == {("domain", "connect"): 2}
    assert one.fallbacks == {("connect", "rescued"): 2}
    assert one.downstream_read_bytes == 5


def test_the_bounds_are_fine_enough_to_see_half_more() -> None:
    assert all(high <= 2 * low for low, high in pairwise(BOUNDS_S))
    assert BOUNDS_S[0] == 0.001
    assert BOUNDS_S[-1] == 30
