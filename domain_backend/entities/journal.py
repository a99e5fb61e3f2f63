"""What is written down about a camera: log lines for people, changes for programs.

Owns: their fields. Must not know: where they are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain_backend.entities.camera import State


class Level(StrEnum):
    """How much a log line matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a camera's log."""

    id: int
    at: datetime
    level: Level
    message: str


@dataclass(frozen=True, slots=True)
class LogPage:
    """Some lines, the newest first, and how many there are in all."""

    lines: tuple[LogLine, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Status:
    """A camera's state, without what defines it."""

    camera_id: str
    state: State
    active: bool
    auto_start: bool
    since: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one camera. `seq` grows over all cameras; `status` is None when the camera is gone."""

    seq: int
    at: datetime
    camera_id: str
    action: str
    previous_state: State | None
    status: Status | None
