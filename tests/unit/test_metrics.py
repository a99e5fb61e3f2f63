"""The page of a scrape, read back by Prometheus' own parsers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from splitter.config import KeySource
from splitter.metrics import FAMILIES, Form, GuardrailReading, Reading, form_for, render
from splitter.metrics.families import ANSWERS, Kind, Route
from splitter.metrics.reading import GUARDRAIL_RULES, ROLLBACK_BY
from splitter.progress import Phase
from splitter.routing import Rule, Table
from splitter.snapshot import Death, Gauges, Snapshot, WorkerInfo, WorkerState
from splitter.stats import BOUNDS_S, FAILURE_KINDS, METHODS, MIRROR_OUTCOMES, Histogram, Stats
from splitter.usage import Usage

KEY = (KeySource("header", "X-User-Id"),)
TABLE = Table(Rule("default", 1025, KEY), (Rule("control", 0, KEY, methods=frozenset({b"POST", b"BREW"})),))

Found = dict[tuple[str, frozenset[tuple[str, str]]], float]


def reading(stats: Stats | None = None, **fields: object) -> Reading:
    given: dict[str, object] = {
        "stats": stats or Stats(),
        "gauges": Gauges(),
        "snapshot": Snapshot(TABLE),
        "version": "1.2.3",
        "backend_up": {"legacy": True, "domain": False},
    }
    return Reading(**(given | fields))  # type: ignore[arg-type] # the fields of Reading, by name


def samples(taken: Reading) -> Found:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(render(taken).decode())
        for sample in family.samples
    }


def value(found: Found, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def busy() -> Stats:
    """Every series that five routes can have, with all methods and the usual statuses."""
    stats = Stats()
    for backend, reason in ANSWERS:
        for route in ("default", *(f"route-{n}" for n in range(5))):
            for method in METHODS:
                for status in (200, 404, 500, 502):
                    stats.record(backend, reason, route, method, status, status / 1000)
                    stats.show(backend, route, status / 1000, "4bf92f3577b34da6a3ce929d0e0e4736", 1_700_000_000.123)
    return stats


# --- the contract's table --------------------------------------------------------------------------------------------

CONTRACT = [
    "splitter_requests_total{backend,reason,route,method,code}",
    "splitter_request_duration_seconds{backend,route}",
    "splitter_backend_failures_total{backend,kind}",
    "splitter_fallbacks_total{kind,outcome}",
    "splitter_backend_up{backend}",
    "splitter_rollout_percent{route}",
    "splitter_rollback_active",
    "splitter_domain_enabled",
    "splitter_plan_step",
    "splitter_guardrail_verdict{rule}",
    "splitter_rollbacks_total{by}",
    "splitter_rollback_seconds",
    "splitter_mirror_total{outcome}",
    "splitter_connections{side,state}",
    "splitter_bytes_total{side,direction}",
    "splitter_config_reloads_total{outcome}",
    "splitter_state_store_up",
    "splitter_build_info",
]
HISTOGRAMS = {"splitter_request_duration_seconds", "splitter_rollback_seconds"}


@pytest.mark.parametrize("named", CONTRACT)
def test_the_contracts_metrics_are_there_from_the_start(named: str) -> None:
    name, _, labels = named.rstrip("}").partition("{")
    wanted = {*filter(None, labels.split(","))}
    sample = f"{name}_count" if name in HISTOGRAMS else name
    found = [set(dict(pairs)) for (metric, pairs) in samples(reading()) if metric == sample]
    if name == "splitter_build_info":
        wanted = {"version"}
    assert found
    assert all(labels == wanted for labels in found)


def test_series_of_known_values_are_there_before_their_first_event() -> None:
    found = samples(reading())
    for backend, reason in ANSWERS:
        for route, methods in {"default": (*METHODS.values(), "other"), "control": ("POST", "other")}.items():
            for method in methods:
                for code in ("200", "500", "502", "503", "504"):
                    known = {"backend": backend, "reason": reason, "route": route, "method": method, "code": code}
                    assert value(found, "splitter_requests_total", **known) == 0
    for side in ("legacy", "domain"):
        for kind in FAILURE_KINDS:
            assert value(found, "splitter_backend_failures_total", backend=side, kind=kind) == 0
        assert value(found, "splitter_request_duration_seconds_count", backend=side, route="control") == 0
    for outcome in MIRROR_OUTCOMES:
        assert value(found, "splitter_mirror_total", outcome=outcome) == 0
    for who in (*ROLLBACK_BY, "other"):
        assert value(found, "splitter_rollbacks_total", by=who) == 0
    assert value(found, "splitter_rollback_seconds_count") == 0
    assert value(found, "splitter_rollout_percent", route="default") == 10.25
    assert value(found, "splitter_backend_up", backend="domain") == 0
    assert value(found, "splitter_build_info", version="1.2.3") == 1
    assert value(found, "splitter_plan_step") == -1


def test_methods_a_route_does_not_have_make_no_series() -> None:
    methods = {dict(labels)["method"] for name, labels in samples(reading()) if "control" in dict(labels).values()
               and name == "splitter_requests_total"}  # fmt: skip
    assert methods == {"POST", "other"}


# --- what is counted -------------------------------------------------------------------------------------------------


def test_what_is_recorded_is_what_is_shown() -> None:
    stats = Stats()
    stats.record("domain", "bucket", "default", b"GET", 200, 0.0042)
    stats.record("domain", "bucket", "default", b"BREW", 418, 99.0)
    stats.record("domain", "bucket", "default", b"GET", 999, 0.5)
    stats.refuse(431)
    stats.fail("domain", "reset")
    stats.fall_back("reset", "rescued")
    stats.mirror("mismatch")
    stats.lose_lines("unread", 7)
    found = samples(reading(stats, gauges=Gauges(downstream=3, tunnels=1, upstream={"idle": 2, "parked": 4})))
    labels = {"backend": "domain", "reason": "bucket", "route": "default"}
    assert value(found, "splitter_requests_total", **labels, method="GET", code="200") == 1
    assert value(found, "splitter_requests_total", **labels, method="other", code="418") == 1
    assert value(found, "splitter_requests_total", **labels, method="GET", code="other") == 1
    refused = {"backend": "none", "reason": "refused", "route": "none", "method": "other", "code": "431"}
    assert value(found, "splitter_requests_total", **refused) == 1
    assert not [key for key in found if key[0].startswith("splitter_request_duration") and ("backend", "none") in key[1]]
    place = {"backend": "domain", "route": "default"}
    assert value(found, "splitter_request_duration_seconds_bucket", **place, le="0.003") == 0
    assert value(found, "splitter_request_duration_seconds_bucket", **place, le="0.005") == 1
    assert value(found, "splitter_request_duration_seconds_bucket", **place, le="30.0") == 2
    assert value(found, "splitter_request_duration_seconds_bucket", **place, le="+Inf") == 3
    assert value(found, "splitter_fallbacks_total", kind="reset", outcome="rescued") == 1
    assert value(found, "splitter_mirror_total", outcome="mismatch") == 1
    assert value(found, "splitter_log_lines_lost_total", why="unread") == 7
    assert value(found, "splitter_connections", side="downstream", state="open") == 3
    assert value(found, "splitter_connections", side="upstream", state="idle") == 2
    assert value(found, "splitter_connections", side="upstream", state="parked") == 4


def test_what_the_control_plane_tells_is_shown() -> None:
    took = Histogram()
    took.observe(0.004)
    found = samples(
        reading(
            plan_step=1, plan_stages=4, plan_phase=Phase.WAITING, plan_hold_left_s=12.5,
            guardrails={"error_rate": GuardrailReading("fail", 0.079, 0.05)},
            rollbacks={"operator": 2, "guardrail": 1, "martians": 3, "ghosts": 1}, rollback_durations=took,
            config_reloads={"failed": 1}, config_ok=False, state_store_up=False,
            workers=[WorkerInfo(0, 1, 17, WorkerState.READY, 1.5)] * 2,
            deaths={Death.STUCK: 5}, usage=Usage(1.5, 1 << 20, 30, 4096, 1.7e9),
        )
    )  # fmt: skip
    assert value(found, "splitter_plan_step") == 1
    assert value(found, "splitter_plan_stages") == 4
    assert value(found, "splitter_plan_phase", phase="waiting") == 1
    assert sum(count for (name, _), count in found.items() if name == "splitter_plan_phase") == 1
    assert value(found, "splitter_plan_hold_left_seconds") == 12.5
    assert value(found, "splitter_guardrail_verdict", rule="error_rate") == -1
    assert value(found, "splitter_guardrail_value", rule="error_rate") == 0.079
    assert value(found, "splitter_guardrail_limit", rule="error_rate") == 0.05
    for rule in GUARDRAIL_RULES[1:]:
        assert value(found, "splitter_guardrail_verdict", rule=rule) == 0
        assert math.isnan(value(found, "splitter_guardrail_value", rule=rule))
    assert value(found, "splitter_rollbacks_total", by="operator") == 2
    assert value(found, "splitter_rollbacks_total", by="signal") == 0
    assert value(found, "splitter_rollbacks_total", by="other") == 4
    assert value(found, "splitter_rollback_seconds_bucket", le="0.005") == 1
    assert value(found, "splitter_config_reloads_total", outcome="failed") == 1
    assert value(found, "splitter_config_last_reload_successful") == 0
    assert value(found, "splitter_state_store_up") == 0
    assert value(found, "splitter_workers", state="ready") == 2
    assert value(found, "splitter_workers", state="starting") == 0
    assert value(found, "splitter_worker_restarts_total", cause="stuck") == 5
    assert value(found, "process_cpu_seconds_total") == 1.5
    assert value(found, "process_start_time_seconds") == 1.7e9


# --- the formats -----------------------------------------------------------------------------------------------------


class AsPrometheusClientHasIt(Collector):
    """The same values, handed to prometheus_client."""

    def __init__(self, taken: Reading) -> None:
        self._taken = taken

    def collect(self) -> Iterable[Metric]:
        routes = (Route("default", (*METHODS.values(), "other")), Route("control", ("other", "POST")))
        for family in FAMILIES:
            labels = [label.name for label in family.labels]
            zero = dict.fromkeys(family.series(routes), 0)
            found = (zero | dict(family.read(self._taken))).items()
            shown = [(["other" if v == 0 else str(v) for v in values], value) for values, value in found]
            name = family.name.removesuffix("_total")
            unit = next((unit for unit in ("seconds", "bytes") if name.endswith(f"_{unit}")), "")
            if family.kind is Kind.HISTOGRAM:
                histogram = HistogramMetricFamily(name, family.help, labels=labels, unit=unit)
                for values, counted in shown:
                    full = counted if isinstance(counted, Histogram) else Histogram()
                    histogram.add_metric(values, self._buckets(full), full.sum_s)
                yield histogram
            else:
                kind = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
                plain = kind(name, family.help, labels=labels, unit=unit)
                for values, number in shown:
                    assert not isinstance(number, Histogram)
                    plain.add_metric(values, number)
                yield plain

    @staticmethod
    def _buckets(histogram: Histogram) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
        total = 0
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        for place, bound in enumerate((*map(str, BOUNDS_S), "+Inf")):
            total += histogram.counts[place]
            kept = histogram.exemplars.get(place)
            if kept is None:
                buckets.append((bound, float(total)))
            else:
                buckets.append((bound, float(total), Exemplar({"trace_id": kept.trace_id}, kept.value_s, kept.at_s)))
        return buckets


@pytest.mark.parametrize("form", Form)
def test_it_says_what_prometheus_client_says(form: Form) -> None:
    """Byte for byte in both formats, exemplars included."""
    stats = busy()
    stats.record("domain", "bucket", 'a"b\\c\nd', b"GET", 201, 0.1)
    stats.downstream_read_bytes, stats.upstream_read_bytes, stats.upstream_written_bytes = 999_999, 1_000_000, 12_345_678_901
    taken = reading(stats, rollbacks={"martians": 1}, usage=Usage(0.25, 1 << 30, 7, 1 << 20, 1.7e9))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(AsPrometheusClientHasIt(taken))
    theirs = (generate_latest if form is Form.TEXT else generate_openmetrics)(registry)
    assert render(taken, form).decode().splitlines() == theirs.decode().splitlines()


def test_openmetrics_has_exemplars_and_the_text_format_has_none() -> None:
    stats = Stats()
    stats.record("domain", "bucket", "default", b"GET", 200, 0.0042)
    stats.show("domain", "default", 0.0042, "4bf92f3577b34da6a3ce929d0e0e4736", 1_700_000_000.123)
    taken = reading(stats)
    found = [
        (sample.labels["le"], sample.exemplar)
        for family in read_openmetrics(render(taken, Form.OPENMETRICS).decode())  # type: ignore[no-untyped-call] # theirs
        for sample in family.samples
        if sample.exemplar
    ]
    ((bound, exemplar),) = found
    assert bound == "0.005"
    assert exemplar.labels == {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}
    assert (exemplar.value, float(exemplar.timestamp)) == (0.0042, 1_700_000_000.123)
    assert b"trace_id" not in render(taken, Form.TEXT)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form.TEXT),
        ("*/*", Form.TEXT),
        ("text/plain", Form.TEXT),
        ("application/openmetrics-text; version=1.0.0", Form.OPENMETRICS),
        ("application/openmetrics-text", Form.OPENMETRICS),
        ("application/openmetrics-text;version=2.0.0", Form.TEXT),
        ("application/openmetrics-text;version=1.0.0;q=0", Form.TEXT),
        ("application/openmetrics-text;q=nonsense", Form.TEXT),
        ("application/openmetrics-text;q=0.2, text/plain;q=0.5", Form.TEXT),
        (  # Prometheus 2.42
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Form.OPENMETRICS,
        ),
        (  # Prometheus 3
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;"
            "version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,/;q=0.1",
            Form.OPENMETRICS,
        ),
        (";;=,;q", Form.TEXT),
    ],
)
def test_a_scraper_gets_the_format_it_asks_for(accept: str, form: Form) -> None:
    assert form_for(accept) is form


# --- cost ------------------------------------------------------------------------------------------------------------


def test_a_scrape_of_two_busy_workers_takes_less_than_20_ms() -> None:
    """Reading two workers' totals from the channel, adding them up and writing the page: the best of ten, in CPU time,
    because the machine is shared."""
    table = Table(Rule("default", 1000, KEY), tuple(Rule(f"route-{n}", 500, KEY) for n in range(5)))
    wires = [busy().to_wire(), busy().to_wire()]
    took_s = []
    for _ in range(10):
        began_s = time.thread_time()
        total = Stats()
        for wire in wires:
            total.merge(Stats.from_wire(wire))
        page = render(reading(total, snapshot=Snapshot(table)), Form.OPENMETRICS)
        took_s.append(time.thread_time() - began_s)
    assert page.count(b"\n") > 2500
    assert min(took_s) < 0.02
