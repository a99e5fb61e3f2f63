"""What many comparisons add up to: per endpoint and place, how often it differed, how much of that is noise, samples.

Owns: which counts there are, the bounds, the outcomes. Must not know: where comparisons come from, who reads the report.
Invariants:
- reports of several processes add up: `merge` gives what one process would have counted;
- memory is bounded whatever is answered: endpoints, places and samples are, and what does not fit is counted;
- a sample holds only what the mask let through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from splitter.compare.counts import SAMPLES_KEPT, Endpoint, Field, Place, Sample
from splitter.compare.differences import Difference, Differences, Kind
from splitter.compare.mask import Mask

ENDPOINTS_MAX: Final = 200
FIELDS_MAX: Final = 100
"""Per endpoint."""
_ALL_FIELDS_MAX: Final = 2000


class Outcome(StrEnum):
    """What became of one comparison."""

    MATCH = "match"
    IGNORED = "ignored"
    """Differences, all of them covered by rules."""
    NOISE = "noise"
    """Differences, all of them in places where control differs from itself as well."""
    MISMATCH = "mismatch"


@dataclass(frozen=True, slots=True)
class Context:
    """Which request it was: its target, an id to find it in logs, and when, as a Unix time."""

    target: str = ""
    request_id: str = ""
    at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a report: a place and what is known of it."""

    endpoint: str
    path: str
    kind: Kind
    differed: int
    compared: int
    noisy: int
    asked: int
    noise: bool
    last_s: float
    samples: tuple[Sample, ...]


