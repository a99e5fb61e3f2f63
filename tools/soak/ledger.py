"""What was asked and what became of it, and which of that must not be.

Owns: the ids, the outcomes, the times in which something was broken on purpose, the rules. Pure: times are arguments.
Must not know: how anything is asked, broken or counted.
Invariant: an id is given once; each has one outcome in the end.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

REPORT_S: Final = 0.25
"""How often a worker tells its totals: what it counted since may be lost with it."""
_SLACK_S: Final = 0.25
"""For the machine: a kill, or a report, may come this much later than it should."""
_MOST_TRIES: Final = 8
"""Of a request that may be sent again while a backend breaks connections: each kept one may be as stale as the last."""
_MOST_VIOLATIONS: Final = 50


class Outcome(IntEnum):
    """What a client saw of its request."""

    PENDING = 0
    LEGACY = 1  # answered by legacy with its id
    DOMAIN = 2
    FAILED = 3  # answered by the splitter: an error
    REFUSED = 4  # a bad request, answered with 4xx
    CUT = 5  # no answer, or not all of it
    LEFT = 6  # the client went away


@dataclass(slots=True)
class Break:
    """A time in which something was broken on purpose; `end_s` of one that lasts is infinite."""

    what: str
    began_s: float
    end_s: float


@dataclass(slots=True)
class Asked:
    """One request. `again`: it may be sent a second time."""

    number: int
    again: bool
    began_s: float


@dataclass(slots=True)
class Ledger:
    """See the top of the file. `sent` are those whose head has gone out whole: each of them is to be counted once."""

    sent: int = 0
    outcomes: bytearray = field(default_factory=bytearray)
    again: bytearray = field(default_factory=bytearray)
    broken: bytearray = field(default_factory=bytearray)
    breaks: list[Break] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    ended: list[float] = field(default_factory=list)
    """When requests ended, of the last moments only: for what a kill may cost."""

    def ask(self, kind: str, now_s: float, *, again: bool) -> Asked:
        number = len(self.outcomes)
        self.outcomes.append(Outcome.PENDING)
        self.again.append(again)
        self.broken.append(0)
        self.sent += 1
        self.kinds[kind] += 1
        return Asked(number, again, now_s)

    def end(self, asked: Asked, outcome: Outcome, now_s: float, why: str = "") -> None:
        """Take down what became of a request; `why` it has no whole answer."""
        self.outcomes[asked.number] = outcome
        self.ended.append(now_s)
        if len(self.ended) > 20_000:
            del self.ended[:10_000]
        broken = self.broken_between(asked.began_s, now_s)
        self.broken[asked.number] = bool(broken)
        if outcome in {Outcome.FAILED, Outcome.CUT} and not broken:
            self.blame(f"request {asked.number} {outcome.name.lower()} though nothing was broken: {why[:400]}")

    def blame(self, what: str) -> None:
        if len(self.violations) < _MOST_VIOLATIONS:
            self.violations.append(what)

    def begin_break(self, what: str, now_s: float) -> Break:
        found = Break(what, now_s, float("inf"))
        self.breaks.append(found)
        return found

    def broken_between(self, began_s: float, ended_s: float) -> list[str]:
        """What was broken while a request was under way, or a moment before: a kept connection may still be of then."""
        return [b.what for b in self.breaks[-12:] if b.began_s <= ended_s and b.end_s >= began_s - 1.0]

    def pending(self) -> int:
        return self.outcomes.count(Outcome.PENDING)

    def may_be_lost(self, killed_s: float) -> int:
        """How many requests a worker may have taken with it: what it counted after its last report, and had in hand."""
        since_s = killed_s - REPORT_S - _SLACK_S
        return sum(since_s <= ended_s <= killed_s + _SLACK_S for ended_s in self.ended) + self.pending()

    def settle(self, round_name: str, missing: int, lost_at_most: int) -> None:
        """The end of a round: `missing` of what was sent since the last was not counted."""
        if not 0 <= missing <= lost_at_most:
            allowed = f"0 to {lost_at_most}" if lost_at_most else "none"
            self.blame(f"round {round_name}: {missing} requests were not counted, allowed: {allowed}")

    def judge(self, seen_by_legacy: bytes, seen_by_domain: bytes) -> Counter[str]:
        """Hold every request against what the backends have seen of it."""
        found: Counter[str] = Counter()
        for number, code in enumerate(self.outcomes):
            outcome = Outcome(code)
            legacy = seen_by_legacy[number] if number < len(seen_by_legacy) else 0
            domain = seen_by_domain[number] if number < len(seen_by_domain) else 0
            found[outcome.name.lower()] += 1
            found["seen by backends"] += legacy + domain
            found["seen by nobody"] += not legacy + domain
            fault = self._fault(outcome, number, legacy, domain)
            if fault:
                self.blame(
                    f"request {number}, {outcome.name.lower()}: {fault} (legacy saw it {legacy} times, domain {domain})"
                )
        return found

    def _fault(self, outcome: Outcome, number: int, legacy: int, domain: int) -> str:
        if outcome is Outcome.PENDING:
            return "never ended"
        if outcome is Outcome.REFUSED and legacy + domain:
            return "a backend was sent a request that was refused"
        if (outcome is Outcome.LEGACY and not legacy) or (outcome is Outcome.DOMAIN and not domain):
            return "answered by one that never saw it"
        most = _MOST_TRIES if self.again[number] and self.broken[number] else 1
        return f"sent more than {most} times" if legacy + domain > most else ""
