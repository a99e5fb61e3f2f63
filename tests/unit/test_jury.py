"""From verdict to action: which windows are looked at, what counts in a row, when it is time to act."""

from __future__ import annotations

import pytest

from splitter.judged import Judged, Tally
from splitter.jury import Finding, Jury
from splitter.verdict import Limits, Outcome, Rule

PASS, FAIL, NO_DATA = Outcome.PASS, Outcome.FAIL, Outcome.NO_DATA


class Court:
    """A jury, and traffic of one's making: 20 requests a second on each side, a look every 2 s."""

    def __init__(self, bad_windows: int = 2, limits: Limits = Limits(), begun_at_s: float = 1000.0) -> None:  # noqa: B008
        self.totals = Judged()
        self.now_s = begun_at_s
        self.jury = Jury(60.0, bad_windows, self.now_s, self.totals, limits)
        self.limits = limits

    def tally(self, side: str) -> Tally:
        window = getattr(self.totals, side)
        found: Tally = window.setdefault("default", Tally())
        return found

    def happen(self, side: str, requests: int, failures: int = 0, *, bucket: int = 50, turned_away: int = 0) -> None:
        tally = self.tally(side)
        tally.requests += requests
        tally.failures["5xx"] = tally.failures.get("5xx", 0) + failures
        tally.errors += failures
        tally.latency[bucket] += requests
        tally.turned_away += turned_away

    def look(self, after_s: float = 2.0) -> Finding:
        self.now_s += after_s
        return self.jury.look(self.now_s, self.totals)

    def pass_time(
        self, seconds: float, errors: float = 0.0, *, legacy_errors: float = 0.0, per_second: float = 20.0, bucket: int = 50
    ) -> Finding:
        """So many seconds, a look every 2; the first finding that wants something done, else the last."""
        owed = {"domain": 0.0, "legacy": 0.0}
        carried = dict(owed)
        for _ in range(int(seconds / 2)):
            for side, share in (("domain", errors), ("legacy", legacy_errors)):
                carried[side] += 2 * per_second
                requests = int(carried[side])
                carried[side] -= requests
                owed[side] += requests * share
                failures = int(owed[side])
                owed[side] -= failures
                self.happen(side, requests, failures, bucket=bucket if side == "domain" else 50)
            finding = self.look()
            if finding.blamed is not None:
                break
        return finding


def test_a_good_domain_is_left_alone() -> None:
    court = Court()
    finding = court.pass_time(600, 0.01)
    assert finding.blamed is None
    assert (finding.window.outcome, finding.stage.outcome, finding.for_advance.outcome) == (PASS, PASS, PASS)
    assert finding.bad_windows == 0


def test_at_first_there_is_nothing_to_go_by() -> None:
    court = Court()
    finding = court.look()
    assert (finding.window.outcome, finding.for_advance.outcome, finding.blamed) == (NO_DATA, NO_DATA, None)


