"""CameraControlService: moves cameras through their lives.

Owns: what a move consists of. Must not know: which moves are legal; the entity says.
Invariant: a move that is refused has changed nothing, except that a start without a picture ends in `error`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from domain_backend.entities.camera import Camera, Move, State
from domain_backend.entities.journal import Level
from domain_backend.entities.refusals import IllegalMove, Refusal, SourceUnavailable
from domain_backend.repositories.sources import Sources
from domain_backend.repositories.store import Store


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move did."""

    action: str
    previous: State
    camera: Camera


class CameraControlService:
    """Start, stop and switch cameras."""

    def __init__(self, store: Store, sources: Sources, now: Callable[[], datetime]) -> None:
        self._store = store
        self._sources = sources
        self._now = now

    def start(self, camera_id: str) -> Moved:
        """Raises NotFound, Inactive, IllegalMove, SourceUnavailable."""
        return self._start(camera_id, Move.START)

    def restart(self, camera_id: str) -> Moved:
        """Also starts a camera that does not run. Raises NotFound, Inactive, IllegalMove, SourceUnavailable."""
        return self._start(camera_id, Move.RESTART)

    def stop(self, camera_id: str) -> Moved:
        """Raises NotFound, IllegalMove."""
        with self._store.changing() as edit:
            before = edit.cameras.get(camera_id)
            camera = before.moved(Move.STOP, self._now())
            edit.cameras.save(camera)
            edit.journal.write(camera_id, self._now(), f"stop from {before.state}")
            edit.journal.announce(camera, self._now(), "stop", before.state)
        return Moved("stop", before.state, camera)

    def activate(self, camera_id: str) -> Moved:
        """Raises NotFound."""
        return self._set(camera_id, "activate", lambda camera: camera.moved(Move.ACTIVATE, self._now()))

    def deactivate(self, camera_id: str) -> Moved:
        """Stops it, too. Raises NotFound."""
        return self._set(camera_id, "deactivate", lambda camera: camera.moved(Move.DEACTIVATE, self._now()))

    def set_auto_start(self, camera_id: str, enabled: bool) -> Moved:
        """Raises NotFound."""
        note = f"auto-start {'on' if enabled else 'off'}"
        return self._set(camera_id, "auto-start", lambda camera: replace(camera, auto_start=enabled), note)

    def start_automatic(self) -> None:
        """What a service does when it starts. If the other does the same at this moment, each camera is started once."""
        with self._store.reading() as view:
            cameras = view.cameras.all()
        for camera in cameras:
            try:
                if camera.was_interrupted(self._now()):
                    self._finish(camera, Move.START, "the start was interrupted")
                    camera = replace(camera, state=State.ERROR)  # noqa: PLW2901 - the same camera, a moment later
                if camera.wants_auto_start():
                    self.start(camera.id)
            except Refusal:
                continue  # the camera's own log has the reason

    def _start(self, camera_id: str, move: Move) -> Moved:
        with self._store.changing() as edit:
            before = edit.cameras.get(camera_id)
            starting = before.moved(move, self._now())
            edit.cameras.save(starting)
            edit.journal.write(camera_id, self._now(), f"{move} from {before.state}")
            edit.journal.announce(starting, self._now(), move, before.state)
        fault = self._sources.fault(starting)  # outside the locks: it reads a file that may be large
        camera = self._finish(starting, move, fault)
        if fault:
            raise SourceUnavailable(f"camera {camera_id!r} can't be {move}ed: {fault}")
        return Moved(move, before.state, camera)

    def _finish(self, starting: Camera, move: Move, fault: str | None) -> Camera:
        with self._store.changing() as edit:
            now = edit.cameras.get(starting.id)
            if now.state is not State.STARTING or now.attempt != starting.attempt:
                message = f"camera {now.id!r} was moved by somebody else while it was starting; it is {now.state} now"
                raise IllegalMove(message)
            camera = now.moved(Move.FAILED if fault else Move.STARTED, self._now(), fault)
            edit.cameras.save(camera)
            if fault:
                edit.journal.write(camera.id, self._now(), f"{move} failed: {fault}", Level.ERROR)
            else:
                edit.journal.write(camera.id, self._now(), "running")
            edit.journal.announce(camera, self._now(), move, now.state)
        return camera

    def _set(self, camera_id: str, action: str, change: Callable[[Camera], Camera], note: str | None = None) -> Moved:
        """A setting: what is so already is no error, and nobody is told."""
        with self._store.changing() as edit:
            before = edit.cameras.get(camera_id)
            camera = change(before)
            if camera != before:
                edit.journal.write(camera_id, self._now(), f"{note or action} in {before.state}")
                edit.journal.announce(camera, self._now(), action, before.state)
                edit.cameras.save(camera)
        return Moved(action, before.state, camera)
