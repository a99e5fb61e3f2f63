"""What a readiness report says: percents, verdicts, one endpoint's findings, what a start would change."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from splitter.cli.compare.request_list import read_request_list
from splitter.cli.target import Target
from splitter.config import parse
from tools.readiness import papers
from tools.readiness.check import Asked, unit_tests
from tools.readiness.compared import LIST, THIRTEEN, Compared, NotComparedError, compare, url_of
from tools.readiness.findings import Finding, Group, Outcome, Report, failed, not_checked, ok, percent
from tools.readiness.live import Running
from tools.readiness.start import parser, prospect


def report(*groups: list[Finding]) -> tuple[Report, str]:
    out = io.StringIO()
    made = Report(Console(file=out, highlight=False, soft_wrap=True, width=200))
    for number, findings in enumerate(groups):
        made.add(f"group {number}", findings)
    made.tell_sums()
    return made, out.getvalue()


@given(st.integers(0, 400), st.integers(0, 400))
def test_a_hundred_percent_is_all_of_it(one: int, other: int) -> None:
    done, of = sorted((one, other))
    found = percent(done, of)
    assert 0 <= found <= 100
    assert (found == 100) == (done == of > 0)


def test_not_checked_is_neither_failed_nor_complete() -> None:
    made, text = report([ok("a"), not_checked("b", "nobody to ask", "--ask URL")], [ok("c")])
    assert (made.failures, made.percent) == (0, 66)
    assert made.verdict == "nothing failed, 1 not checked: 66 % complete"
    assert "not checked  b: nobody to ask\n             --ask URL\n" in text
    assert made.as_json()["ready"] is True
    assert Group("empty").percent == 0


def test_a_failure_is_the_verdict_and_text_from_elsewhere_steers_no_terminal() -> None:
    made, text = report([failed("a", "\x1b[2J[red]gone", "mend it"), failed("b", "x", "mend it"), ok("c")])
    assert made.verdict == "NOT READY: 2 failed"
    assert "\x1b" not in text
    assert "FAILED       a: ?[2J[red]gone" in text
    assert text.count("mend it") == 1, "said once in a row"
    assert made.as_json()["groups"][0]["items"][0] == {
        "what": "a", "outcome": "FAILED", "detail": "\x1b[2J[red]gone", "todo": "mend it",
    }  # fmt: skip


def test_a_check_that_breaks_is_a_failure_and_the_others_go_on() -> None:
    def breaking() -> Any:
        yield ok("first")
        raise ZeroDivisionError("of nothing")

    made, _ = report(list[Finding](), [ok("x")])
    made.add("broken", breaking())
    made.add("after", [ok("y")])
    assert [finding.outcome for finding in made.groups[2].findings] == [Outcome.OK, Outcome.FAILED]
    assert made.groups[2].findings[1].detail == "ZeroDivisionError: of nothing"
    assert made.groups[3].percent == 100


# --- the comparison -------------------------------------------------------------------------------------------------

START = "POST /api/v1/cameras/{camera_id}/start"


def compared(*steps: dict[str, Any], problems: tuple[str, ...] = ()) -> Compared:
    (scenario,) = read_request_list(LIST.read_text("utf-8"), "list").scenarios
    filled = [{"endpoint": START, "compared": 1, "mismatches": [], "failures": {}} | step for step in steps]
    document = {"steps": filled, "problems": list(problems), "mismatches": []}
    return Compared(document, (*scenario.setup, *scenario.requests))


def test_the_shipped_list_has_a_request_that_succeeds_for_each_of_the_thirteen() -> None:
    steps = compared().steps
    assert len(set(THIRTEEN)) == 13
    for name in THIRTEEN:
        assert any(step.endpoint == name and step.expect and max(step.expect) < 300 for step in steps), name


def test_an_endpoint_is_good_only_if_something_succeeded_there() -> None:
    assert compared({"step": "start"}).endpoint(START).trouble == ""
    only_refused = compared({"step": "start a running camera"}, problems=("create a camera: no",))
    assert only_refused.endpoint(START).trouble == "was not asked: create a camera: no"
    assert "was not asked" in compared().endpoint(START).trouble
    wrong_status = compared({"step": "start"}, problems=("start: legacy was to answer 200, not 500",))
    assert wrong_status.endpoint(START).trouble == "start: legacy was to answer 200, not 500"
    differs = compared({"step": "start", "mismatches": ["$.state: renamed", "status: value", "a", "b", "c"]})
    assert differs.endpoint(START).trouble.endswith("; 2 more")
    assert not compared({"step": "start", "mismatches": ["status: no answer"]}).was_answered(START)


def test_what_can_not_be_compared_says_why(tmp_path: Path) -> None:
    with pytest.raises(NotComparedError, match="over TCP only"):
        url_of(Target("", 0, socket_path="/run/s.sock"))
    with pytest.raises(NotComparedError, match="--via must be a URL") as refused:
        compare("nonsense")
    assert refused.value.status == 2


@pytest.mark.parametrize(
    ("body", "outcome", "told"), [("assert True", "ok", "1 passed"), ("assert 0", "FAILED", "1 failed")]
)
def test_unit_tests_are_run_when_asked_for(tmp_path: Path, body: str, outcome: str, told: str) -> None:
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    (tmp_path / "tests" / "unit" / "test_it.py").write_text(f"def test_it():\n    {body}\n")
    config = parse("{}", "here", {})
    somewhere = Running(Target("127.0.0.1", 9), Target("127.0.0.1", 9))
    about = Asked(somewhere, config, None, tmp_path, None, None, tests=True, quick=True, root=tmp_path)
    (finding,) = unit_tests(about)
    assert (finding.outcome.value, told in finding.detail) == (outcome, True)
    (left_out,) = unit_tests(replace(about, tests=False))
    assert left_out.outcome is Outcome.NOT_CHECKED


# --- papers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "outcome", "told"),
    [
        ("cameras: [{id: a}, {id: b, active: false}]", "ok", "2 in cameras.yaml, 1 of them active"),
        ("cameras: []", "FAILED", "has no active camera"),
        ("", "FAILED", "has no active camera"),
        ("cameras: 7", "FAILED", "is no list of cameras"),
        ("[", "FAILED", "is no list of cameras"),
        ("cameras: [5]", "FAILED", "is no list of cameras"),
    ],
)
def test_cameras(tmp_path: Path, text: str, outcome: str, told: str) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(text)
    (finding,) = papers.cameras(file)
    assert finding.outcome.value == outcome
    assert told in finding.detail


@pytest.mark.parametrize(
    ("config", "plan", "guardrails"),
    [
        ("rollout: {plan: [{percent: 5, hold: 1h}, {percent: 100}]}", "ok", "ok"),
        ("rollout: {plan: [{percent: 5, hold: 1h}, {percent: 50}]}", "FAILED", "ok"),
        ("guardrails: {action: alert}", "FAILED", "FAILED"),
        ("guardrails: {error_rate_max: null}", "FAILED", "FAILED"),
    ],
)
def test_plan_and_guardrails(tmp_path: Path, config: str, plan: str, guardrails: str) -> None:
    file = tmp_path / "splitter.yaml"
    file.write_text(config)
    found = {finding.what: finding for finding in papers.plan(parse(config, "here", {}), file)}
    assert found[papers.PLAN].outcome.value == plan
    assert found[papers.GUARDRAILS].outcome.value == guardrails
    assert found[papers.TIMETABLE].outcome.value == ("ok" if "plan" in config else "FAILED")


def test_documents_and_scripts(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    assert papers.document(tmp_path, "docs/rollback.md").outcome is Outcome.FAILED
    (tmp_path / "docs" / "rollback.md").write_text("use splitter rollback")
    assert papers.document(tmp_path, "docs/rollback.md").detail == (
        "docs/rollback.md says nothing of tools/rollback.sh, splitter resume"
    )
    assert papers.script(tmp_path, "x.sh").detail == "it is not"
    (tmp_path / "x.sh").write_text("#!/bin/sh\n")
    assert papers.script(tmp_path, "x.sh").detail == "it can't be run"
    (tmp_path / "x.sh").chmod(0o755)
    assert papers.script(tmp_path, "x.sh").outcome is Outcome.OK


# --- a start --------------------------------------------------------------------------------------------------------


def status(**changes: Any) -> dict[str, Any]:
    told = {"value": 10.0, "from": "file:27"}
    off = {"value": False, "from": "default"}
    return {
        "percent": told, "routes": {"control": told}, "plan": None, "rolled_back": off,
        "use_domain_service": {"value": True, "from": "default"}, **changes,
    }  # fmt: skip


def test_what_a_start_would_change() -> None:
    assert prospect(status(), 25.5) == [
        "in force  10 %, from file:27",
        "then      25.5 %: 15.5 % of clients move to domain, nobody else moves",
        "          route control stays at 10 % (splitter set PERCENT --route control)",
    ]
    assert prospect(status(), 0)[1] == "then      0 %: 10 % of clients move to legacy, nobody else moves"
    assert prospect(status(), 10)[1] == "then      10 %: as it is"
    under_way = prospect(status(plan={"phase": "running"}), 25)
    assert under_way[-1] == "          the plan is running: a percent set by hand ends it"
    assert prospect(status(plan={"phase": "aborted"}), 25) == prospect(status(), 25)
    off = {"value": True, "from": "operator", "who": "cli:a", "when": "2026-11-25T00:00:00Z", "why": ""}
    assert "nothing will go to domain: rolled back by cli:a" in prospect(status(rolled_back=off), 25)[-1]


@pytest.mark.parametrize(("text", "value"), [("10", 10.0), ("12.5%", 12.5), ("0", 0.0), ("100", 100.0), ("99.99", 99.99)])
def test_percents(text: str, value: float) -> None:
    assert parser().parse_args([text]).percent == value


@pytest.mark.parametrize("text", ["101", "1.234", "ten", "nan", "1e3", ""])
def test_what_is_no_percent(text: str) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([text])
    assert ended.value.code == 2
