"""One camera as the camera file defines it.

Owns: the fields, their defaults and limits, and the check of what a file says. Must not know: where the text came from,
and what a request may say (each service checks that by its own rules, against the limits here).
Invariant: a CameraDefinition is always valid.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import PurePosixPath
from typing import Any

TEST_SOURCE = "testsrc"
ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
RESERVED_IDS = frozenset({"batch-status", "refresh"})  # paths of the API beside /cameras/{camera_id}
NAME_CHARS = (1, 100)
FPS = (1, 25)
WIDTH_PX = (64, 1920)
HEIGHT_PX = (48, 1080)
DEFAULT_FPS = 5
DEFAULT_WIDTH_PX = 640
DEFAULT_HEIGHT_PX = 360

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 80


@dataclass(frozen=True, slots=True)
class CameraDefinition:
    """`source` is `testsrc` or the path of a picture below the camera file's directory."""

    id: str
    name: str
    source: str
    active: bool = True
    auto_start: bool = False
    fps: int = DEFAULT_FPS
    width_px: int = DEFAULT_WIDTH_PX
    height_px: int = DEFAULT_HEIGHT_PX

    def document(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)

    def entry(self) -> dict[str, Any]:
        """The fields a person would write into the file: fps and size only where they are not the usual ones."""
        usual = {"fps": DEFAULT_FPS, "width_px": DEFAULT_WIDTH_PX, "height_px": DEFAULT_HEIGHT_PX}
        return {name: value for name, value in asdict(self).items() if name not in usual or usual[name] != value}


FIELDS = tuple(field.name for field in fields(CameraDefinition))


def shown(value: object) -> str:
    """A value as it may stand in a message: the beginning and the end of it, when it is long."""
    return _SHORT.repr(value)


def definition_of(entry: Mapping[str, Any]) -> tuple[CameraDefinition | None, list[str]]:
    """What an entry of the file says, or every fault in it. Keys it does not know are somebody else's, not faults."""
    known = {name: entry[name] for name in FIELDS if name in entry}
    faults = [f"{name} is missing" for name in ("id", "name", "source") if name not in known]
    for name, value in known.items():
        fault = fault_of(name, value)
        if fault:
            faults.append(f"{name} {fault}")
    return (None, faults) if faults else (CameraDefinition(**known), [])


def fault_of(name: str, value: object) -> str | None:
    """Why a field of a definition can't have this value, as the end of a sentence; None if it can."""
    if name in {"active", "auto_start"}:
        return None if isinstance(value, bool) else f"must be true or false, not {shown(value)}"
    if name in {"fps", "width_px", "height_px"}:
        low, high = {"fps": FPS, "width_px": WIDTH_PX, "height_px": HEIGHT_PX}[name]
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return None
        return f"must be a whole number from {low} to {high}, not {shown(value)}"
    if not isinstance(value, str):
        return f"must be text, not {shown(value)}"
    return {"id": _id_fault, "name": _name_fault, "source": source_fault}[name](value)


def _id_fault(text: str) -> str | None:
    if not ID_PATTERN.fullmatch(text):
        return f"must be 1 to 64 letters, digits, '.', '_' or '-' that begin with a letter or a digit, not {shown(text)}"
    return f"{shown(text)} is a path of the API" if text in RESERVED_IDS else None


def _name_fault(text: str) -> str | None:
    low, high = NAME_CHARS
    return None if low <= len(text.strip()) and len(text) <= high else f"must have {low} to {high} characters"


def source_fault(text: str) -> str | None:
    """A request may name a source too, so nothing outside the camera file's directory may be reachable by one."""
    path = PurePosixPath(text)
    if text == TEST_SOURCE:
        return None
    if "://" in text or not text.strip() or "\0" in text:
        return f"must be {TEST_SOURCE!r} or the path of a picture, not {shown(text)}"
    if path.is_absolute() or ".." in path.parts or len(text) > 255:
        return f"must be a path below the camera file's directory, not {shown(text)}"
    return None
