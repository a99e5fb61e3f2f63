"""What the handlers of the old service have in common: the rows they read and write, and how they refuse.

Owns: the SQL of a camera's run state, the documents of the API. Must not know: requests.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from aiohttp import web

from camera_data.database import timestamp, trim
from camera_data.definition import CameraDefinition
from camera_data.serve import Ground

GROUND = web.AppKey("ground", Ground)
Row = dict[str, Any]


class ApiError(Exception):
    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


def no_camera(camera_id: str) -> ApiError:
    return ApiError(404, "not_found", f"there is no camera {camera_id!r}")


def refused(camera: CameraDefinition, state: str, done: str) -> ApiError:
    """409: `done` is what can't be done, as a participle ("started")."""
    possible = []
    if camera.active and state in {"stopped", "error"}:
        possible.append("start")
    if state in {"starting", "running", "error"}:
        possible.append("stop")
    if camera.active:
        possible.append("restart")
    possible.append("deactivate" if camera.active else "activate")
    if state in {"stopped", "error"}:
        possible.append("delete")
    inactive = "" if camera.active else " and not active"
    message = f"camera {camera.id!r} is {state}{inactive}, so it can't be {done}; possible now: {', '.join(possible)}"
    return ApiError(409, "illegal_move" if camera.active else "inactive", message)


def row_of(sql: sqlite3.Connection, camera_id: str) -> Row:
    """A camera nobody has moved yet has no row."""
    row = sql.execute("SELECT state, since, last_error, attempt FROM run_state WHERE camera_id = ?", (camera_id,)).fetchone()
    return dict(row) if row else {"state": "stopped", "since": None, "last_error": None, "attempt": 0}


def write_row(sql: sqlite3.Connection, camera: CameraDefinition, row: Row) -> None:
    sql.execute(
        "INSERT OR REPLACE INTO run_state (camera_id, state, since, last_error, attempt, definition) VALUES (?,?,?,?,?,?)",
        (camera.id, row["state"], row["since"], row["last_error"], row["attempt"], json.dumps(camera.document())),
    )


def write_log(ground: Ground, sql: sqlite3.Connection, camera_id: str, message: str, level: str = "info") -> None:
    sql.execute(
        "INSERT INTO logs (camera_id, time, level, message) VALUES (?,?,?,?)",
        (camera_id, timestamp(ground.now()), level, message),
    )


def write_change(
    ground: Ground, sql: sqlite3.Connection, camera: CameraDefinition, action: str, previous: str | None, row: Row
) -> None:
    """The camera as it is now, for those who follow it. Comes last in a transaction."""
    sql.execute(
        "INSERT INTO changes (camera_id, time, action, previous_state, state, active, auto_start, since, last_error)"
        " VALUES (?,?,?,?,?,?,?,?,?)",
        (
            camera.id,
            timestamp(ground.now()),
            action,
            previous,
            row["state"],
            camera.active,
            camera.auto_start,
            row["since"],
            row["last_error"],
        ),
    )
    trim(sql, camera.id)


def camera_document(camera: CameraDefinition, row: Row) -> Row:
    return {**camera.document(), "state": row["state"], "since": row["since"], "last_error": row["last_error"]}


def status_document(camera: CameraDefinition, row: Row) -> Row:
    return {
        "camera_id": camera.id,
        "state": row["state"],
        "active": camera.active,
        "auto_start": camera.auto_start,
        "since": row["since"],
        "last_error": row["last_error"],
    }
