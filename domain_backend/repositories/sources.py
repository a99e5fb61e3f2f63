"""Where pictures come from.

Owns: reaching a camera's source. Must not know: which cameras run.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from camera_data.errors import SourceError
from camera_data.picture import check_source, picture
from domain_backend.entities.camera import Camera
from domain_backend.repositories.cameras import definition_of


class Sources:
    """Pictures of cameras; files are looked for below `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def fault(self, camera: Camera) -> str | None:
        """Why the camera would give no picture; None if it would."""
        try:
            check_source(definition_of(camera), self._directory)
        except SourceError as error:
            return str(error)
        return None

    def picture(self, camera: Camera, at: datetime) -> bytes:
        """JPEG. Raises SourceError."""
        return picture(definition_of(camera), self._directory, at)
