"""The counts of one endpoint: in which places its answers differed, how often, whether that is noise, samples.

Owns: these numbers, the noise rule. Must not know: which endpoints there are, the bounds.
Invariant: counts of two processes add up, in whatever order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from splitter.compare.differences import Kind

SAMPLES_KEPT: Final = 3
RELATIVE_MIN: Final = 0.20
ABSOLUTE_MIN: Final = 0.0003


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


@dataclass(frozen=True, slots=True, order=True)
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

    Candidate differed there in `differed`, last at `last_s`; of those for which control was asked twice candidate differed
    in `differed_of_asked`, and control from itself in `noisy`.
    """

    differed: int = 0
    differed_of_asked: int = 0
    noisy: int = 0
    last_s: float = 0.0
    samples: tuple[Sample, ...] = ()

    def keep(self, samples: tuple[Sample, ...]) -> None:
        """The newest of these and those there are. All of a sample decides, so that the order of merging does not."""
        self.samples = tuple(sorted({*self.samples, *samples}, reverse=True)[:SAMPLES_KEPT])

    def add(self, other: Field) -> None:
        """Add what another process counted of the same place."""
        self.differed += other.differed
        self.differed_of_asked += other.differed_of_asked
        self.noisy += other.noisy
        self.last_s = max(self.last_s, other.last_s)
        self.keep(other.samples)


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
