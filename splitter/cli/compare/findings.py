"""What came out of a run: results of every step, verdicts over all of them, latency.

Owns: the sums, and what counts as good. Must not know: how they are shown, how requests were sent.
Invariants: verdicts are given at the end, when all that is known of noise is known; a run that compared nothing is no match.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from splitter.compare import Report
from splitter.compare.counts import Place
from splitter.compare.latency import Latency, Pair, judge
from splitter.compare.report import Row

_PROBLEMS_KEPT: Final = 100


class Verdict(StrEnum):
    """Of one step, or of all."""

    MATCH = "match"
    MISMATCH = "mismatch"
    FAILED = "failed"
    """It could not be compared."""


@dataclass(slots=True)
class StepResult:
    """All that was seen of one step. `places`: how often each differed; `failures`: why it could not be compared."""

    title: str
    endpoint: str
    compared: int = 0
    ignored: int = 0
    duration_s: float = 0.0
    places: dict[Place, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepVerdict:
    """What is thought of a step at the end: places that really differ, and those that are noise."""

    result: StepResult
    mismatches: tuple[Place, ...]
    noise: tuple[Place, ...]

    @property
    def verdict(self) -> Verdict:
        if self.mismatches:
            return Verdict.MISMATCH
        return Verdict.FAILED if self.result.failures else Verdict.MATCH


class Findings:
    """See the top of the file. `warm_up`: pairs of an endpoint whose times are left out."""

    def __init__(self, warm_up: int) -> None:
        self.report = Report()
        self.problems: list[str] = []
        self.sent = 0
        self.failed = 0
        self._warm_up = warm_up
        self._steps: dict[tuple[str, str], StepResult] = {}
        self._pairs: dict[str, list[Pair]] = defaultdict(list)

    def step(self, title: str, endpoint: str) -> StepResult:
        """The result of a step, to be added to."""
        return self._steps.setdefault((endpoint, title), StepResult(title, endpoint))

    def add_pair(self, endpoint: str, control_s: float, candidate_s: float) -> None:
        """Times of both sides for one request."""
        self._pairs[endpoint].append((control_s, candidate_s))

    def add_problem(self, sentence: str) -> None:
        """Something that went wrong beside the comparison: told once."""
        if sentence not in self.problems and len(self.problems) < _PROBLEMS_KEPT:
            self.problems.append(sentence)

    def fail(self, result: StepResult, why: str) -> None:
        """A step could not be compared."""
        self.failed += 1
        result.failures[why] = result.failures.get(why, 0) + 1

    # --- at the end ---

    def verdicts(self) -> Iterator[StepVerdict]:
        """Of every step, in the order of their first request."""
        for result in self._steps.values():
            counts = self.report.endpoints.get(result.endpoint)
            noise = tuple(place for place in result.places if counts is not None and counts.is_noise(place))
            yield StepVerdict(result, tuple(place for place in result.places if place not in noise), noise)

    def mismatches(self) -> list[Row]:
        return self.report.mismatches()

    def noise(self) -> list[Row]:
        return [row for row in self.report.rows() if row.noise]

    def latency(self) -> Latency | None:
        """Over all endpoints: ratios have no unit, so pairs of all of them count alike."""
        return judge([pair for endpoint in self._pairs for pair in self._measured(endpoint)])

    def latencies(self) -> dict[str, Latency]:
        """By endpoint."""
        found = {endpoint: judge(self._measured(endpoint)) for endpoint in self._pairs}
        return {endpoint: latency for endpoint, latency in found.items() if latency is not None}

    def _measured(self, endpoint: str) -> list[Pair]:
        """What counts of an endpoint's pairs: not the first ones, unless there are no others."""
        pairs = self._pairs[endpoint]
        return pairs[self._warm_up :] if len(pairs) > self._warm_up else pairs

    def is_slower_than(self, ratio: float) -> bool:
        """Whether candidate is surely slower than that many times control."""
        latency = self.latency()
        return latency is not None and latency.low is not None and latency.low > ratio

    @property
    def verdict(self) -> Verdict:
        if self.mismatches() or self.report.lost_differences:
            return Verdict.MISMATCH
        return Verdict.FAILED if self.failed or self.problems or not self.report.compared else Verdict.MATCH

    def to_json(self) -> dict[str, Any]:
        """The part of the JSON report that is about results."""
        overall = self.latency()
        return {
            "verdict": self.verdict.value,
            "requests": {
                "sent": self.sent,
                "compared": self.report.compared,
                "failed": self.failed,
            },
            "problems": self.problems,
            "mismatches": [_row(row) for row in self.mismatches()],
            "noise": [_row(row) for row in self.noise()],
            "latency": {
                "overall": None if overall is None else overall.to_json(),
                "endpoints": {endpoint: latency.to_json() for endpoint, latency in self.latencies().items()},
            },
            "steps": [
                {
                    "step": each.result.title,
                    "endpoint": each.result.endpoint,
                    "verdict": each.verdict.value,
                    "compared": each.result.compared,
                    "mismatches": [f"{path}: {kind}" for path, kind in each.mismatches],
                    "noise": [f"{path}: {kind}" for path, kind in each.noise],
                    "failures": each.result.failures,
                }
                for each in self.verdicts()
            ],
            "report": self.report.to_json(),
        }


def _row(row: Row) -> dict[str, Any]:
    return {
        "endpoint": row.endpoint, "path": row.path, "kind": row.kind.value, "differed": row.differed,
        "compared": row.compared, "noisy": row.noisy, "asked_twice": row.asked,
        "samples": [sample.to_json() for sample in row.samples],
    }  # fmt: skip
