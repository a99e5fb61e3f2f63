"""The camera file: read fresh, changed under a lock, replaced as a whole.

Owns: the file's bytes. Must not know: run state, HTTP, who wants a change.
Invariants: whoever opens the file at any moment finds a complete one; a change keeps everything it does not touch, also
keys and comments that mean nothing here; two processes that change it at once both get their change in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from camera_data import yaml_edit
from camera_data.definition import CameraDefinition, definition_of
from camera_data.errors import CameraFileError
from camera_data.filelock import locked

LOCK_TIMEOUT_S = 5.0
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is there

Definitions = Mapping[str, CameraDefinition]
_Signature = tuple[int, int, int]


def parse(text: str, where: str) -> Definitions:
    """The cameras in a file's text, in its order. Raises CameraFileError that lists every fault."""
    try:
        document = yaml.load(text, Loader=_LOADER)  # noqa: S506 - either loader is a safe one
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise CameraFileError(f"{where} is not YAML: {' '.join(str(error).split())}") from None
    entries = document.get("cameras") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise CameraFileError(f"{where}: 'cameras' must be there and be a list")
    cameras: dict[str, CameraDefinition] = {}
    faults: list[str] = []
    for position, entry in enumerate(entries):
        place = f"cameras[{position}]"
        if not isinstance(entry, dict):
            faults.append(f"{place} must be a mapping with id, name and source")
            continue
        camera, wrong = definition_of(entry)
        faults += [f"{place}: {fault}" for fault in wrong]
        if camera and camera.id in cameras:
            faults.append(f"{place}: id {camera.id!r} is there twice")
        elif camera:
            cameras[camera.id] = camera
    if faults:
        raise CameraFileError("\n".join(f"{where}: {fault}" for fault in faults))
    return MappingProxyType(cameras)


class CameraFile:
    """The definitions in one file. Every method may be called from any thread."""

    def __init__(self, path: Path, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        self.path = path
        self._lock_timeout_s = lock_timeout_s
        self._seen: tuple[_Signature, Definitions] | None = None

    @property
    def directory(self) -> Path:
        """Sources are relative to it."""
        return self.path.parent

    def read(self) -> Definitions:
        """What the file says now. Raises CameraFileError."""
        try:
            before = _signature(self.path)
            seen = self._seen
            if seen and seen[0] == before:
                return seen[1]
            text = self.path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CameraFileError(f"{self.path} can't be read: {_reason(error)}") from None
        definitions = parse(text, str(self.path))
        self._seen = (before, definitions)  # a write in between shows as another signature next time
        return definitions

    def read_or_last_good(self) -> tuple[Definitions, str | None]:
        """What the file says, or said before somebody broke it, and then also what is wrong with it now.

        Raises CameraFileError if it was never good.
        """
        try:
            return self.read(), None
        except CameraFileError as error:
            if self._seen is None:
                raise
            return self._seen[1], str(error)

    @contextmanager
    def locked(self) -> Iterator[FileEdit]:
        """Nobody else changes the file, nor moves a camera, meanwhile. Raises CameraFileError, StoreBusyError."""
        target = self.path.resolve()  # through a link to the file itself: the link stays
        with ExitStack() as held:
            try:
                held.enter_context(locked(target.parent, self._lock_timeout_s))
            except OSError as error:
                raise CameraFileError(f"{target.parent} can't be locked: {_reason(error)}") from None
            yield FileEdit(target, *self.read_or_last_good())


class FileEdit:
    """The right to change the file, as long as the lock is held. Each call is one atomic replacement.

    A file that somebody broke can still be looked at as it last was, but not changed: that would undo their work.
    """

    def __init__(self, path: Path, definitions: Definitions, fault: str | None = None) -> None:
        self._path = path
        self.cameras = definitions
        self._fault = fault

    def check(self) -> None:
        """Raises CameraFileError if `cameras` is not what the file says now."""
        if self._fault:
            raise CameraFileError(self._fault)

    def put(self, camera: CameraDefinition) -> None:
        """Add a camera, or change one in place. Raises CameraFileError."""
        self.check()
        old = self.cameras.get(camera.id)
        if old is None:
            self._write(yaml_edit.with_camera(self._text(), camera.entry()))
        elif old != camera:
            before = old.document()
            fields = {name: value for name, value in camera.document().items() if before[name] != value}
            self._write(yaml_edit.with_fields(self._text(), camera.id, fields))

    def remove(self, camera_id: str) -> None:
        """Raises CameraFileError; KeyError if there is no such camera."""
        self.check()
        _ = self.cameras[camera_id]
        self._write(yaml_edit.without_camera(self._text(), camera_id))

    def _text(self) -> str:
        return self._path.read_bytes().decode("utf-8")

    def _write(self, text: str) -> None:
        definitions = parse(text, str(self._path))
        try:
            replace(self._path, text.encode("utf-8"))
        except OSError as error:
            raise CameraFileError(f"{self._path} can't be replaced: {_reason(error)}") from None
        self.cameras = definitions


def replace(path: Path, content: bytes) -> None:
    """A complete new file in place of the old one, or the old one untouched, even if the power fails. Raises OSError."""
    temporary = path.with_name(f".{path.name}.new")  # one name: what a crash left is overwritten by the next change
    try:
        with temporary.open("wb") as file:
            os.fchmod(file.fileno(), path.stat().st_mode & 0o7777)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the rename itself
    finally:
        os.close(directory)


def _signature(path: Path) -> _Signature:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else f"it is not UTF-8 ({error.reason})"
