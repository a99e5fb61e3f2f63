"""A camera's life.

Owns: the states, the moves between them, and who may make which. Must not know: how it is stored or shown.
Invariants: a state changes only by a line of TRANSITIONS; every move gives a new Camera.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from domain_backend.entities.refusals import IllegalMove, Inactive

INTERRUPTED_AFTER = timedelta(seconds=10)  # a start takes milliseconds; one that is older was killed


class State(StrEnum):
    """Where a camera is in its life."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    ERROR = "error"


class Move(StrEnum):
    """What can happen to a camera: first what a client asks for, then what the service finds."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    ACTIVATE = "activate"
    DEACTIVATE = "deactivate"
    DELETE = "delete"
    STARTED = "started"
    FAILED = "failed"


FROM_CLIENTS = (Move.START, Move.STOP, Move.RESTART, Move.DEACTIVATE, Move.ACTIVATE, Move.DELETE)
NEED_ACTIVE = frozenset({Move.START, Move.RESTART})

# A move that is not in a state's line is refused there. Deleting ends in no state; `stopped` says that it may be done.
TRANSITIONS: Mapping[State, Mapping[Move, State]] = MappingProxyType(
    {
        State.STOPPED: {
            Move.START: State.STARTING,
            Move.RESTART: State.STARTING,
            Move.ACTIVATE: State.STOPPED,
            Move.DEACTIVATE: State.STOPPED,
            Move.DELETE: State.STOPPED,
        },
        State.STARTING: {
            Move.STARTED: State.RUNNING,
            Move.FAILED: State.ERROR,
            Move.STOP: State.STOPPED,
            Move.RESTART: State.STARTING,
            Move.ACTIVATE: State.STARTING,
            Move.DEACTIVATE: State.STOPPED,
        },
        State.RUNNING: {
            Move.FAILED: State.ERROR,
            Move.STOP: State.STOPPED,
            Move.RESTART: State.STARTING,
            Move.ACTIVATE: State.RUNNING,
            Move.DEACTIVATE: State.STOPPED,
        },
        State.ERROR: {
            Move.START: State.STARTING,
            Move.RESTART: State.STARTING,
            Move.STOP: State.STOPPED,
            Move.ACTIVATE: State.ERROR,
            Move.DEACTIVATE: State.STOPPED,
            Move.DELETE: State.STOPPED,
        },
    }
)

_PARTICIPLES = {
    Move.START: "started",
    Move.STOP: "stopped",
    Move.RESTART: "restarted",
    Move.DELETE: "deleted",
}


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera and where it is in its life. `since` is when it came into its state, `attempt` counts its starts."""

    id: str
    name: str
    source: str
    active: bool
    auto_start: bool
    fps: int
    width_px: int
    height_px: int
    state: State = State.STOPPED
    since: datetime | None = None
    last_error: str | None = None
    attempt: int = 0

    def moved(self, move: Move, at: datetime, fault: str | None = None) -> Camera:
        """The camera after a move; `fault` is why it FAILED. Raises IllegalMove, Inactive."""
        if move in NEED_ACTIVE and not self.active:
            raise Inactive(self._cannot(move))
        target = TRANSITIONS[self.state].get(move)
        if target is None:
            raise IllegalMove(self._cannot(move)) if self.active else Inactive(self._cannot(move))
        switched = {Move.ACTIVATE: True, Move.DEACTIVATE: False}.get(move, self.active)
        if target is self.state and move not in NEED_ACTIVE:  # a restart while starting is another start
            return replace(self, active=switched)
        return replace(
            self,
            active=switched,
            state=target,
            since=at,
            last_error=fault,
            attempt=self.attempt + (move in {Move.START, Move.RESTART}),
        )

    def possible(self) -> tuple[Move, ...]:
        """The moves a client could make now and that would change something."""
        line = TRANSITIONS[self.state]
        needless = Move.ACTIVATE if self.active else Move.DEACTIVATE
        return tuple(
            move
            for move in FROM_CLIENTS
            if move in line and move is not needless and (self.active or move not in NEED_ACTIVE)
        )

    def found_switched_off(self, at: datetime) -> Camera:
        """The camera as it has to be once its definition says that it is not active."""
        return self if self.active else self.moved(Move.DEACTIVATE, at)

    def was_interrupted(self, now: datetime) -> bool:
        """Whoever was starting it is gone."""
        return self.state is State.STARTING and self.since is not None and now - self.since > INTERRUPTED_AFTER

    def wants_auto_start(self) -> bool:
        """Whether it is to run, and does not."""
        return self.active and self.auto_start and self.state in {State.STOPPED, State.ERROR}

    def _cannot(self, move: Move) -> str:
        inactive = "" if self.active else " and not active"
        return (
            f"camera {self.id!r} is {self.state}{inactive}, so it can't be {_PARTICIPLES.get(move, move)}; "
            f"possible now: {', '.join(self.possible())}"
        )
