"""From verdict to action: which windows are looked at, and how many bad ones it takes.

Owns: the past totals that windows are cut from, bad windows in a row, failures in a row.
Must not know: clocks (`now_s` is an argument, of any clock that only goes forward), rules, what is done about it.
Invariants:
- bad windows in a row have no request in common: looking every 2 s over 60 s must not turn one bad minute into thirty;
- no window reaches back beyond `begin`: what is judged is what is in force now;
- totals that fell (a supervisor that lost them) begin anew instead of being judged.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from splitter.guardrail import Run, in_a_row, judge
from splitter.judged import Judged, Window
from splitter.verdict import Limits, Outcome, Rule, RuleResult, Verdict

_YOUNGEST: Final = 0.25
"""Share of a window that the next one in a row must last at least, so that one burst of errors is not two bad windows."""
_REACH: Final = 60
"""Windows to look back at most where traffic is thin: an hour with a window of a minute."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look came to.

    `window`: the verdict over the last window; `stage`: over everything since `begin`; `bad_windows` in a row, of `needed`,
    the last of them for the reason `bad`; `blamed`: why something must be done now, None while nothing must.
    """

    window: Verdict
    stage: Verdict
    bad_windows: int
    needed: int
    bad: RuleResult | None
    blamed: RuleResult | None

    @property
    def for_advance(self) -> Verdict:
        """What the plan goes by: the stage as a whole has to be good, and nothing bad may be going on."""
        if self.window.outcome is Outcome.FAIL:
            return self.window
        if self.bad is not None and self.stage.outcome is Outcome.PASS:
            sentence = f"{self.bad.sentence}: bad window {self.bad_windows} of {self.needed}, the next one decides"
            return Verdict((replace(self.bad, outcome=Outcome.NO_DATA, sentence=sentence),))
        return self.stage


class _Mark(NamedTuple):
    """Where the last bad window ended, and why it was bad."""

    at_s: float
    totals: Judged
    bad: RuleResult


class Jury:
    """Looks at the totals of all planes again and again. To be told by `begin` whenever what is in force changes."""

    def __init__(self, window_s: float, bad_windows: int, now_s: float, totals: Judged, limits: Limits) -> None:
        self._window_s = window_s
        self._needed = bad_windows
        self._past = _Past(window_s)
        self._streak = Streak()
        self.begin(now_s, totals, limits)

    def begin(self, now_s: float, totals: Judged, limits: Limits) -> None:
        """Another percent, another stage, or a resume: nothing from before counts any more."""
        self._limits = limits
        self._began = totals.copy()
        self._past.begin(now_s, self._began)
        self._streak.begin(totals)
        self._bad_windows = 0
        self._mark: _Mark | None = None

    def watch(self, totals: Judged) -> RuleResult | None:
        """The rule that needs no window, to be asked at every report of a plane. A result when something must be done."""
        self._streak.add(totals)
        result = in_a_row(self._streak.run, self._limits)
        return result if result is not None and result.outcome is Outcome.FAIL else None

    def look(self, now_s: float, totals: Judged) -> Finding:
        """The rules over windows, to be asked every `guardrails.every`."""
        if self._past.fell(totals):
            self.begin(now_s, totals, self._limits)
        blamed = self.watch(totals)
        totals = totals.copy()
        self._past.add(now_s, totals)
        start_s, verdict = self._look_back(totals)
        bad = self._count(now_s, totals, start_s, verdict)
        if blamed is None and self._bad_windows >= self._needed:
            blamed = bad
        stage = self._judge(totals.since(self._began))
        return Finding(verdict, stage, self._bad_windows, self._needed, self._mark and self._mark.bad, blamed)

    def _judge(self, window: Judged) -> Verdict:
        return judge(window.legacy, window.domain, self._limits, self._streak.run)

    def _look_back(self, totals: Judged) -> tuple[float, Verdict]:
        """The verdict over the last window, and since when. Latency needs more requests: over a longer one if need be."""
        limits = self._limits
        start, start_of_latency = (self._past.start(least) for least in (limits.min_requests, limits.latency_min_requests))
        verdict = self._judge(totals.since(start.totals))
        if limits.latency_p95_ratio_max is None or start_of_latency.at_s >= start.at_s:
            return start.at_s, verdict
        longer = self._judge(totals.since(start_of_latency.totals)).results
        chosen = zip(verdict.results, longer, strict=True)
        results = tuple(more if more.rule is Rule.LATENCY_P95_RATIO else last for last, more in chosen)
        return start_of_latency.at_s, Verdict(results)

    def _count(self, now_s: float, totals: Judged, start_s: float, verdict: Verdict) -> RuleResult | None:
        """Count bad windows in a row; the reason if this one was. After a bad one only what came after it is looked at."""
        mark = self._mark
        if mark is not None and mark.at_s > start_s:
            start_s = mark.at_s
            if now_s - start_s < self._window_s * _YOUNGEST:
                return None
            verdict = self._judge(totals.since(mark.totals))
        windowed = (result for result in verdict.results if result.rule is not Rule.CONSECUTIVE_FAILURES)
        bad = next((result for result in windowed if result.outcome is Outcome.FAIL), None)
        if bad is not None:
            self._bad_windows += 1
            self._mark = _Mark(now_s, totals, bad)
        elif mark is not None and now_s - start_s >= self._window_s and verdict.of(mark.bad.rule) is Outcome.PASS:
            self._bad_windows, self._mark = 0, None
        return bad


class _Moment(NamedTuple):
    """Totals at a time, with the requests of both sides, which are asked for often."""

    at_s: float
    totals: Judged
    domain: int
    legacy: int


def _moment(at_s: float, totals: Judged) -> _Moment:
    domain, legacy = (sum(tally.requests for tally in side.values()) for side in (totals.domain, totals.legacy))
    return _Moment(at_s, totals, domain, legacy)


class _Past:
    """Totals as they were: at every look within the last window, once a window before that, and at the beginning."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._recent: deque[_Moment] = deque()
        self._older: deque[_Moment] = deque(maxlen=_REACH)

    def begin(self, now_s: float, totals: Judged) -> None:
        self._recent.clear()
        self._older.clear()
        self._recent.append(_moment(now_s, totals))

    def add(self, now_s: float, totals: Judged) -> None:
        recent, older = self._recent, self._older
        recent.append(_moment(now_s, totals))
        while len(recent) > 1 and recent[1].at_s <= now_s - self._window_s:
            passed = recent.popleft()
            if not older or passed.at_s >= older[-1].at_s + self._window_s:
                older.append(passed)

    def fell(self, totals: Judged) -> bool:
        """Whether these are less than the last ones."""
        last, now = self._recent[-1], _moment(0.0, totals)
        return now.domain < last.domain or now.legacy < last.legacy

    def start(self, least: int) -> _Moment:
        """Where the last window starts; a longer one, as far as it takes, when domain had fewer than `least` in it."""
        start, now = self._recent[0], self._recent[-1]
        for earlier in reversed(self._older):
            if now.domain - start.domain >= least:
                break
            start = earlier
        return start


