"""`make soak`: that its account can fail, and a short one of the real thing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.running import ROOT
from tools.soak.ledger import Ledger, Outcome
from tools.soak.watch import Sample, Watch


def asked(outcome: Outcome, *, again: bool = False, broken: bool = False) -> Ledger:
    """One request that ended so."""
    ledger = Ledger()
    if broken:
        ledger.begin_break("something", 0.0)
    ledger.end(ledger.ask("GET", 1.0, again=again), outcome, 2.0, "no answer")
    return ledger


class TestLedger:
    @pytest.mark.parametrize("outcome", [Outcome.LEGACY, Outcome.REFUSED, Outcome.LEFT])
    def test_what_goes_well_is_no_violation(self, outcome: Outcome) -> None:
        ledger = asked(outcome)
        assert ledger.judge(bytes([outcome is Outcome.LEGACY]), b"")[outcome.name.lower()] == 1
        assert ledger.violations == []

    @pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.CUT])
    def test_a_failure_needs_a_reason(self, outcome: Outcome) -> None:
        assert asked(outcome, broken=True).violations == []
        (violation,) = asked(outcome).violations
        assert "though nothing was broken: no answer" in violation

    def test_a_break_is_felt_for_a_moment_and_no_longer(self) -> None:
        ledger = Ledger()
        ledger.begin_break("kill", 10.0).end_s = 11.0
        assert [bool(ledger.broken_between(at_s, at_s + 0.1)) for at_s in (9.0, 9.95, 10.5, 11.9, 12.5)] == [0, 1, 1, 1, 0]

    @pytest.mark.parametrize(
        ("ledger", "legacy", "domain", "fault"),
        [
            (asked(Outcome.LEGACY), 0, 1, "never saw it"),
            (asked(Outcome.DOMAIN), 1, 0, "never saw it"),
            (asked(Outcome.LEGACY, again=True), 2, 0, "more than 1 times"),
            (asked(Outcome.LEGACY, broken=True), 1, 1, "more than 1 times"),
            (asked(Outcome.LEGACY, again=True, broken=True), 1, 8, "more than 8 times"),
            (asked(Outcome.REFUSED), 1, 0, "was refused"),
            (asked(Outcome.PENDING), 1, 0, "never ended"),
        ],
    )
    def test_backends_have_the_last_word(self, ledger: Ledger, legacy: int, domain: int, fault: str) -> None:
        ledger.judge(bytes([legacy]), bytes([domain]))
        (violation,) = ledger.violations
        assert fault in violation

    @pytest.mark.parametrize(("missing", "allowed", "good"), [(0, 0, 1), (1, 0, 0), (-1, 5, 0), (5, 5, 1), (6, 5, 0)])
    def test_counters_are_exact_but_for_what_a_kill_may_cost(self, missing: int, allowed: int, good: int) -> None:
        ledger = Ledger()
        ledger.settle("calm", missing, allowed)
        assert (not ledger.violations) == bool(good)

    def test_a_kill_may_cost_what_ended_just_before_and_what_was_under_way(self) -> None:
        ledger = Ledger()
        for ended_s in (8.0, 9.4, 9.6, 10.0, 10.2, 11.0):
            ledger.end(ledger.ask("GET", ended_s, again=True), Outcome.LEGACY, ended_s)
        assert ledger.may_be_lost(10.0) == 3
        ledger.ask("GET", 10.0, again=True)
        assert ledger.may_be_lost(10.0) == 4


@pytest.mark.parametrize(("growth_mib", "grown"), [(0.0, False), (3.0, False), (9.0, True)])
def test_growth_is_told_from_warming_up(growth_mib: float, grown: bool) -> None:
    warming = [Sample(at_s, 20.0 + at_s, 9) for at_s in range(30)]
    later = [Sample(at_s, 50.0 + growth_mib * (at_s - 30) / 90, 9) for at_s in range(30, 120)]
    assert bool(Watch(1, {1: warming + later}).grown()) is grown


def test_a_minute_of_everything(tmp_path: Path) -> None:
    found = tmp_path / "soak.json"
    command = [sys.executable, "-m", "tools.soak", "--minutes", "0.8", "--round", "8", "--json", str(found)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    report = json.loads(found.read_text())
    assert report["violations"] == []
    assert report["sent"] > 2000
    assert {name for name, *_ in report["rounds"]} >= {"calm", "reloads", "rollbacks", "faults of domain", "kills"}
    assert report["trouble"]["kill -9 of a worker"] >= 1
    for outcome in ("legacy", "domain", "left", "refused", "cut"):
        assert report["outcomes"][outcome] > 0, outcome
