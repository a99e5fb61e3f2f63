"""The SQLite database that both services write.

Owns: the file, its schema, its connections, what is locked when. Must not know: the rules of the camera API; each
service brings its own SQL.
Invariants: what is read and then written is read under the write lock (BEGIN IMMEDIATE), so that no update of the other
process is lost; a transaction is wholly in the file or not at all; `changes.seq` only grows, and a number is never used
twice, so a follower that asks for "beyond N" misses nothing.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from camera_data.errors import StoreBusyError, StoreError
from camera_data.filelock import locked

FILE_NAME = "cameras.db"
SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 5.0
LOGS_KEPT = 1000  # per camera
CHANGES_KEPT = 10_000  # a follower that is further behind starts anew from a snapshot

_SCHEMA = """
CREATE TABLE run_state (
    camera_id TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('stopped', 'starting', 'running', 'error')),
    since TEXT,
    last_error TEXT,
    attempt INTEGER NOT NULL DEFAULT 0,  -- counts starts: who finishes one can see whether it is still the last
    definition TEXT NOT NULL             -- JSON, as it was last known: what a refresh compares with
) STRICT;
CREATE TABLE logs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    camera_id TEXT NOT NULL,
    time TEXT NOT NULL,
    level TEXT NOT NULL CHECK (level IN ('info', 'warning', 'error')),
    message TEXT NOT NULL
) STRICT;
CREATE INDEX logs_of_camera ON logs (camera_id, id);
CREATE TABLE alert_rules (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    camera_id TEXT,
    metric TEXT NOT NULL,
    operator TEXT NOT NULL,
    threshold REAL NOT NULL,
    for_s INTEGER NOT NULL,
    severity TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;
CREATE TABLE changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    camera_id TEXT NOT NULL,
    time TEXT NOT NULL,
    action TEXT NOT NULL,
    previous_state TEXT,
    state TEXT,                          -- NULL when the camera is gone
    active INTEGER NOT NULL,
    auto_start INTEGER NOT NULL,
    since TEXT,
    last_error TEXT
) STRICT;
CREATE INDEX changes_of_camera ON changes (camera_id, seq);
"""


def timestamp(at: datetime) -> str:
    """The one way a time is written: UTC, milliseconds, `2025-10-31T08:00:00.000Z`; sorts as text."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Database:
    """One database file. Any thread may use it; each thread gets a connection of its own."""

    def __init__(self, directory: Path, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        """Open it, or make it. Raises StoreError, StoreBusyError."""
        self.path = directory / FILE_NAME
        self._busy_timeout_s = busy_timeout_s
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._opening = threading.Lock()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with locked(directory, busy_timeout_s):  # two services that start together make one schema
                self._make_schema()
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise StoreError(f"{self.path} can't be opened: {error}") from None

    def close(self) -> None:
        """Close the connections of all threads; none may be using one."""
        with self._opening:
            while self._opened:
                self._opened.pop().close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Several queries that see one moment. Raises StoreBusyError."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The only writer of all processes, until the block ends: committed, or undone if it raised.

        Raises StoreBusyError if another process keeps the lock.
        """
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        try:
            connection.execute(begin)
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()
        except sqlite3.OperationalError as error:
            if connection.in_transaction:
                connection.rollback()
            if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                message = "another process keeps the database locked; nothing was changed"
                raise StoreBusyError(message) from None
            raise

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self.path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
            )
            with self._opening:
                self._opened.append(connection)
            connection.row_factory = sqlite3.Row
            # WAL outlives a killed process with every commit; NORMAL may lose the last ones when the power fails.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            self._local.connection = connection
        return connection

    def _make_schema(self) -> None:
        connection = self._connection()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            message = (
                f"{self.path} has schema {version}, and this program knows {SCHEMA_VERSION}: it was made by a newer one"
            )
            raise StoreError(message)
        if version < SCHEMA_VERSION:
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


def newest_change(connection: sqlite3.Connection) -> int:
    """The number of the last change of any camera; 0 before the first."""
    row = connection.execute("SELECT max(seq) FROM changes").fetchone()
    return row[0] or 0


def trim(connection: sqlite3.Connection, camera_id: str) -> None:
    """Forget the oldest log lines of a camera and the oldest changes, within the transaction that added some."""
    connection.execute(
        "DELETE FROM logs WHERE camera_id = ? AND id <="
        " (SELECT id FROM logs WHERE camera_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (camera_id, camera_id, LOGS_KEPT),
    )
    connection.execute("DELETE FROM changes WHERE seq <= (SELECT max(seq) FROM changes) - ?", (CHANGES_KEPT,))