class TestBadWindows:
    def test_two_that_share_no_request(self) -> None:
        court = Court()
        court.pass_time(120, 0.01)
        began_s = court.now_s
        finding = court.pass_time(300, 0.10)
        assert finding.blamed is not None
        assert finding.blamed.rule is Rule.ERROR_RATE
        assert finding.blamed.sentence == "error rate 10 % of 320 requests, limit 5 % (32 5xx)"
        assert finding.bad_windows == 2
        assert court.now_s - began_s < 60

    def test_one_bad_look_after_another_is_still_one_window(self) -> None:
        court = Court()
        court.pass_time(120)
        court.happen("domain", 200, 140)
        court.happen("legacy", 200)
        assert court.look().bad_windows == 1
        for _ in range(40):  # the bad 2 s stay in the window for a minute
            court.happen("domain", 40)
            court.happen("legacy", 40)
            finding = court.look()
            assert finding.blamed is None
        assert finding.bad_windows == 0

    def test_half_a_good_window_clears_nothing(self) -> None:
        court = Court()
        court.pass_time(120)
        court.happen("domain", 200, 140)
        court.look()
        counts = []
        for _ in range(32):
            court.happen("domain", 40)
            court.happen("legacy", 40)
            counts.append(court.look().bad_windows)
        assert counts == [1] * 29 + [0] * 3

    def test_meanwhile_the_plan_does_not_go_on(self) -> None:
        court = Court()
        court.pass_time(1200)
        court.happen("domain", 200, 140)
        court.look()
        court.happen("domain", 2000)
        finding = court.look()
        assert (finding.window.outcome, finding.stage.outcome, finding.bad_windows) == (PASS, PASS, 1)
        assert finding.for_advance.outcome is NO_DATA
        assert finding.for_advance.sentence.endswith(": bad window 1 of 2, the next one decides")

    @pytest.mark.parametrize(("needed", "at_most_s"), [(1, 45), (2, 60), (3, 80), (5, 120)])
    def test_as_many_as_are_asked_for(self, needed: int, at_most_s: float) -> None:
        court = Court(needed)
        court.pass_time(120, 0.01)
        began_s = court.now_s
        finding = court.pass_time(300, 0.10)
        assert finding.bad_windows == finding.needed == needed
        assert (needed - 1) * 15 <= court.now_s - began_s <= at_most_s

    def test_the_worse_the_sooner(self) -> None:
        took_s = []
        for errors in (0.08, 0.10, 0.20, 0.50):
            court = Court()
            court.pass_time(120, 0.01)
            began_s = court.now_s
            assert court.pass_time(600, errors).blamed is not None
            took_s.append(court.now_s - began_s)
        assert took_s == sorted(took_s, reverse=True)
        assert took_s[-1] <= 24

    def test_windows_without_data_neither_count_nor_clear(self) -> None:
        court = Court()
        court.happen("domain", 150, 75)
        court.happen("legacy", 150)
        assert court.look(60).bad_windows == 1
        for _ in range(100):
            assert court.look(60).bad_windows == 1  # night: nobody is there
        court.happen("domain", 150, 75)
        court.happen("legacy", 150)
        finding = court.look(60)
        assert finding.bad_windows == 2
        assert finding.blamed is not None

    def test_a_good_window_clears(self) -> None:
        court = Court()
        for _ in range(20):
            for failures in (75, 0):
                court.happen("domain", 150, failures)
                court.happen("legacy", 150)
                finding = court.look(60)
                assert finding.blamed is None
        assert finding.bad_windows == 0

    def test_slow_is_bad_too(self) -> None:
        court = Court()
        court.pass_time(120)
        finding = court.pass_time(300, bucket=58)
        assert finding.blamed is not None
        assert finding.blamed.rule is Rule.LATENCY_P95_RATIO

    def test_both_sick_and_nobody_is_blamed(self) -> None:
        court = Court()
        finding = court.pass_time(600, 0.3, legacy_errors=0.3)
        assert finding.blamed is None
        assert finding.for_advance.outcome is NO_DATA


class TestThinTraffic:
    def test_little_is_enough_to_look_further_back(self) -> None:
        court = Court()
        finding = court.pass_time(3600, 0.5, per_second=0.25)
        assert finding.blamed is not None
        assert finding.blamed.requests >= 100

    def test_but_not_beyond_the_beginning(self) -> None:
        court = Court()
        court.pass_time(600, 0.5, per_second=0.1)
        court.jury.begin(court.now_s, court.totals, court.limits)
        finding = court.pass_time(900, 0.0, per_second=0.1)
        assert finding.window.outcome is NO_DATA

    def test_nothing_is_done_about_nothing(self) -> None:
        court = Court()
        court.happen("domain", 99, 19)
        for _ in range(300):
            assert court.look().blamed is None
        assert court.look().bad_windows == 0

    def test_a_full_window_is_not_made_longer(self) -> None:
        court = Court()
        court.pass_time(300, 0.02)
        assert court.pass_time(60).window.results[0].value == 0.0

    def test_latency_looks_further_back_than_errors_do(self) -> None:
        court = Court()
        finding = court.pass_time(600, per_second=2.0)
        requests = {result.rule: result.requests for result in finding.window.results}
        assert 120 <= requests[Rule.ERROR_RATE] < 130
        assert requests[Rule.LATENCY_P95_RATIO] >= 200
        assert finding.window.outcome is PASS


