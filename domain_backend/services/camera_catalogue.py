"""CameraCatalogueService: which cameras there are, and what is known about them.

Owns: adding, changing, removing cameras, and bringing the run state into line with a file edited by hand.
Must not know: how a camera is started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from domain_backend.entities.camera import Camera, Move, State
from domain_backend.entities.journal import LogPage
from domain_backend.repositories.cameras import definition_of
from domain_backend.repositories.store import Edit, Store


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What was found in the file that no service had put there."""

    added: list[str]
    removed: list[str]
    changed: list[str]
    total: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What health says about the cameras."""

    total: int
    running: int
    file_fault: str | None


class CameraCatalogueService:
    """List, create, change, delete, refresh."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    def all(self) -> list[Camera]:
        """In the order of the file."""
        with self._store.reading() as view:
            return view.cameras.all()

    def get(self, camera_id: str) -> Camera:
        """Raises NotFound."""
        with self._store.reading() as view:
            return view.cameras.get(camera_id)

    def some(self, camera_ids: Iterable[str]) -> tuple[list[Camera], list[str]]:
        """Each once, in the order asked for; and the ids that nothing has."""
        wanted = list(dict.fromkeys(camera_ids))
        with self._store.reading() as view:
            found = [view.cameras.get(camera_id) for camera_id in wanted if camera_id in view.cameras]
            return found, [camera_id for camera_id in wanted if camera_id not in view.cameras]

    def logs(self, camera_id: str, limit: int, offset: int) -> LogPage:
        """The newest first. Raises NotFound."""
        with self._store.reading() as view:
            return view.journal.page(view.cameras.get(camera_id).id, limit, offset)

    def summary(self) -> Summary:
        """Counts, for health."""
        with self._store.reading() as view:
            cameras = view.cameras.all()
            return Summary(len(cameras), sum(camera.state is State.RUNNING for camera in cameras), view.file_fault)

    def create(self, camera: Camera) -> Camera:
        """Raises Duplicate."""
        with self._store.changing() as edit:
            camera = replace(camera, since=self._now())
            edit.journal.write(camera.id, self._now(), "created")
            edit.journal.announce(camera, self._now(), "create", None)
            edit.cameras.add(camera)
        return camera

    def update(self, camera_id: str, fields: Mapping[str, Any]) -> Camera:
        """Other values for some fields of the definition. Raises NotFound."""
        with self._store.changing() as edit:
            before = edit.cameras.get(camera_id)
            camera = replace(before, **fields)
            if camera != before:
                camera = camera.found_switched_off(self._now())
                edit.journal.write(camera_id, self._now(), f"updated in {before.state}")
                edit.journal.announce(camera, self._now(), "update", before.state)
                edit.cameras.save(camera)
        return camera

    def delete(self, camera_id: str) -> None:
        """With its log; rules about it are kept, disabled. Raises NotFound, IllegalMove."""
        with self._store.changing() as edit:
            camera = edit.cameras.get(camera_id)
            camera.moved(Move.DELETE, self._now())
            self._forget(edit, camera, "delete")

    def refresh(self) -> Refreshed:
        """Raises CameraFileError if the file makes no sense; then nothing is changed."""
        with self._store.changing() as edit:
            edit.cameras.check_file()
            known = {camera.id: camera for camera in edit.cameras.last_known()}
            cameras = edit.cameras.all()
            added = [camera.id for camera in cameras if camera.id not in known]
            changed = [
                camera.id
                for camera in cameras
                if camera.id in known and definition_of(known[camera.id]) != definition_of(camera)
            ]
            removed = [camera_id for camera_id in known if camera_id not in edit.cameras]
            for camera_id in removed:
                self._forget(edit, known[camera_id], "refresh")
            for camera_id in added + changed:
                self._take_over(edit, edit.cameras.get(camera_id), known.get(camera_id))
            return Refreshed(added, removed, changed, len(cameras))

    def _take_over(self, edit: Edit, camera: Camera, known: Camera | None) -> None:
        if known is None:
            camera = replace(camera, since=self._now())
        camera = camera.found_switched_off(self._now())
        edit.cameras.save(camera)
        edit.journal.write(camera.id, self._now(), f"{'changed' if known else 'found'} in the camera file")
        edit.journal.announce(camera, self._now(), "refresh", known.state if known else None)

    def _forget(self, edit: Edit, camera: Camera, action: str) -> None:
        edit.journal.forget(camera.id)
        edit.rules.disable_those_of(camera.id, self._now())
        edit.journal.announce(camera, self._now(), action, camera.state, gone=True)
        edit.cameras.remove(camera)
