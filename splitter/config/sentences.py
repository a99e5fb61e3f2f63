"""The schema's complaints, as sentences a person understands.

Owns: the words for a fault of structure (unknown key, missing key, a list where a mapping belongs) and the suggestions.
Must not know: files, lines, the environment; single values word their own faults (kinds).
Invariant: every complaint becomes at least one sentence with the path it is about; no secret is repeated.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from splitter.config.document import Path, dotted
from splitter.config.kinds import PartsError, did_you_mean, shown
from splitter.config.schema import Config, key_of
from splitter.config.sections import Section


def sentences(detail: ErrorDetails, root: type[Section] = Config) -> Iterator[tuple[Path, str]]:
    """What one complaint of the schema `root` means: path and sentence, several for a list or a mapping of values."""
    path: Path = tuple(detail["loc"])
    kind, given = detail["type"], detail.get("input")
    error = detail.get("ctx", {}).get("error")
    if isinstance(error, PartsError):
        for part, message in error.faults:
            yield (*path, part), message
    elif isinstance(error, ValueError):
        yield path, str(error)
    elif kind == "missing":
        yield path, "is required"
    elif kind == "extra_forbidden":
        yield path, _unknown(path, root)
    elif kind in ("tuple_type", "list_type"):
        yield path, f"must be a list, not {shown(given)}"
    else:
        yield path, f"must be a mapping, such as {{{_example(path, root)}: ...}}, not {shown(given)}"


def _example(path: Path, root: type[Section]) -> str:
    return next(iter(_keys(_section_at(path, root))), "key")


def _keys(section: type[Section]) -> list[str]:
    return [
        key_of(name, field)
        for name, field in section.model_fields.items()
        if key_of(name, field) not in section.environment_only
    ]


def _section_at(path: Path, root: type[Section]) -> type[Section]:
    """The section a path leads to."""
    section = root
    for part in path:
        for name, field in section.model_fields.items():
            if key_of(name, field) == part:
                inner = sections_in(field.annotation)
                section = inner or section
    return section


def sections_in(annotation: Any) -> type[Section] | None:
    """The section a field holds, itself or as items of a list; None if it holds a value."""
    for candidate in (annotation, *typing.get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return typing.cast(type[Section], candidate)
    return None


def _unknown(path: Path, root: type[Section]) -> str:
    key = str(path[-1])
    keys = _keys(_section_at(path[:-1], root))
    near = did_you_mean(key, keys)
    if near:
        return f"unknown key{near}"
    elsewhere = [place for place in _all_keys(root, ()) if place.rpartition(".")[2] == key]
    if elsewhere:
        highest = min(place.count(".") for place in elsewhere)
        return f"unknown key; did you mean {' or '.join(place for place in elsewhere if place.count('.') == highest)}?"
    return f"unknown key; known here: {', '.join(keys)}"


def _all_keys(section: type[Section], prefix: Path) -> Iterator[str]:
    for name, field in section.model_fields.items():
        path = (*prefix, key_of(name, field))
        yield dotted(path)
        inner = sections_in(field.annotation)
        if inner:
            yield from _all_keys(inner, path)
