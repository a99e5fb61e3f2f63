"""Cameras: the definition from the camera file, the run state from the database.

Owns: joining and splitting the two. Must not know: which changes are allowed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from typing import Any

from camera_data.camera_file import Definitions, FileEdit
from camera_data.database import timestamp
from camera_data.definition import FIELDS, CameraDefinition
from domain_backend.entities.camera import Camera, State
from domain_backend.entities.refusals import Duplicate, NotFound

_STATE = "SELECT camera_id, state, since, last_error, attempt FROM run_state"


def definition_of(camera: Camera) -> CameraDefinition:
    """The part of a camera that stands in the file."""
    return CameraDefinition(**{name: getattr(camera, name) for name in FIELDS})


class CameraRepository:
    """The cameras as they are within one transaction."""

    def __init__(self, sql: sqlite3.Connection, definitions: Definitions) -> None:
        self._sql = sql
        self._definitions = definitions

    def __contains__(self, camera_id: str) -> bool:
        return camera_id in self._definitions

    def __len__(self) -> int:
        return len(self._definitions)

    def get(self, camera_id: str) -> Camera:
        """Raises NotFound."""
        definition = self._definitions.get(camera_id)
        if definition is None:
            raise NotFound(f"there is no camera {camera_id!r}")
        return _camera(definition, self._sql.execute(f"{_STATE} WHERE camera_id = ?", (camera_id,)).fetchone())

    def all(self) -> list[Camera]:
        """In the order of the file."""
        rows = {row["camera_id"]: row for row in self._sql.execute(_STATE)}
        return [_camera(definition, rows.get(definition.id)) for definition in self._definitions.values()]


class CameraEditor(CameraRepository):
    """The cameras, and the right to change them: holds the file's lock and the database's."""

    def __init__(self, sql: sqlite3.Connection, file: FileEdit) -> None:
        super().__init__(sql, file.cameras)
        self._file = file

    def add(self, camera: Camera) -> None:
        """Raises Duplicate."""
        if camera.id in self:
            raise Duplicate(f"there is a camera {camera.id!r} already")
        self.save(camera)

    def save(self, camera: Camera) -> None:
        """The run state, and the definition if it is another; the file comes last, it can't be rolled back."""
        definition = definition_of(camera)
        self._sql.execute(
            "INSERT INTO run_state (camera_id, state, since, last_error, attempt, definition) VALUES (?,?,?,?,?,?)"
            " ON CONFLICT (camera_id) DO UPDATE SET state = excluded.state, since = excluded.since,"
            " last_error = excluded.last_error, attempt = excluded.attempt, definition = excluded.definition",
            (
                camera.id,
                camera.state,
                timestamp(camera.since) if camera.since else None,
                camera.last_error,
                camera.attempt,
                json.dumps(definition.document()),
            ),
        )
        if self._definitions.get(camera.id) != definition:
            self._file.put(definition)

    def remove(self, camera: Camera) -> None:
        """From the database, and from the file if it is there."""
        self._sql.execute("DELETE FROM run_state WHERE camera_id = ?", (camera.id,))
        if camera.id in self:
            self._file.remove(camera.id)

    def check_file(self) -> None:
        """Raises CameraFileError if somebody broke the file: these cameras are the ones of before."""
        self._file.check()

    def last_known(self) -> Iterator[Camera]:
        """The cameras as a service last saw them, also those that have since been edited by hand."""
        for row in self._sql.execute(f"{_STATE.replace('attempt', 'attempt, definition')} ORDER BY rowid").fetchall():
            yield _camera(CameraDefinition(**json.loads(row["definition"])), row)


def _camera(definition: CameraDefinition, row: sqlite3.Row | None) -> Camera:
    defined: dict[str, Any] = {field.name: getattr(definition, field.name) for field in fields(definition)}
    if row is None:  # nobody has moved it yet
        return Camera(**defined)
    since = datetime.fromisoformat(row["since"]) if row["since"] else None
    return Camera(**defined, state=State(row["state"]), since=since, last_error=row["last_error"], attempt=row["attempt"])
