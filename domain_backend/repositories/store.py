"""One transaction over the camera file and the database.

Owns: the order of the locks, and what belongs together. Must not know: what is done meanwhile.
Invariant: whoever changes something holds the file's lock first and the database's second, as the old service does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from camera_data.camera_file import CameraFile
from camera_data.database import Database
from domain_backend.repositories.alert_rules import AlertRuleRepository
from domain_backend.repositories.cameras import CameraEditor, CameraRepository
from domain_backend.repositories.journal import Journal


@dataclass(frozen=True, slots=True)
class View:
    """Everything, at one moment. `file_fault` is what is wrong with the camera file, if it was broken meanwhile."""

    cameras: CameraRepository
    journal: Journal
    rules: AlertRuleRepository
    file_fault: str | None


@dataclass(frozen=True, slots=True)
class Edit:
    """Everything, and nobody else changes it."""

    cameras: CameraEditor
    journal: Journal
    rules: AlertRuleRepository


class Store:
    """The file and the database as one."""

    def __init__(self, camera_file: CameraFile, database: Database) -> None:
        self._camera_file = camera_file
        self._database = database

    @contextmanager
    def reading(self) -> Iterator[View]:
        """Raises CameraFileError, StoreBusyError."""
        with self._database.reading() as sql:
            # The database is looked at first: a change between the two is then still to come for who follows.
            journal = Journal(sql)
            journal.newest()
            definitions, fault = self._camera_file.read_or_last_good()
            yield View(CameraRepository(sql, definitions), journal, AlertRuleRepository(sql), fault)

    @contextmanager
    def changing(self) -> Iterator[Edit]:
        """Committed at the end of the block, or undone if it raised. Raises CameraFileError, StoreBusyError."""
        with self._camera_file.locked() as file, self._database.writing() as sql:
            yield Edit(CameraEditor(sql, file), Journal(sql), AlertRuleRepository(sql))
