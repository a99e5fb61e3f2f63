"""What many comparisons add up to: per endpoint and place, how often it differed, how much of that is noise, samples.

Owns: the counts, the noise rule, the bounds. Must not know: where comparisons come from, who reads the report.
Invariants:
- reports of several processes add up: `merge` gives what one process would have counted;
- memory is bounded whatever is answered: endpoints, places and samples are, and what does not fit is counted;
- a sample holds only what the mask let through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from splitter.compare.differences import Difference, Differences, Kind
from splitter.compare.mask import Mask

ENDPOINTS_MAX: Final = 200
FIELDS_MAX: Final = 100
"""Per endpoint."""
SAMPLES_KEPT: Final = 3
_ALL_FIELDS_MAX: Final = 2000

RELATIVE_MIN: Final = 0.20
ABSOLUTE_MIN: Final = 0.0003


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


def is_noise(differed: int, noisy: int, asked: int) -> bool:
    """Diffy's rule, over the requests for which control was asked twice.

    Of `asked` requests candidate differed from control in `differed` and control from itself in `noisy`. A place is really
    different when the first is more, by more than 20 % of both together and by more than 0.03 % of the requests. Only
    these requests are looked at, because others may be of another kind: pictures that always differ, and refusals of
    pictures that never do. A place that never differed in any of them is not known to be noise, so it is not called that.
    """
    if not differed and not noisy:
        return False
    more = differed - noisy
    return not (more > 0 and more / (differed + noisy) > RELATIVE_MIN and more / asked > ABSOLUTE_MIN)


@dataclass(frozen=True, slots=True)
class Sample:
    """One request in which a place differed, as it may be shown."""

    at_s: float
    request: str
    request_id: str
    where: str
    control: str
    candidate: str

    def to_json(self) -> dict[str, Any]:
        return {
            "at_s": round(self.at_s, 3), "request": self.request, "request_id": self.request_id, "where": self.where,
            "control": self.control, "candidate": self.candidate,
        }  # fmt: skip


@dataclass(slots=True)
class Field:
    """One place of one endpoint, in numbers of requests.

    Candidate differed there in `differed`; of those for which control was asked twice candidate differed in
    `differed_of_asked`, and control from itself in `noisy`.
    """

    differed: int = 0
    differed_of_asked: int = 0
    noisy: int = 0
    samples: tuple[Sample, ...] = ()

    def keep(self, samples: tuple[Sample, ...]) -> None:
        """The newest of these and those there are."""
        every = {*self.samples, *samples}
        newest = sorted(every, key=lambda sample: (sample.at_s, sample.request_id, sample.where), reverse=True)
        self.samples = tuple(newest[:SAMPLES_KEPT])


Place = tuple[str, Kind]


@dataclass(slots=True)
class Endpoint:
    """One endpoint: how many comparisons, and for how many of them control was asked twice."""

    compared: int = 0
    asked: int = 0
    fields: dict[Place, Field] = field(default_factory=dict)

    def is_noise(self, place: Place) -> bool:
        """Whether a place differs no more between the two sides than between control and itself."""
        found = self.fields.get(place)
        return found is not None and is_noise(found.differed_of_asked, found.noisy, self.asked)


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
                kept.differed += found.differed
                kept.differed_of_asked += found.differed_of_asked
                kept.noisy += found.noisy
                kept.keep(found.samples)

    def rows(self) -> Iterator[Row]:
        """Every place that differed, mismatches first, the most frequent first."""
        rows = [
            Row(
                name, path, kind, found.differed, counts.compared, found.noisy, counts.asked,
                counts.is_noise((path, kind)), found.samples,
            )
            for name, counts in self.endpoints.items()
            for (path, kind), found in counts.fields.items()
            if found.differed
        ]  # fmt: skip
        yield from sorted(rows, key=lambda row: (row.noise, -row.differed / row.compared, row.endpoint, row.path, row.kind))

    def mismatches(self) -> list[Row]:
        """Every place that really differs."""
        return [row for row in self.rows() if not row.noise]

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values; `from_json` makes a report of it again."""
        return {
            "compared": self.compared,
            "outcomes": {outcome.value: self.outcomes[outcome] for outcome in Outcome},
            "lost_comparisons": self.lost_comparisons,
            "lost_differences": self.lost_differences,
            "endpoints": [
                {"endpoint": name, "compared": counts.compared, "asked_twice": counts.asked, "fields": _fields_of(counts)}
                for name, counts in sorted(self.endpoints.items())
            ],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Report:
        """The report `to_json` wrote. Raises KeyError, TypeError and ValueError for anything else."""
        report = cls()
        report.outcomes.update({Outcome(word): int(count) for word, count in document["outcomes"].items()})
        report.lost_comparisons = int(document["lost_comparisons"])
        report.lost_differences = int(document["lost_differences"])
        for entry in document["endpoints"]:
            counts = Endpoint(int(entry["compared"]), int(entry["asked_twice"]))
            for found in entry["fields"]:
                samples = tuple(Sample(**sample) for sample in found["samples"])
                place = (str(found["path"]), Kind(found["kind"]))
                counts.fields[place] = Field(
                    int(found["differed"]), int(found["differed_of_asked"]), int(found["noisy"]), samples
                )
            report.endpoints[str(entry["endpoint"])] = counts
            report._fields += len(counts.fields)
        return report


def _fields_of(counts: Endpoint) -> list[dict[str, Any]]:
    return [
        {
            "path": path,
            "kind": kind.value,
            "verdict": _verdict(counts, (path, kind)),
            "differed": found.differed,
            "differed_of_asked": found.differed_of_asked,
            "noisy": found.noisy,
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
