"""What a mirror has found out: the report of what was compared, what became of every chosen request, since when.

Owns: adding up over processes, and the form in which it crosses from one to another. Must not know: what carries it, who
reads it.
Invariants: `merge` gives what one process would have found, in whatever order; what comes by the wire can't make it grow
beyond the bounds of a report; no piece is more than one endpoint, so that neither side is kept from its work for long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

from splitter.compare.report import Report
from splitter.stats import MIRROR_OUTCOMES

Piece = Mapping[str, Any]


class Tally:
    """See the top of the file. `outcomes` as in the metrics; `since_s`: Unix time, infinite while nothing is mirrored."""

    __slots__ = ("outcomes", "report", "since_s")

    def __init__(self, since_s: float = inf) -> None:
        self.report = Report()
        self.outcomes: Counter[str] = Counter()
        self.since_s = since_s

    def merge(self, other: Tally) -> None:
        """Add another one to this one."""
        self.report.merge(other.report)
        self.outcomes.update(other.outcomes)
        self.since_s = min(self.since_s, other.since_s)

    def pieces(self) -> Iterator[Piece]:
        """All of it, an endpoint at a time and the rest last. It may go on counting between two pieces."""
        for name in list(self.report.endpoints):
            if name in self.report.endpoints:
                yield {"endpoint": self.report.endpoint_to_json(name)}
        since = {} if self.since_s == inf else {"since_s": self.since_s}
        yield {"end": {"outcomes": dict(self.outcomes), "report": self.report.totals_to_json(), **since}}

    def take(self, piece: Piece) -> bool:
        """Take in a piece; whether it was the last one. Raises KeyError, TypeError and ValueError for anything else."""
        if "endpoint" in piece:
            self.report.add_endpoint(piece["endpoint"])
            return False
        end = piece["end"]
        self.report.add_totals(end["report"])
        for outcome, count in end["outcomes"].items():
            if outcome not in MIRROR_OUTCOMES:
                raise ValueError(f"there is no outcome {outcome!r}")
            self.outcomes[outcome] = int(count)
        self.since_s = float(end.get("since_s", inf))
        return True
