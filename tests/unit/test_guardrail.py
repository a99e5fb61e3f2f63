"""One window of both sides against limits: every rule, every outcome, every sentence."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitter.config import StageLimits, parse
from splitter.guardrail import Run, in_a_row, judge
from splitter.judged import LATENCY_BOUNDS_S, Tally, Window
from splitter.verdict import Limits, Outcome, Rule, RuleResult, Verdict, limits_of

PASS, FAIL, NO_DATA = Outcome.PASS, Outcome.FAIL, Outcome.NO_DATA


def tally(
    requests: int,
    failures: int = 0,
    *,
    kind: str = "5xx",
    errors: int | None = None,
    refused: int = 0,
    at_s: Sequence[float] = (0.05,),
) -> Tally:
    """So many requests, of latencies that take turns."""
    made = Tally()
    made.requests = requests
    made.failures = {kind: failures} if failures else {}
    made.errors = failures if errors is None else errors
    made.refused = refused
    for index, latency_s in enumerate(at_s):
        made.latency[bisect_left(LATENCY_BOUNDS_S, latency_s)] += requests // len(at_s) + (index < requests % len(at_s))
    return made


def window(requests: int, failures: int = 0, **more: object) -> Window:
    return {"default": tally(requests, failures, **more)}  # type: ignore[arg-type]


GOOD = window(1000, 10)


def result(rule: Rule, verdict: Verdict) -> RuleResult:
    return next(result for result in verdict.results if result.rule is rule)


def test_two_good_sides_pass() -> None:
    verdict = judge(GOOD, GOOD, Limits())
    assert verdict.outcome is PASS
    assert [result.rule for result in verdict.results] == [
        Rule.ERROR_RATE,
        Rule.SUCCESS_RATE,
        Rule.LATENCY_P95_RATIO,
        Rule.MIX_DRIFT,
        Rule.CONSECUTIVE_FAILURES,
    ]
    assert {result.outcome for result in verdict.results} == {PASS}


def test_a_verdict_as_plain_values() -> None:
    plain = json.loads(json.dumps(judge(GOOD, window(214, 17), Limits()).to_json()))
    assert plain["outcome"] == "fail"
    assert plain["sentence"] == "error rate 7.9 % of 214 requests, limit 5 % (17 5xx); " + (
        "success rate 92.1 % of 214 requests, limit 95 %"
    )
    first = plain["results"][0]
    assert (first["rule"], first["requests"], first["limit"]) == ("error_rate", 214, 0.05)
    assert first["low"] < first["value"] < first["high"]


class TestErrorRate:
    def of(self, requests: int, failures: int, legacy: Window = GOOD, limits: Limits = Limits()) -> RuleResult:  # noqa: B008
        return result(Rule.ERROR_RATE, judge(legacy, window(requests, failures), limits))

    @pytest.mark.parametrize(
        ("requests", "failures", "outcome"),
        [
            (0, 0, NO_DATA),
            (99, 99, NO_DATA),
            (100, 0, PASS),
            (100, 5, PASS),
            (100, 6, NO_DATA),
            (100, 8, NO_DATA),
            (100, 9, FAIL),
            (1000, 50, PASS),
            (1000, 51, NO_DATA),
            (1000, 63, FAIL),
            (100_000, 5_000, PASS),
            (100_000, 5_200, FAIL),
        ],
    )
    def test_outcomes(self, requests: int, failures: int, outcome: Outcome) -> None:
        limits = Limits(error_rate_margin=None)
        assert self.of(requests, failures, limits=limits).outcome is outcome

    @pytest.mark.parametrize(
        ("requests", "failures", "sentence"),
        [
            (0, 0, "error rate: domain had 0 requests, 100 are needed"),
            (1, 1, "error rate: domain had 1 request, 100 are needed"),
            (214, 17, "error rate 7.9 % of 214 requests, limit 5 % (17 5xx)"),
            (214, 12, "error rate 5.6 % of 214 requests, limit 5 %: too few to be sure (12 5xx)"),
            (5000, 2, "error rate 0.04 % of 5000 requests, limit 5 %"),
            (200, 200, "error rate 100 % of 200 requests, limit 5 % (200 5xx)"),
        ],
    )
    def test_sentences(self, requests: int, failures: int, sentence: str) -> None:
        assert self.of(requests, failures).sentence == sentence

    def test_kinds_are_named(self) -> None:
        domain = tally(500)
        domain.failures = {"timeout": 40, "connect": 7, "reset": 0}
        domain.errors = 0
        verdict = judge(GOOD, {"default": domain}, Limits())
        assert verdict.sentence == "error rate 9.4 % of 500 requests, limit 5 % (7 connect, 40 timeout)"

    def test_rescued_requests_fail_domain_but_not_its_clients(self) -> None:
        verdict = judge(GOOD, window(1000, 200, kind="connect", errors=0), Limits())
        assert result(Rule.ERROR_RATE, verdict).outcome is FAIL
        assert result(Rule.SUCCESS_RATE, verdict).outcome is PASS

    @pytest.mark.parametrize(
        ("domain", "legacy", "outcome"),
        [
            (0.30, 0.30, NO_DATA),  # both are sick: domain is not to blame, but nothing is well either
            (0.30, 0.40, NO_DATA),
            (0.30, 0.285, NO_DATA),  # within the margin
            (0.30, 0.27, NO_DATA),  # beyond it, not surely
            (0.30, 0.10, FAIL),
            (0.07, 0.04, NO_DATA),
            (0.12, 0.04, FAIL),
            (0.04, 0.30, PASS),
        ],
    )
    def test_no_blame_for_what_legacy_does_as_well(self, domain: float, legacy: float, outcome: Outcome) -> None:
        found = self.of(1000, int(domain * 1000), window(1000, int(legacy * 1000)))
        assert found.outcome is outcome

    def test_it_says_what_legacy_does_too(self) -> None:
        found = self.of(1000, 300, window(1000, 270))
        assert found.sentence == (
            "error rate 30 % of 1000 requests, limit 5 %, with legacy it would be 27 %: too few to be sure (300 5xx)"
        )

    def test_it_says_what_legacy_does(self) -> None:
        found = self.of(1000, 300, window(900, 279))
        assert found.sentence == "error rate 30 % of 1000 requests, limit 5 %, but with legacy it would be 31 % (300 5xx)"

    def test_without_a_margin_legacy_is_no_excuse(self) -> None:
        assert self.of(1000, 300, window(1000, 300), Limits(error_rate_margin=None)).outcome is FAIL

    @pytest.mark.parametrize("legacy", [{}, window(0), window(50, 50)])
    def test_nor_when_legacy_has_too_few_requests(self, legacy: Window) -> None:
        assert self.of(1000, 300, legacy).outcome is FAIL

    def test_confidence_is_a_setting(self) -> None:
        limits = Limits(error_rate_margin=None)
        assert self.of(100, 6, limits=replace(limits, confidence=0.5)).outcome is FAIL
        assert self.of(100, 11, limits=replace(limits, confidence=0.999)).outcome is NO_DATA


class TestSuccessRate:
    def of(self, requests: int, errors: int, legacy: Window = GOOD) -> RuleResult:
        return result(Rule.SUCCESS_RATE, judge(legacy, window(requests, errors=errors), Limits()))

    def test_outcomes(self) -> None:
        assert self.of(1000, 10).outcome is PASS
        assert self.of(1000, 55).outcome is NO_DATA
        assert self.of(1000, 100).outcome is FAIL
        assert self.of(99, 99).outcome is NO_DATA
        assert self.of(1000, 100, window(1000, 100)).outcome is NO_DATA

    def test_sentence_and_interval(self) -> None:
        found = self.of(1000, 100)
        assert found.sentence == "success rate 90 % of 1000 requests, limit 95 %"
        assert (found.value, found.limit) == (0.9, 0.95)
        assert found.low is not None
        assert found.high is not None
        assert found.low < 0.9 < found.high < 0.95


class TestLatency:
    SPREAD = (0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.1, 0.12, 0.2)

    def of(self, times: float, requests: int = 1000, legacy: int = 1000, limits: Limits = Limits()) -> RuleResult:  # noqa: B008
        domain = window(requests, at_s=[at_s * times for at_s in self.SPREAD])
        return result(Rule.LATENCY_P95_RATIO, judge(window(legacy, at_s=self.SPREAD), domain, limits))

    @pytest.mark.parametrize(("times", "outcome"), [(0.5, PASS), (1.0, PASS), (1.3, PASS), (2.0, FAIL), (10.0, FAIL)])
    def test_outcomes(self, times: float, outcome: Outcome) -> None:
        found = self.of(times)
        assert found.outcome is outcome
        assert found.value == pytest.approx(times, rel=0.1)
        assert found.value is not None
        assert found.low is not None
        assert found.high is not None
        assert found.low <= found.value <= found.high

    def test_few_are_not_enough_to_be_sure(self) -> None:
        limits = Limits(latency_min_requests=20)
        assert self.of(1.7, 20, 20, limits).outcome is NO_DATA
        assert self.of(1.7, 5000, 5000, limits).outcome is FAIL

    @pytest.mark.parametrize(
        ("domain", "legacy", "sentence", "moot"),
        [
            (199, 1000, "p95 latency: domain had 199 requests, 200 are needed", False),
            (1000, 199, "p95 latency: legacy had 199 requests, 200 are needed", False),
            (1000, 0, "p95 latency: nobody is on legacy to compare with", True),
        ],
    )
    def test_too_few_of_either_side(self, domain: int, legacy: int, sentence: str, moot: bool) -> None:
        found = self.of(3.0, domain, legacy)
        assert (found.outcome, found.sentence, found.moot) == (NO_DATA, sentence, moot)

    def test_at_100_percent_the_other_rules_decide(self) -> None:
        assert judge({}, window(1000, 10), Limits()).outcome is PASS
        assert judge({}, window(1000, 500), Limits()).outcome is FAIL

    def test_the_sentence(self) -> None:
        domain, legacy = window(1180, at_s=[0.181]), window(1204, at_s=[0.095])
        sentence = result(Rule.LATENCY_P95_RATIO, judge(legacy, domain, Limits())).sentence
        assert sentence == "p95 latency 180 ms of 1180 requests, 1.8 times legacy's 98.3 ms, limit 1.5"

    def test_a_margin_for_services_that_answer_in_a_blink(self) -> None:
        domain, legacy = window(1000, at_s=[0.004]), window(1000, at_s=[0.002])
        assert result(Rule.LATENCY_P95_RATIO, judge(legacy, domain, Limits())).outcome is FAIL
        assert result(Rule.LATENCY_P95_RATIO, judge(legacy, domain, Limits(latency_margin_s=0.005))).outcome is PASS

    def test_clients_that_left_count_with_the_time_they_waited(self) -> None:
        domain = tally(1000)
        domain.left = 200
        domain.latency[-1] += 200
        verdict = judge(window(1000), {"default": domain}, Limits())
        assert result(Rule.LATENCY_P95_RATIO, verdict).outcome is FAIL
        assert result(Rule.ERROR_RATE, verdict).outcome is PASS


class TestMixDrift:
    def of(self, domain: int, legacy: int, limit: float | None, requests: int = 1000) -> RuleResult:
        limits = Limits(mix_drift_max=limit)
        verdict = judge(window(requests, refused=legacy), window(requests, refused=domain), limits)
        return result(Rule.MIX_DRIFT, verdict)

    @pytest.mark.parametrize(
        ("domain", "legacy", "limit", "outcome"),
        [
            (500, 20, None, PASS),
            (20, 20, 0.05, PASS),
            (60, 20, 0.05, PASS),
            (75, 20, 0.05, NO_DATA),
            (200, 20, 0.05, FAIL),
            (20, 200, 0.05, FAIL),  # also when domain accepts what legacy refuses
        ],
    )
    def test_outcomes(self, domain: int, legacy: int, limit: float | None, outcome: Outcome) -> None:
        assert self.of(domain, legacy, limit).outcome is outcome

    def test_sentences(self) -> None:
        assert self.of(120, 21, None).sentence == "4xx share 12 % of 1000 requests, legacy's 2.1 %, only reported"
        assert self.of(120, 21, 0.05).sentence == "4xx share 12 % of 1000 requests, legacy's 2.1 %, limit 5 % apart"
        assert self.of(1, 0, None, 50).sentence == "4xx share: too few requests on both sides to compare, 100 are needed"

    def test_while_only_reported_it_holds_nothing_up(self) -> None:
        assert self.of(1, 0, None, 50).moot
        assert not self.of(1, 0, 0.05, 50).moot


class TestInARow:
    @pytest.mark.parametrize(
        ("run", "outcome", "sentence"),
        [
            (Run(), PASS, "0 failures of domain in a row, limit 20"),
            (Run(19), PASS, "19 failures of domain in a row, limit 20"),
            (Run(20), FAIL, "20 failures of domain in a row, limit 20"),
            (Run(27, 12), FAIL, "27 failures of domain in a row (12 of them turned away while it was ejected), limit 20"),
            (Run(27, 0, 2), FAIL, "27 failures of domain in a row, limit 20"),
            (
                Run(27, 0, 3),
                NO_DATA,
                "27 failures of domain in a row, limit 20, but legacy fails as well: its last 3 failed",
            ),
        ],
    )
    def test_outcomes(self, run: Run, outcome: Outcome, sentence: str) -> None:
        found = in_a_row(run, Limits())
        assert found is not None
        assert (found.outcome, found.sentence) == (outcome, sentence)

    def test_it_needs_no_window(self) -> None:
        verdict = judge({}, {}, Limits(), Run(20))
        assert verdict.outcome is FAIL
        assert verdict.deciding[0].rule is Rule.CONSECUTIVE_FAILURES

    def test_without_a_margin_legacy_is_no_excuse(self) -> None:
        found = in_a_row(Run(27, 0, 30), Limits(error_rate_margin=None))
        assert found is not None
        assert found.outcome is FAIL


class TestVerdict:
    def test_one_failure_is_a_failure_whatever_else_is_unknown(self) -> None:
        verdict = judge({}, window(150, 150), Limits())
        assert verdict.outcome is FAIL
        assert result(Rule.LATENCY_P95_RATIO, verdict).outcome is NO_DATA

    def test_what_is_unknown_keeps_it_from_passing(self) -> None:
        verdict = judge(window(150), window(150), Limits())
        assert verdict.outcome is NO_DATA
        assert verdict.sentence == "p95 latency: domain had 150 requests, 200 are needed"

    def test_nothing_at_all_is_no_data(self) -> None:
        assert judge({}, {}, Limits()).outcome is NO_DATA

    def test_rules_that_are_off_say_nothing(self) -> None:
        off = Limits(error_rate_max=None, success_rate_min=None, latency_p95_ratio_max=None, consecutive_failures=None)
        verdict = judge(window(1000), window(1000, 1000), off)
        assert [result.rule for result in verdict.results] == [Rule.MIX_DRIFT]
        assert verdict.outcome is PASS
        assert judge({}, {}, off).sentence == "nothing is judged"


class TestRoutes:
    """A route with a percent of its own makes the sides' traffic different: like is compared with like."""

    FAST, SLOW = (0.02,), (0.5,)

    def test_a_slow_route_only_legacy_has_is_no_credit_to_domain(self) -> None:
        legacy = {"default": tally(1000, at_s=self.FAST), "batch": tally(1000, at_s=self.SLOW)}
        domain = {"default": tally(1000, at_s=(0.05,))}
        found = result(Rule.LATENCY_P95_RATIO, judge(legacy, domain, Limits()))
        assert found.outcome is FAIL
        assert found.value == pytest.approx(2.5, rel=0.1)

    def test_a_slow_route_mostly_on_domain_is_no_fault_of_domains(self) -> None:
        legacy = {"default": tally(1900, at_s=self.FAST), "batch": tally(100, at_s=self.SLOW)}
        domain = {"default": tally(1000, at_s=self.FAST), "batch": tally(1000, at_s=self.SLOW)}
        found = result(Rule.LATENCY_P95_RATIO, judge(legacy, domain, Limits()))
        assert found.outcome is not FAIL
        assert found.value == pytest.approx(1.0, rel=0.1)

    def test_a_failing_route_likewise(self) -> None:
        legacy = {"default": tally(1900), "broken": tally(200, 100)}
        domain = {"default": tally(1000), "broken": tally(1000, 500)}
        found = result(Rule.ERROR_RATE, judge(legacy, domain, Limits()))
        assert found.outcome is NO_DATA
        assert "but with legacy it would be 25 %" in found.sentence

    def test_few_requests_weighted_much_are_still_few(self) -> None:
        legacy = {"default": tally(1000), "rare": tally(25, 13)}
        domain = {"default": tally(100), "rare": tally(1000, 700)}
        found = result(Rule.ERROR_RATE, judge(legacy, domain, Limits()))
        assert found.outcome is FAIL  # legacy's 25 say too little to excuse anything

    def test_a_route_legacy_hardly_has_is_left_out_of_comparisons_but_not_of_limits(self) -> None:
        legacy = {"default": tally(1000), "new": tally(19, 19)}
        domain = {"default": tally(1000), "new": tally(200, 200)}
        assert result(Rule.ERROR_RATE, judge(legacy, domain, Limits())).value == pytest.approx(200 / 1200)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 3000), st.integers(1, 3000), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=4
    ),
    st.sampled_from([0.5, 0.95, 0.9999]),
)
def test_any_mix_of_routes_can_be_judged(routes: list[tuple[int, int, float, float]], confidence: float) -> None:
    legacy, domain = {}, {}
    for index, (of_legacy, of_domain, bad_legacy, bad_domain) in enumerate(routes):
        legacy[str(index)] = tally(of_legacy, round(bad_legacy * of_legacy))
        domain[str(index)] = tally(of_domain, round(bad_domain * of_domain))
    verdict = judge(legacy, domain, Limits(confidence=confidence, mix_drift_max=0.1))
    for found in verdict.results:
        if found.value is not None and found.low is not None and found.high is not None:
            assert found.low <= found.value <= found.high
    if all(bad_domain <= 0.04 for *_, bad_domain in routes):
        assert verdict.outcome is not FAIL


def test_equal_weights_leave_the_sample_whole() -> None:
    for requests in (100, 101, 107, 1999):
        found = result(Rule.MIX_DRIFT, judge(window(100), window(requests), Limits()))
        assert found.outcome is PASS, requests


class TestLimits:
    def test_the_defaults_are_the_configurations(self) -> None:
        assert limits_of(parse("", "f.yaml", {}).guardrails) == Limits()

    def test_what_a_stage_sets_beats_the_rest(self) -> None:
        text = "guardrails: {error_rate_max: 0.1, mix_drift_max: 0.2, latency_margin: 5ms, success_rate_min: null}"
        stage = StageLimits(error_rate_max=0.3, consecutive_failures=7)
        assert limits_of(parse(text, "f.yaml", {}).guardrails, stage) == Limits(
            error_rate_max=0.3, mix_drift_max=0.2, latency_margin_s=0.005, success_rate_min=None, consecutive_failures=7
        )

    def test_every_limit_of_a_stage_has_its_twin(self) -> None:
        assert set(StageLimits.model_fields) < set(Limits.__dataclass_fields__)
