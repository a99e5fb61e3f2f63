"""The one table of metrics: names, types, help texts, labels, and where each number comes from.

Owns: all of that; `docs/metrics.md` is made of it. Must not know: how text is written, how the numbers were found out.
Invariant: every series of known label values is there before its first event, so that `rate()` sees the first one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import nan
from typing import Final

from splitter.metrics.families import (
    BACKEND,
    CODE,
    FAILURE,
    METHOD,
    REASON,
    ROUTE,
    RULE,
    SIDE,
    Family,
    Kind,
    Label,
    LabelValues,
    Value,
    Values,
    by_route,
    by_side_and_route,
    requests_series,
)
from splitter.metrics.reading import (
    ADMIN_REFUSALS,
    GUARDRAIL_RULES,
    HOOK_OUTCOMES,
    RELOAD_OUTCOMES,
    ROLLBACK_BY,
    VERDICTS,
    Counts,
    GuardrailReading,
    Reading,
)
from splitter.progress import Phase
from splitter.routing import BUCKETS
from splitter.snapshot import Death, WorkerState
from splitter.stats import FALLBACK_OUTCOMES, LOST_LINES, MIRROR_OUTCOMES, OTHER


def _one(read: Callable[[Reading], Value]) -> Callable[[Reading], Values]:
    return lambda reading: {(): read(reading)}


def _closed(words: Counts, known: Sequence[str]) -> Values:
    """Numbers by a word, those of words that are not known added up."""
    found: dict[LabelValues, Value] = {}
    others = 0
    for word, count in words.items():
        if word in known:
            found[word,] = count
        else:
            others += count
            found[OTHER,] = others
    return found


def _transferred(reading: Reading) -> Values:
    stats = reading.stats
    return {
        ("downstream", "read"): stats.downstream_read_bytes,
        ("downstream", "written"): stats.downstream_written_bytes,
        ("upstream", "read"): stats.upstream_read_bytes,
        ("upstream", "written"): stats.upstream_written_bytes,
    }


def _connections(reading: Reading) -> Values:
    gauges = reading.gauges
    upstream: dict[LabelValues, Value] = {("upstream", state): count for state, count in gauges.upstream.items()}
    return {("downstream", "open"): gauges.downstream, ("downstream", "tunnel"): gauges.tunnels} | upstream


def _percents(reading: Reading) -> Values:
    table = reading.snapshot.table
    return {(rule.name,): rule.threshold * 100 / BUCKETS for rule in (table.default, *table.routes)}


def _guardrails(read: Callable[[GuardrailReading], float]) -> Callable[[Reading], Values]:
    nothing = GuardrailReading()
    return lambda reading: {(rule,): read(reading.guardrails.get(rule, nothing)) for rule in GUARDRAIL_RULES}


FAMILIES: Final = (
    Family(
        "splitter_requests_total",
        Kind.COUNTER,
        "Requests that ended, by who answered, why, and with what. One that legacy rescued is here once, under legacy.",
        lambda reading: reading.stats.requests,
        (BACKEND, REASON, ROUTE, METHOD, CODE),
        requests_series,
    ),
    Family(
        "splitter_request_duration_seconds",
        Kind.HISTOGRAM,
        "From a request's head read to the last byte of its response written, by who answered. With exemplars in"
        " OpenMetrics: the trace id of a recent request in each bucket.",
        lambda reading: reading.stats.durations,
        (BACKEND, ROUTE),
        by_side_and_route,
    ),
    Family(
        "splitter_backend_failures_total",
        Kind.COUNTER,
        "What a backend did wrong, whether or not its client noticed.",
        lambda reading: reading.stats.failures,
        (SIDE, FAILURE),
    ),
    Family(
        "splitter_fallbacks_total",
        Kind.COUNTER,
        "Failures of domain, by what became of the request: rescued by legacy, failed there too, or refused a second try.",
        lambda reading: reading.stats.fallbacks,
        (FAILURE, Label("outcome", FALLBACK_OUTCOMES)),
    ),
    Family(
        "splitter_force_ignored_total",
        Kind.COUNTER,
        "Requests whose force_domain was not heeded: its value is none of the accepted ones, or forcing is not allowed.",
        _one(lambda reading: reading.stats.force_ignored),
    ),
    Family(
        "splitter_mirror_total",
        Kind.COUNTER,
        "Requests that were to be mirrored to the other side, by what became of it.",
        lambda reading: reading.stats.mirrored,
        (Label("outcome", MIRROR_OUTCOMES),),
    ),
    Family(
        "splitter_backend_up",
        Kind.GAUGE,
        "1 while the probes reach an endpoint of the backend.",
        lambda reading: {(name,): up for name, up in reading.backend_up.items()},
        (SIDE,),
    ),
    Family(
        "splitter_rollout_percent",
        Kind.GAUGE,
        "Percent of clients that are on domain when nothing is rolled back or switched off.",
        _percents,
        (ROUTE,),
        by_route,
    ),
    Family(
        "splitter_rollback_active",
        Kind.GAUGE,
        "1 while rolled back.",
        _one(lambda reading: reading.snapshot.table.rolled_back),
    ),
    Family(
        "splitter_domain_enabled",
        Kind.GAUGE,
        "0 while USE_DOMAIN_SERVICE is off.",
        _one(lambda reading: reading.snapshot.table.domain_enabled),
    ),
    Family(
        "splitter_plan_step",
        Kind.GAUGE,
        "The stage of the plan that is in force, counted from 0; -1 without a plan in progress.",
        _one(lambda reading: reading.plan_step),
    ),
    Family(
        "splitter_plan_stages",
        Kind.GAUGE,
        "How many stages the plan has.",
        _one(lambda reading: reading.plan_stages),
    ),
    Family(
        "splitter_plan_phase",
        Kind.GAUGE,
        "1 for the phase the plan is in. `waiting`: for a person or a hook to let it go on; `frozen`: by a guardrail.",
        lambda reading: {(reading.plan_phase.value,): 1},
        (Label("phase", tuple(phase.value for phase in Phase)),),
    ),
    Family(
        "splitter_plan_hold_left_seconds",
        Kind.GAUGE,
        "How long the stage in force still lasts at least.",
        _one(lambda reading: reading.plan_hold_left_s),
    ),
    Family(
        "splitter_guardrail_verdict",
        Kind.GAUGE,
        "A guardrail's last verdict: 1 pass, 0 too little data, -1 fail.",
        _guardrails(lambda guardrail: VERDICTS[guardrail.verdict]),
        (RULE,),
    ),
    Family(
        "splitter_guardrail_value",
        Kind.GAUGE,
        "What the guardrail measured; NaN while there is too little data.",
        _guardrails(lambda guardrail: nan if guardrail.value is None else guardrail.value),
        (RULE,),
    ),
    Family(
        "splitter_guardrail_limit",
        Kind.GAUGE,
        "What the guardrail's value is held against; NaN for a rule that is off.",
        _guardrails(lambda guardrail: nan if guardrail.limit is None else guardrail.limit),
        (RULE,),
    ),
    Family(
        "splitter_rollbacks_total",
        Kind.COUNTER,
        "Rollbacks, by who ordered them.",
        lambda reading: _closed(reading.rollbacks, ROLLBACK_BY),
        (Label("by", (*ROLLBACK_BY, OTHER)),),
    ),
    Family(
        "splitter_rollback_seconds",
        Kind.HISTOGRAM,
        "From the decision to roll back until it was in force on all workers.",
        _one(lambda reading: reading.rollback_durations),
    ),
    Family(
        "splitter_connections",
        Kind.GAUGE,
        "Open connections. Downstream `tunnel` are those of `open` that carry another protocol.",
        _connections,
        (Label("side", ("downstream", "upstream")), Label("state", ("open", "tunnel", "idle", "active", "connecting"))),
        lambda _routes: (
            *(("downstream", state) for state in ("open", "tunnel")),
            *(("upstream", state) for state in ("idle", "active", "connecting")),
        ),
    ),
    Family(
        "splitter_bytes_total",
        Kind.COUNTER,
        "Bytes read and written, heads included.",
        _transferred,
        (Label("side", ("downstream", "upstream")), Label("direction", ("read", "written"))),
    ),
    Family(
        "splitter_config_reloads_total",
        Kind.COUNTER,
        "Times the configuration was read again while running.",
        lambda reading: _closed(reading.config_reloads, RELOAD_OUTCOMES),
        (Label("outcome", RELOAD_OUTCOMES),),
    ),
    Family(
        "splitter_config_last_reload_successful",
        Kind.GAUGE,
        "0 while the file has a fault and an older configuration is in force.",
        _one(lambda reading: reading.config_ok),
    ),
    Family(
        "splitter_state_store_up",
        Kind.GAUGE,
        "0 while the state can't be saved.",
        _one(lambda reading: reading.state_store_up),
    ),
    Family(
        "splitter_admin_refused_total",
        Kind.COUNTER,
        "Requests to the admin side that were refused for who asked: wrong tokens, wrong names, pages of other sites.",
        lambda reading: _closed(reading.admin_refused, ADMIN_REFUSALS),
        (Label("cause", ADMIN_REFUSALS),),
    ),
    Family(
        "splitter_hook_deliveries_total",
        Kind.COUNTER,
        "Deliveries to hooks, by what became of a try: `retried` is tried again, `failed` was refused or given up; `dropped`"
        " was lost to a full queue, a stop or an edit.",
        lambda reading: _closed(reading.hook_deliveries, HOOK_OUTCOMES),
        (Label("outcome", HOOK_OUTCOMES),),
    ),
    Family(
        "splitter_workers",
        Kind.GAUGE,
        "Worker processes.",
        lambda reading: Counter((worker.state.value,) for worker in reading.workers),
        (Label("state", tuple(state.value for state in WorkerState)),),
    ),
    Family(
        "splitter_worker_restarts_total",
        Kind.COUNTER,
        "Workers that had to be replaced: they ended, answered no ping, or did not confirm a snapshot in time.",
        lambda reading: {(cause.value,): count for cause, count in reading.deaths.items()},
        (Label("cause", tuple(cause.value for cause in Death)),),
    ),
    Family(
        "splitter_log_lines_lost_total",
        Kind.COUNTER,
        "Log lines that were not written: too many of one kind, nobody reads the output, or the output refuses them.",
        lambda reading: reading.stats.lost_lines,
        (Label("why", LOST_LINES),),
    ),
    Family(
        "splitter_build_info",
        Kind.GAUGE,
        "Always 1.",
        lambda reading: {(reading.version,): 1},
        (Label("version", (), "the version that runs"),),
        lambda _routes: (),
    ),
    Family(
        "process_cpu_seconds_total",
        Kind.COUNTER,
        "CPU time of the supervisor and all its workers, those that ended included.",
        _one(lambda reading: reading.usage.cpu_s),
    ),
    Family(
        "process_resident_memory_bytes",
        Kind.GAUGE,
        "Memory of the supervisor and its workers.",
        _one(lambda reading: reading.usage.resident_bytes),
    ),
    Family(
        "process_open_fds",
        Kind.GAUGE,
        "File descriptors that the supervisor and its workers hold.",
        _one(lambda reading: reading.usage.open_fds),
    ),
    Family(
        "process_max_fds",
        Kind.GAUGE,
        "File descriptors that the supervisor and its workers may hold, together.",
        _one(lambda reading: reading.usage.max_fds),
    ),
    Family(
        "process_start_time_seconds",
        Kind.GAUGE,
        "When the splitter was started, as Unix time.",
        _one(lambda reading: reading.usage.started_s),
    ),
)