class TestInARow:
    def test_at_once_and_without_a_window(self) -> None:
        court = Court()
        court.happen("domain", 5)
        assert court.jury.watch(court.totals) is None
        court.happen("domain", 19, 19)
        assert court.jury.watch(court.totals) is None
        court.happen("domain", 1, 1)
        blamed = court.jury.watch(court.totals)
        assert blamed is not None
        assert (blamed.rule, blamed.sentence) == (Rule.CONSECUTIVE_FAILURES, "20 failures of domain in a row, limit 20")

    def test_one_success_ends_it(self) -> None:
        court = Court()
        for _ in range(100):
            court.happen("domain", 20, 19)
            assert court.jury.watch(court.totals) is None

    def test_requests_turned_away_count(self) -> None:
        court = Court()
        court.happen("domain", 5, 5)
        assert court.jury.watch(court.totals) is None
        court.happen("domain", 0, turned_away=15)
        blamed = court.jury.watch(court.totals)
        assert blamed is not None
        assert blamed.sentence == "20 failures of domain in a row (15 of them turned away while it was ejected), limit 20"

    def test_over_all_workers(self) -> None:
        workers = [Judged() for _ in range(4)]
        jury = Jury(60.0, 2, 0.0, Judged(), Limits())

        def merged() -> Judged:
            totals = Judged()
            for worker in workers:
                totals.merge(worker)
            return totals

        for worker in workers:
            for _ in range(4):
                worker.record("legacy", "fallback", "default", 200, "connect", 0.01, cut=False)
        assert jury.watch(merged()) is None
        for _ in range(4):
            workers[0].record("legacy", "fallback", "default", 200, "connect", 0.01, cut=False)
        assert jury.watch(merged()) is not None

    @pytest.mark.parametrize("per_second", [80, 200, 2000])
    def test_a_dead_domain_is_found_within_a_second_under_load(self, per_second: int) -> None:
        """Four workers report every 250 ms, each at its own time; each ejects domain after five failures."""
        workers, reported = ([Judged() for _ in range(4)] for _ in range(2))
        jury = Jury(60.0, 2, 0.0, Judged(), Limits())
        dead_at_s, failed, reports, now_s = 2.01, [0] * 4, 0, 0.0
        for request in range(10 * per_second):
            now_s, number = request / per_second, request % 4
            backend, reason, failure = "domain", "bucket", ""
            if now_s >= dead_at_s:
                backend, reason = "legacy", "fallback" if failed[number] < 5 else "unhealthy"
                failure = "connect" if reason == "fallback" else ""
                failed[number] += 1
            workers[number].record(backend, reason, "default", 200, failure, 0.01, cut=False)
            if now_s < reports / 16:
                continue
            reported[reports % 4] = workers[reports % 4].copy()
            reports += 1
            totals = Judged()
            for report in reported:
                totals.merge(report)
            if jury.watch(totals) is not None:
                break
        assert dead_at_s < now_s < dead_at_s + 0.75

    def test_a_worker_that_reaches_domain_ends_it_for_all(self) -> None:
        court = Court()
        court.happen("domain", 30, 29)  # one of them, we don't know which, was well
        assert court.jury.watch(court.totals) is None

    def test_legacy_down_as_well(self) -> None:
        court = Court()
        court.happen("domain", 50, 50)
        court.happen("legacy", 4, 4)
        assert court.jury.watch(court.totals) is None

    def test_a_look_sees_it_too(self) -> None:
        court = Court()
        court.happen("domain", 20, 20)
        finding = court.look()
        assert finding.blamed is not None
        assert finding.blamed.rule is Rule.CONSECUTIVE_FAILURES
        assert finding.bad_windows == 0

    def test_off(self) -> None:
        court = Court(limits=Limits(consecutive_failures=None))
        court.happen("domain", 90, 90)
        assert court.jury.watch(court.totals) is None


class TestBeginning:
    def test_another_percent_begins_anew(self) -> None:
        court = Court()
        court.pass_time(30, 0.3)
        court.jury.begin(court.now_s, court.totals, Limits(error_rate_max=0.5, success_rate_min=0.5))
        finding = court.pass_time(300, 0.3)
        assert finding.blamed is None
        assert finding.stage.outcome is PASS

    def test_totals_that_fell_are_not_judged(self) -> None:
        court = Court()
        court.pass_time(120, 0.01)
        court.totals = Judged()
        court.happen("domain", 10, 10)
        finding = court.look()
        assert (finding.window.outcome, finding.blamed, finding.bad_windows) == (NO_DATA, None, 0)
        assert court.pass_time(600, 0.01).window.outcome is PASS

    def test_the_whole_stage_counts_for_advancing(self) -> None:
        court = Court()
        for _ in range(40):  # bad too briefly to act on, too often to go on
            court.pass_time(54, 0.02)
            court.pass_time(6, 0.4)
        finding = court.pass_time(60)
        assert finding.window.outcome is PASS
        assert finding.stage.outcome is FAIL
        assert finding.for_advance is finding.stage


@pytest.mark.parametrize("window_s", [1.0, 60.0, 3600.0])
def test_memory_is_bounded(window_s: float) -> None:
    jury = Jury(window_s, 2, 0.0, Judged(), Limits())
    totals = Judged()
    for look in range(1, 700):
        totals.record("domain", "bucket", "default", 200, "", 0.01, cut=False)
        jury.look(look * window_s / 10, totals)
    past = jury._past
    assert len(past._recent) <= 12
    assert len(past._older) <= 60
