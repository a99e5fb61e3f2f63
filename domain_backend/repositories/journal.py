"""Log lines and changes, as rows.

Owns: their SQL. Must not know: what is worth writing down.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime

from camera_data.database import newest_change, timestamp, trim
from domain_backend.entities.camera import Camera, State
from domain_backend.entities.journal import Change, Level, LogLine, LogPage, Status


class Journal:
    """What is known about the past of the cameras, within one transaction."""

    def __init__(self, sql: sqlite3.Connection) -> None:
        self._sql = sql

    def write(self, camera_id: str, at: datetime, message: str, level: Level = Level.INFO) -> None:
        """A line into the camera's log."""
        self._sql.execute(
            "INSERT INTO logs (camera_id, time, level, message) VALUES (?,?,?,?)", (camera_id, timestamp(at), level, message)
        )

    def announce(self, camera: Camera, at: datetime, action: str, previous: State | None, *, gone: bool = False) -> None:
        """Tell the followers of the camera, of both services, when the transaction is committed."""
        self._sql.execute(
            "INSERT INTO changes (camera_id, time, action, previous_state, state, active, auto_start, since, last_error)"
            " VALUES (?,?,?,?,?,?,?,?,?)",
            (
                camera.id,
                timestamp(at),
                action,
                previous,
                None if gone else camera.state,
                camera.active,
                camera.auto_start,
                timestamp(camera.since) if camera.since and not gone else None,
                None if gone else camera.last_error,
            ),
        )
        trim(self._sql, camera.id)

    def forget(self, camera_id: str) -> None:
        """The log of a camera that is gone. Its changes stay: followers may not have seen the last."""
        self._sql.execute("DELETE FROM logs WHERE camera_id = ?", (camera_id,))

    def page(self, camera_id: str, limit: int, offset: int) -> LogPage:
        """The newest first."""
        (total,) = self._sql.execute("SELECT count(*) FROM logs WHERE camera_id = ?", (camera_id,)).fetchone()
        rows = self._sql.execute(
            "SELECT * FROM logs WHERE camera_id = ? ORDER BY id DESC LIMIT ? OFFSET ?", (camera_id, limit, offset)
        )
        lines = (
            LogLine(row["id"], datetime.fromisoformat(row["time"]), Level(row["level"]), row["message"]) for row in rows
        )
        return LogPage(tuple(lines), total)

    def newest(self) -> int:
        """The number of the last change of any camera."""
        return newest_change(self._sql)

    def oldest(self) -> int:
        """The number of the first change that is still kept; 0 when there is none."""
        (oldest,) = self._sql.execute("SELECT min(seq) FROM changes").fetchone()
        return oldest or 0

    def beyond(self, camera_id: str, seq: int) -> list[Change]:
        """The changes of a camera after number `seq`, oldest first."""
        rows = self._sql.execute("SELECT * FROM changes WHERE camera_id = ? AND seq > ? ORDER BY seq", (camera_id, seq))
        return [_change(row) for row in rows]


def _change(row: sqlite3.Row) -> Change:
    previous = State(row["previous_state"]) if row["previous_state"] else None
    status = None
    if row["state"]:
        since = datetime.fromisoformat(row["since"]) if row["since"] else None
        state, active, auto_start = State(row["state"]), bool(row["active"]), bool(row["auto_start"])
        status = Status(row["camera_id"], state, active, auto_start, since, row["last_error"])
    at = datetime.fromisoformat(row["time"])
    return Change(row["seq"], at, row["camera_id"], row["action"], previous, status)
