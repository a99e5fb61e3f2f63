"""How far a plan has come: the phases, and the one record that is saved.

Owns: the record, and its form as plain values. Must not know: what moves it (`splitter.rollout` does), where it is kept.
Invariants: `from_json(to_json(progress)) == progress`; what is not such a record is refused with a sentence, since a guess
could send clients to domain.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass


class Phase(StrEnum):
    """Where the plan stands."""

    IDLE = "idle"  # no plan is under way: percents are the configuration's, or set by hand
    RUNNING = "running"  # a stage is in force and being held
    PAUSED = "paused"  # a person stopped the clock; the stage stays in force
    WAITING = "waiting"  # the stage is over and good; a person or a hook has to let the plan go on
    FROZEN = "frozen"  # a guardrail stopped the plan; the stage stays in force until a person has looked
    COMPLETED = "completed"  # the last stage is over and stays in force
    ROLLED_BACK = "rolled_back"  # taken back; nothing goes on by itself, resume starts again
    ABORTED = "aborted"  # given up by a person; what the plan had moved is back on legacy


IN_FORCE: Final = frozenset({Phase.RUNNING, Phase.PAUSED, Phase.WAITING, Phase.FROZEN, Phase.COMPLETED})
"""Phases in which a stage of the plan says what the percents are."""


class Gate(StrEnum):
    """What keeps a stage that is over from ending."""

    APPROVAL = "approval"  # a person
    HOOK = "hook"  # the answer of the stage's `confirm`


_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Percent = Annotated[float, Field(ge=0, le=100)]


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="ignore"))
class PlanProgress:
    """All there is to save.

    `stage` counts from 0; `held_s` of its hold are over, as accounted until `accounted_at_s` (Unix time). `opened`: gates of
    this stage that were passed. `floor_percent` and `floor_routes`: below these nobody is taken, whatever the plan says by
    now; None and missing routes are not the plan's to say. `started_at_s` (Unix time): what was set by hand until then is
    beneath the plan. `waiting_for`: why it is not going on, and `reason`: why it was stopped or ended; sentences for people.
    """

    phase: Phase = Phase.IDLE
    stage: Annotated[int, Field(ge=0, le=10_000)] = 0
    held_s: _Seconds = 0.0
    accounted_at_s: _Seconds | None = None
    opened: frozenset[Gate] = frozenset()
    floor_percent: _Percent | None = None
    floor_routes: dict[str, _Percent] = Field(default_factory=dict)
    started_at_s: _Seconds = 0.0
    waiting_for: str = ""
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        values: dict[str, Any] = _RECORD.dump_python(self, mode="json")
        return values | {"opened": sorted(self.opened)}

    @classmethod
    def from_json(cls, given: object) -> PlanProgress:
        """The record of these values; keys it does not know are left out. Raises ValueError with all that is wrong."""
        if not isinstance(given, dict):
            raise ValueError(f"the plan's progress must be a mapping, not {type(given).__name__}")
        missing = [f"{name} is missing" for name in ("phase", "stage", "held_s") if name not in given]
        try:
            progress = _RECORD.validate_python(given)
        except ValidationError as error:
            wrong = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_url=False)]
        else:
            wrong = []
        if missing or wrong:
            raise ValueError(f"the plan's progress can't be read: {'; '.join([*missing, *wrong])}") from None
        return progress


_RECORD: Final = TypeAdapter(PlanProgress)
