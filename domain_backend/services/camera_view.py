"""CameraViewService: what a camera shows, and the news about it.

Owns: that only running cameras have a picture, and what happens when one loses it. Must not know: how pictures and news
reach a client.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from camera_data.errors import SourceError
from domain_backend.entities.camera import Camera, Move, State
from domain_backend.entities.journal import Change, Level
from domain_backend.entities.refusals import NotRunning, SourceUnavailable
from domain_backend.repositories.sources import Sources
from domain_backend.repositories.store import Store


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A camera, and the number of the last change that is contained in it."""

    camera: Camera
    seq: int
    at: datetime


@dataclass(frozen=True, slots=True)
class News:
    """The changes of one camera since a number; `missed` when some were forgotten meanwhile."""

    changes: list[Change]
    seq: int
    missed: bool


class CameraViewService:
    """Pictures and news."""

    def __init__(self, store: Store, sources: Sources, now: Callable[[], datetime]) -> None:
        self._store = store
        self._sources = sources
        self._now = now

    def running(self, camera_id: str) -> Camera:
        """Raises NotFound, NotRunning."""
        with self._store.reading() as view:
            camera = view.cameras.get(camera_id)
        if camera.state is not State.RUNNING:
            raise NotRunning(f"camera {camera_id!r} is {camera.state}: only a running camera has a picture")
        return camera

    def picture(self, camera: Camera) -> bytes:
        """JPEG, of now. Raises SourceError."""
        return self._sources.picture(camera, self._now())

    def lost(self, camera: Camera, error: SourceError) -> SourceUnavailable:
        """Note that a running camera has no picture any more, unless somebody has moved it since; what to tell a client."""
        with self._store.changing() as edit:
            if camera.id in edit.cameras:
                now = edit.cameras.get(camera.id)
                if now.state is State.RUNNING and now.attempt == camera.attempt:
                    failed = now.moved(Move.FAILED, self._now(), str(error))
                    edit.cameras.save(failed)
                    edit.journal.write(now.id, self._now(), f"lost its picture: {error}", Level.ERROR)
                    edit.journal.announce(failed, self._now(), "lost", now.state)
        return SourceUnavailable(f"camera {camera.id!r} has lost its picture: {error}")

    def snapshot(self, camera_id: str) -> Snapshot:
        """Raises NotFound."""
        with self._store.reading() as view:
            return Snapshot(view.cameras.get(camera_id), view.journal.newest(), self._now())

    def news(self, camera_id: str, seq: int) -> News:
        """What happened to the camera after change number `seq`."""
        with self._store.reading() as view:
            journal = view.journal
            return News(journal.beyond(camera_id, seq), journal.newest(), journal.oldest() > seq + 1)