class Streak:
    """Failures in a row over all workers, from nothing but totals that add up.

    Between two reports the order of requests is not known. So a report with any success in it ends the streak, and one
    without adds all its failures: what is counted is never more than the truth, and lags it by one report. Requests turned
    away because domain is ejected count too: five failures eject it, and then a dead domain would look like a quiet one.
    """

    def __init__(self) -> None:
        self.begin(Judged())

    def begin(self, totals: Judged) -> None:
        self.run = Run()
        self._domain, self._legacy = _sums(totals.domain), _sums(totals.legacy)

    def add(self, totals: Judged) -> None:
        domain, legacy = _sums(totals.domain), _sums(totals.legacy)
        of_domain, turned_away, of_legacy = self.run
        if domain.good != self._domain.good:
            of_domain = turned_away = 0
        else:
            of_domain += domain.bad - self._domain.bad
            turned_away += domain.turned_away - self._domain.turned_away
        of_legacy = 0 if legacy.good != self._legacy.good else of_legacy + legacy.bad - self._legacy.bad
        self.run = Run(of_domain, turned_away, of_legacy)
        self._domain, self._legacy = domain, legacy


class _Sums(NamedTuple):
    good: int
    bad: int
    turned_away: int


def _sums(window: Window) -> _Sums:
    good = bad = turned_away = 0
    for tally in window.values():
        failed = tally.failed
        good += tally.requests - failed
        bad += failed + tally.turned_away
        turned_away += tally.turned_away
    return _Sums(good, bad, turned_away)
