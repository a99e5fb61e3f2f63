"""The dashboard for whoever answers for the rollout at 3 a.m.: where is the traffic, which side fails, why, since when.

Owns: its panels and their queries. Must not know: how panels look (`parts`).
Invariant: read from top to bottom it goes from "is something wrong" to "what exactly".
"""

from __future__ import annotations

from collections.abc import Iterator

from grafana_foundation_sdk.builders.dashboard import Row
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from splitter.progress import Phase
from tools.dashboards.parts import (
    BAD,
    GOOD,
    HERE,
    PLAIN,
    ROUTED,
    SIDES,
    WARN,
    WINDOW,
    figure,
    heat,
    limited,
    lines,
    now,
    query,
    rows,
    stacked,
    states,
    steps,
    words,
)

UID = "splitter-rollout"
TITLE = "Splitter: rollout"
Parts = Iterator[Builder[models.Panel] | Row]

# Requests that were sent to domain; the rescued ones were sent to both sides.
_TO_DOMAIN = (
    f'sum(rate(splitter_requests_total{{{HERE}, backend="domain"}}[{WINDOW}]) '
    f'or rate(splitter_requests_total{{{HERE}, reason="fallback"}}[{WINDOW}]))'
)
_TO_LEGACY = f'sum(rate(splitter_requests_total{{{HERE}, backend="legacy"}}[{WINDOW}]))'
_BUCKETED = f'{ROUTED}, reason=~"bucket|unhealthy|fallback"'
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def _failed(side: str, sent: str) -> str:
    return f'sum(rate(splitter_backend_failures_total{{{HERE}, backend="{side}"}}[{WINDOW}])) / {sent}'


def _errors(*selectors: str) -> str:
    """The share of answers that were errors, among those of some requests."""

    def rate(codes: str) -> str:
        rates = (f"rate(splitter_requests_total{{{HERE}, {selector}, {codes}}}[{WINDOW}])" for selector in selectors)
        return f"sum({' or '.join(rates)})"

    good, all_of_them = rate('code!~"499|5..|other"'), rate('code!="499"')
    return f"1 - {good} / {all_of_them}"


def _quantile(quantile: float, side: str) -> str:
    buckets = f'rate(splitter_request_duration_seconds_bucket{{{ROUTED}, backend="{side}"}}[{WINDOW}])'
    return f"histogram_quantile({quantile}, sum by (le) ({buckets}))"


def _p95_by_route(side: str) -> str:
    buckets = f'rate(splitter_request_duration_seconds_bucket{{{ROUTED}, backend="{side}"}}[{WINDOW}])'
    return f"histogram_quantile(0.95, sum by (route, le) ({buckets}))"


def panels() -> Parts:
    """All panels, in reading order."""
    yield Row("Now")
    yield from _now()
    yield Row("Where is the traffic?")
    yield from _traffic()
    yield Row("Which side fails, and why?")
    yield from _failures()
    yield Row("How long do requests take?")
    yield from _latency()
    yield Row("How far is the rollout?")
    yield from _progress()


def _now() -> Parts:
    yield figure(
        "Rolled back", "Whether everybody is on legacy by an order to roll back.", "none",
        now(f"max(splitter_rollback_active{{{HERE}}})", "rolled back"),
    ).mappings(words({"0": ("no", GOOD), "1": ("YES", BAD)}))  # fmt: skip
    yield figure(
        "Percent asked", "What configuration, plan or a person last asked for; routes may have their own.", "percent",
        now(f'max(splitter_rollout_percent{{{HERE}, route="default"}})', "asked"),
    )  # fmt: skip
    yield figure(
        "Share on domain", "What share of all requests domain answers now.", "percentunit",
        now(f'sum(rate(splitter_requests_total{{{HERE}, backend="domain"}}[{WINDOW}])) / '
            f"sum(rate(splitter_requests_total{{{HERE}, {SIDES}}}[{WINDOW}]))", "domain"),
    )  # fmt: skip
    yield figure(
        "Domain fails", "The share of the requests sent to domain that it failed, rescued or not. Limit 5 %.", "percentunit",
        now(_failed("domain", _TO_DOMAIN), "domain"),
    ).thresholds(steps((None, GOOD), (0.01, WARN), (0.05, BAD))).no_value("no traffic")  # fmt: skip
    yield figure(
        "Clients see errors", "The share of all answers that clients got and that were none. Limit 5 %.", "percentunit",
        now(_errors(SIDES), "errors"),
    ).thresholds(steps((None, GOOD), (0.01, WARN), (0.05, BAD))).no_value("no traffic")  # fmt: skip
    yield figure(
        "Alerts", "How many alerts of the splitter fire. What each means: docs/runbook.md.", "none",
        now('count(ALERTS{alertname=~"Splitter.+", alertstate="firing", job=~"$job"}) or vector(0)', "firing"),
    ).thresholds(steps((None, GOOD), (1, BAD)))  # fmt: skip


