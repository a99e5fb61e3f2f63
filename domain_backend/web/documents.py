"""Entities as JSON.

Owns: the shape of every answer. Must not know: who asked.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from camera_data.database import timestamp
from domain_backend.entities.alert_rule import AlertRule
from domain_backend.entities.camera import Camera
from domain_backend.entities.journal import Change, LogPage, Status
from domain_backend.repositories.cameras import definition_of
from domain_backend.services.camera_catalogue import Refreshed
from domain_backend.services.camera_control import Moved
from domain_backend.services.camera_view import Snapshot

Document = dict[str, Any]


def _time(at: datetime | None) -> str | None:
    return timestamp(at) if at else None


def camera_document(camera: Camera) -> Document:
    """All of a camera."""
    life = {"state": camera.state, "since": _time(camera.since), "last_error": camera.last_error}
    return definition_of(camera).document() | life


def status_document(status: Camera | Status) -> Document:
    """Its state only."""
    return {
        "camera_id": status.id if isinstance(status, Camera) else status.camera_id,
        "state": status.state,
        "active": status.active,
        "auto_start": status.auto_start,
        "since": _time(status.since),
        "last_error": status.last_error,
    }


def moved_document(moved: Moved) -> Document:
    """What a move did, and the state it led to."""
    return {"action": moved.action, "previous_state": moved.previous} | status_document(moved.camera)


def refreshed_document(refreshed: Refreshed) -> Document:
    """What was found in the file."""
    return {
        "added": refreshed.added,
        "removed": refreshed.removed,
        "changed": refreshed.changed,
        "total": refreshed.total,
    }


def logs_document(camera_id: str, page: LogPage, limit: int, offset: int) -> Document:
    """A page of a log."""
    lines = [{"id": line.id, "time": _time(line.at), "level": line.level, "message": line.message} for line in page.lines]
    return {"camera_id": camera_id, "logs": lines, "total": page.total, "limit": limit, "offset": offset}


def rule_document(rule: AlertRule) -> Document:
    """All of a rule."""
    terms = {name: getattr(rule.terms, name) for name in rule.terms.__slots__}
    return {"id": rule.id, **terms, "created_at": _time(rule.created_at), "updated_at": _time(rule.updated_at)}


def snapshot_document(snapshot: Snapshot) -> Document:
    """The first thing a follower hears: the same fields as a change."""
    return {
        "type": "snapshot",
        "seq": snapshot.seq,
        "time": _time(snapshot.at),
        "camera_id": snapshot.camera.id,
        "action": None,
        "previous_state": None,
        "status": status_document(snapshot.camera),
    }


def change_document(change: Change) -> Document:
    """What a follower hears next."""
    return {
        "type": "change" if change.status else "deleted",
        "seq": change.seq,
        "time": _time(change.at),
        "camera_id": change.camera_id,
        "action": change.action,
        "previous_state": change.previous_state,
        "status": status_document(change.status) if change.status else None,
    }