class Report:
    """See the top of the file."""

    __slots__ = ("_fields", "endpoints", "lost_comparisons", "lost_differences", "outcomes")

    def __init__(self) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self.outcomes: Counter[Outcome] = Counter()
        self.lost_comparisons = 0
        """Of endpoints there was no room for."""
        self.lost_differences = 0
        """In places there was no room for."""
        self._fields = 0

    @property
    def compared(self) -> int:
        return sum(self.outcomes.values())

    def asked(self, endpoint: str) -> int:
        """For how many comparisons of an endpoint control was asked twice."""
        found = self.endpoints.get(endpoint)
        return 0 if found is None else found.asked

    def record(self, endpoint: str, found: Differences, noise: Differences | None, context: Context, mask: Mask) -> Outcome:
        """Add one comparison; `noise`: what control differs in from itself, None when it was asked once.

        The outcome is by what is known of noise so far: the first of many may be called a mismatch and turn out as noise.
        """
        counted = self._endpoint(endpoint, differs=bool(found.found))
        if counted is None:
            self.lost_comparisons += 1
            outcome = _plain_outcome(found)
        else:
            counted.compared += 1
            counted.asked += noise is not None
            for difference in noise.found if noise is not None else ():
                place = self._field(counted, difference.place)
                if place is not None:
                    place.noisy += 1
            for difference in found.found:
                self._count(counted, difference, noise is not None, context, mask)
            self.lost_differences += found.more
            outcome = _plain_outcome(found)
            if outcome is Outcome.MISMATCH and all(counted.is_noise(difference.place) for difference in found.found):
                outcome = Outcome.NOISE
        self.outcomes[outcome] += 1
        return outcome

    def _endpoint(self, name: str, *, differs: bool) -> Endpoint | None:
        """The counts of an endpoint. One that differs takes the place of one that never did, if there is no other."""
        found = self.endpoints.get(name)
        if found is not None:
            return found
        if len(self.endpoints) >= ENDPOINTS_MAX:
            clean = [other for other, counts in self.endpoints.items() if not counts.fields]
            if not differs or not clean:
                return None
            least = min(clean, key=lambda other: (self.endpoints[other].compared, other))
            self.lost_comparisons += self.endpoints.pop(least).compared
        found = self.endpoints[name] = Endpoint()
        return found

    def _field(self, counted: Endpoint, place: Place) -> Field | None:
        found = counted.fields.get(place)
        if found is None and len(counted.fields) < FIELDS_MAX and self._fields < _ALL_FIELDS_MAX:
            self._fields += 1
            found = counted.fields[place] = Field()
        return found

    def _count(self, counted: Endpoint, difference: Difference, asked: bool, context: Context, mask: Mask) -> None:
        place = self._field(counted, difference.place)
        if place is None:
            self.lost_differences += 1
            return
        place.differed += 1
        place.differed_of_asked += asked
        place.last_s = max(place.last_s, context.at_s)
        # To write a sample takes a hundred times what counting does: the first ones, then ever fewer, yet never none.
        if place.differed <= SAMPLES_KEPT or place.differed & (place.differed - 1) == 0:
            control, candidate = difference.shown(mask)
            sample = Sample(
                context.at_s, mask.target(context.target), mask.text(context.request_id), difference.where(mask),
                control, candidate,
            )  # fmt: skip
            place.keep((sample,))

    def merge(self, other: Report) -> None:
        """Add another report to this one."""
        self.outcomes.update(other.outcomes)
        self.lost_comparisons += other.lost_comparisons
        self.lost_differences += other.lost_differences
        for name, theirs in other.endpoints.items():
            mine = self._endpoint(name, differs=bool(theirs.fields))
            if mine is None:
                self.lost_comparisons += theirs.compared
                continue
            mine.compared += theirs.compared
            mine.asked += theirs.asked
            for place, found in theirs.fields.items():
                kept = self._field(mine, place)
                if kept is None:
                    self.lost_differences += found.differed
                    continue
                kept.add(found)

    def rows(self) -> Iterator[Row]:
        """Every place that differed, mismatches first, the most frequent first."""
        rows = [
            Row(
                name, path, kind, found.differed, counts.compared, found.noisy, counts.asked,
                counts.is_noise((path, kind)), found.last_s, found.samples,
            )
            for name, counts in self.endpoints.items()
            for (path, kind), found in counts.fields.items()
            if found.differed
        ]  # fmt: skip
        yield from sorted(rows, key=lambda row: (row.noise, -row.differed / row.compared, row.endpoint, row.path, row.kind))

    def mismatches(self) -> list[Row]:
        """Every place that really differs."""
        return [row for row in self.rows() if not row.noise]

    # --- as plain values ---

    def to_json(self) -> dict[str, Any]:
        """All of it; `from_json` makes a report of it again."""
        endpoints = [self.endpoint_to_json(name) for name in sorted(self.endpoints)]
        return self.totals_to_json() | {"endpoints": endpoints}

    def totals_to_json(self) -> dict[str, Any]:
        """What is not about one endpoint."""
        return {
            "compared": self.compared,
            "outcomes": {outcome.value: self.outcomes[outcome] for outcome in Outcome},
            "lost_comparisons": self.lost_comparisons,
            "lost_differences": self.lost_differences,
        }

    def endpoint_to_json(self, name: str) -> dict[str, Any]:
        """One endpoint that is in the report."""
        counts = self.endpoints[name]
        return {
            "endpoint": name, "compared": counts.compared, "asked_twice": counts.asked, "fields": _fields_of(counts)
        }  # fmt: skip

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Report:
        """The report `to_json` wrote. Raises KeyError, TypeError and ValueError for anything else."""
        report = cls()
        report.add_totals(document)
        for entry in document["endpoints"]:
            report.add_endpoint(entry)
        return report

    def add_totals(self, document: Mapping[str, Any]) -> None:
        """Take in what `totals_to_json` wrote. Raises as `from_json` does."""
        self.outcomes.update({Outcome(word): int(count) for word, count in document["outcomes"].items()})
        self.lost_comparisons += int(document["lost_comparisons"])
        self.lost_differences += int(document["lost_differences"])

    def add_endpoint(self, entry: Mapping[str, Any]) -> None:
        """Take in an endpoint that is not here yet. Raises as `from_json` does, also when there is no room for it."""
        name = str(entry["endpoint"])
        counts = Endpoint(int(entry["compared"]), int(entry["asked_twice"]))
        for found in entry["fields"]:
            samples = tuple(Sample(**sample) for sample in found["samples"])
            place = (str(found["path"]), Kind(found["kind"]))
            counts.fields[place] = Field(
                int(found["differed"]), int(found["differed_of_asked"]), int(found["noisy"]), float(found["last_s"]),
                samples[:SAMPLES_KEPT],
            )  # fmt: skip
        fields = self._fields + len(counts.fields)
        if name in self.endpoints or len(self.endpoints) >= ENDPOINTS_MAX or fields > _ALL_FIELDS_MAX:
            raise ValueError(f"no report has this as one more endpoint: {name[:80]!r}")
        self.endpoints[name] = counts
        self._fields = fields


def _fields_of(counts: Endpoint) -> list[dict[str, Any]]:
    return [
        {
            "path": path,
            "kind": kind.value,
            "verdict": _verdict(counts, (path, kind)),
            "differed": found.differed,
            "differed_of_asked": found.differed_of_asked,
            "noisy": found.noisy,
            "last_s": round(found.last_s, 3),
            "samples": [sample.to_json() for sample in found.samples],
        }
        for (path, kind), found in sorted(counts.fields.items())
    ]


def _verdict(counts: Endpoint, place: Place) -> str:
    if not counts.fields[place].differed:
        return Outcome.MATCH
    return Outcome.NOISE if counts.is_noise(place) else Outcome.MISMATCH


def _plain_outcome(found: Differences) -> Outcome:
    if found.found:
        return Outcome.MISMATCH
    return Outcome.IGNORED if found.ignored else Outcome.MATCH