def _traffic() -> Parts:
    yield stacked(lines(
        "Requests", "By who answered.", "reqps",
        query(f"sum by (backend) (rate(splitter_requests_total{{{ROUTED}, {SIDES}}}[{WINDOW}]))", "{{backend}}"),
    ))  # fmt: skip
    yield lines(
        "Share of domain", "The share of requests whose bucket said domain, next to the percent that was asked, by route."
        " They differ where a few clients make most of the traffic, and right after a change.", "percentunit",
        query(f'sum by (route) (rate(splitter_requests_total{{{_BUCKETED}, backend="domain"}}[{WINDOW}]) '
              f'or rate(splitter_requests_total{{{_BUCKETED}, reason!="bucket"}}[{WINDOW}])) '
              f"/ sum by (route) (rate(splitter_requests_total{{{_BUCKETED}}}[{WINDOW}]))", "domain {{route}}"),
        query(f"max by (route) (splitter_rollout_percent{{{ROUTED}}}) / 100", "asked {{route}}"),
    ).max(1)  # fmt: skip
    yield stacked(lines(
        "Why requests go where they go", "`unhealthy`: their bucket said domain, which is ejected. `fallback`: domain failed"
        " them. `no_key`: nothing to make a bucket of.", "reqps",
        query(f"sum by (backend, reason) (rate(splitter_requests_total{{{ROUTED}, {SIDES}}}[{WINDOW}])) > 0",
              "{{backend}}, {{reason}}"),
    ))  # fmt: skip


def _failures() -> Parts:
    yield limited(lines(
        "Error rate", "The share of the requests sent to a side that it failed: 5xx, no connection, no answer, a broken one;"
        " whether or not legacy rescued them. Limit 5 %.", "percentunit",
        query(_failed("legacy", _TO_LEGACY), "legacy"), query(_failed("domain", _TO_DOMAIN), "domain"),
    ), 0.05)  # fmt: skip
    yield limited(lines(
        "What clients see", "The share of answers that were errors, after everything legacy rescued; by the side they were"
        " meant for. Limit 5 %.", "percentunit",
        query(_errors('backend="legacy", reason!="fallback"'), "legacy"),
        query(_errors('backend="domain"', 'reason="fallback"'), "domain, or rescued"),
    ), 0.05)  # fmt: skip
    yield lines(
        "How it fails", "What the sides do wrong.", "reqps",
        query(f"sum by (backend, kind) (rate(splitter_backend_failures_total{{{HERE}}}[{WINDOW}]))", "{{backend}} {{kind}}"),
    )  # fmt: skip
    yield lines(
        "What became of domain's failures", "`rescued`: legacy answered. `refused`: the request may not be sent twice, or"
        " the budget is used up. `failed`: legacy failed it as well.", "reqps",
        query(f"sum by (outcome) (rate(splitter_fallbacks_total{{{HERE}}}[{WINDOW}]))", "{{outcome}}"),
    )  # fmt: skip
    yield lines(
        "Statuses", "By the first digit; 499 is a client that left before its answer.", "reqps",
        query(f'sum by (backend, class) (label_replace(rate(splitter_requests_total{{{ROUTED}, {SIDES}}}[{WINDOW}]), '
              f'"class", "${{1}}xx", "code", "(.).*")) > 0', "{{backend}} {{class}}"),
    )  # fmt: skip
    yield states(
        "Backends", "Whether the probes reach them.", words({"0": ("down", BAD), "1": ("up", GOOD)}),
        query(f"min by (backend) (splitter_backend_up{{{HERE}}})", "{{backend}}"), span=8,
    )  # fmt: skip


