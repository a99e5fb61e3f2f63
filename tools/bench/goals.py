"""What the splitter is to reach, as ratios to others in the same run.

Must not know: how anything is measured. Invariant: a goal that was not measured is neither met nor missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tools.bench.report import Measured

OURS: Final = "splitter"


@dataclass(frozen=True, slots=True)
class Goal:
    """`what` of the splitter, by that of `peer` (empty: as it is), is at most `limit`; `at_least` turns it round."""

    work: str
    what: str
    peer: str
    limit: float
    at_least: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    goal: Goal
    value: float

    @property
    def met(self) -> bool:
        return self.value >= self.goal.limit if self.goal.at_least else self.value <= self.goal.limit


GOALS: Final = (
    Goal("small", "cpu_us", "envoy", 0.6),
    Goal("small", "cpu_us", "traefik", 0.5),
    Goal("small", "cpu_us", "nginx", 1.4),
    Goal("post", "cpu_us", "envoy", 0.65),
    Goal("64k", "cpu_us", "envoy", 0.9),
    Goal("1m", "cpu_us", "envoy", 1.0),
    Goal("upload", "cpu_us", "envoy", 1.0),
    Goal("new", "cpu_us", "envoy", 1.0),
    Goal("websocket", "cpu_us", "envoy", 0.8),
    Goal("idle", "rss_mib", "", 150),
    Goal("half", "p99_ms", "nginx", 1.5),
    Goal("small", "cpu_us", "aiohttp", 0.2),  # five times as much for the proxy one writes first
)


def outcomes(results: Mapping[str, Sequence[Measured]]) -> list[Outcome]:
    """Of every goal whose work and peer were measured."""
    found = []
    for goal in GOALS:
        by_name = {measured.name: measured for measured in results.get(goal.work, ())}
        if OURS in by_name and (not goal.peer or goal.peer in by_name):
            value = by_name[OURS].median(goal.what)
            found.append(Outcome(goal, value / by_name[goal.peer].median(goal.what) if goal.peer else value))
    return found