def _latency() -> Parts:
    for side, scheme in (("legacy", "Blues"), ("domain", "Oranges")):
        buckets = f'rate(splitter_request_duration_seconds_bucket{{{ROUTED}, backend="{side}"}}[{WINDOW}])'
        yield heat(
            f"Durations of {side}", "How many requests take how long; dots are traces. A rescued request is legacy's, with"
            " the time domain took.", query(f"sum by (le) ({buckets})", "{{le}}", exemplar=True), scheme=scheme,
        )  # fmt: skip
    for name, quantile in _QUANTILES.items():
        yield lines(
            name, "Of both sides.", "s",
            *(query(_quantile(quantile, side), side) for side in ("legacy", "domain")), span=6,
        )  # fmt: skip
    yield limited(lines(
        "Domain's p95 in legacy's", "By route, because the sides may have different mixes of routes. Limit 1.5.", "none",
        query(f'{_p95_by_route("domain")} / {_p95_by_route("legacy")}', "{{route}}"), span=6,
    ), 1.5)  # fmt: skip


def _progress() -> Parts:
    colours = {"idle": PLAIN, "paused": WARN, "waiting": WARN, "frozen": BAD, "rolled_back": BAD, "aborted": BAD}
    phases = {str(number): (phase.value, colours.get(phase.value, GOOD)) for number, phase in enumerate(Phase, 1)}
    yield lines(
        "Percent", "What was asked, by route.", "percent",
        query(f"max by (route) (splitter_rollout_percent{{{ROUTED}}})", "{{route}}"),
    ).max(100)  # fmt: skip
    yield lines(
        "Plan", "Its stage, counted from 1, of how many; and how long the stage still lasts.", "none",
        query(f"max(splitter_plan_step{{{HERE}}}) + 1", "stage"), query(f"max(splitter_plan_stages{{{HERE}}})", "stages"),
        query(f"max(splitter_plan_hold_left_seconds{{{HERE}}})", "hold left"),
    ).override_by_name("hold left", [
        models.DynamicConfigValue(id_val="unit", value="s"),
        models.DynamicConfigValue(id_val="custom.axisPlacement", value="right"),
    ])  # fmt: skip
    yield states(
        "Phase of the plan", "`waiting`: for a person or a hook. `frozen`: a guardrail stopped it.",
        words(phases), query(" + ".join(f'{number} * max by (instance) (splitter_plan_phase{{{HERE}, phase="{name}"}})'
                                        for number, (name, _) in phases.items()), "{{instance}}"), span=8,
    )  # fmt: skip
    yield states(
        "Guardrails", "Their verdicts.", words({"-1": ("fail", BAD), "0": ("too little data", PLAIN), "1": ("pass", GOOD)}),
        query(f"min by (rule) (splitter_guardrail_verdict{{{HERE}}})", "{{rule}}"),
    )  # fmt: skip
    yield rows(
        "Guardrails' figures", "What each measured last, and its limit.",
        now(f"max by (rule) (splitter_guardrail_value{{{HERE}}})"),
        now(f"max by (rule) (splitter_guardrail_limit{{{HERE}}})"),
        names={"rule": "rule", "Value #A": "value", "Value #B": "limit"}, span=6,
    )  # fmt: skip
    yield lines(
        "Rollbacks", "By who ordered them, since the splitter started.", "none",
        query(f"sum by (by) (splitter_rollbacks_total{{{HERE}}})", "{{by}}"), span=6,
    )  # fmt: skip
    yield lines(
        "Time to roll back", "From the decision until every worker decides by it; the mean since the start.", "s",
        query(f"sum(splitter_rollback_seconds_sum{{{HERE}}}) / (sum(splitter_rollback_seconds_count{{{HERE}}}) > 0) "
              "or vector(0)", "mean"),
    )  # fmt: skip
    yield lines(
        "Mirror", "What became of copies of requests for the other side. GET /api/v1/rollout/mirror says what differs.",
        "reqps",
        query(f"sum by (outcome) (rate(splitter_mirror_total{{{HERE}}}[{WINDOW}]))", "{{outcome}}"),
    )  # fmt: skip
    yield lines(
        "Hooks", "Tries to tell hooks in the ten minutes before, by what became of them. `failed` and `dropped`: somebody"
        " was not told.", "none",
        query(f"sum by (outcome) (increase(splitter_hook_deliveries_total{{{HERE}}}[10m]))", "{{outcome}}"),
    )  # fmt: skip
