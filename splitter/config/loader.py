"""From a file and the environment to a `Config`, or to the list of everything that is wrong.

Owns: the order of reading, giving faults their source and line, origins.
Must not know: what any key means.
Invariants: `parse` is pure; a ConfigError names every fault that can be seen at once, each once; no secret is in a fault.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any, Final

from pydantic import ValidationError

from splitter.config.checks import Clash, clashes
from splitter.config.document import MAX_CHARACTERS, Document, Path, Tree, dotted, read_document
from splitter.config.environment import VARIABLES, Overlay, lay_over, read_environment
from splitter.config.on_disk import file_clashes, unset_secrets
from splitter.config.schema import DEFAULT, Config, Given, leaves
from splitter.config.sections import Admin, Section
from splitter.config.sentences import sentences
from splitter.errors import ConfigError, Fault

Rules = Callable[[Config, frozenset[str]], Iterator[Clash]]
_MOST_BYTES: Final = MAX_CHARACTERS * 4


def load(path: FilePath | None, environ: Mapping[str, str]) -> Config:
    """The configuration of a file under an environment; without a file, of the environment alone.

    Raises ConfigError with everything that is wrong.
    """
    if path is None:
        return parse("", "no file", environ, _with_machine(environ))
    return parse(read_text(path), str(path), environ, _with_machine(environ))


def read_text(path: FilePath, most_bytes: int = _MOST_BYTES) -> str:
    """The text of a file, no more than `most_bytes` of it and one. Raises ConfigError."""
    source = str(path)
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except FileNotFoundError:
        raise ConfigError((Fault("", "there is no such file", source),)) from None
    except IsADirectoryError:
        raise ConfigError((Fault("", "is a directory, not a file", source),)) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError((Fault("", f"can't be read: {reason}", source),)) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError((Fault("", f"is not UTF-8: byte 0x{content[error.start]:02x}", source, line),)) from None


def _with_machine(environ: Mapping[str, str]) -> Rules:
    """All rules: also those about what is to be found on this machine."""

    def rules(config: Config, route_names: frozenset[str]) -> Iterator[Clash]:
        yield from clashes(config, route_names)
        yield from file_clashes(config)
        yield from unset_secrets(config, environ)

    return rules


def parse(text: str, source: str, environ: Mapping[str, str], rules: Rules = clashes) -> Config:
    """The configuration of a YAML text under an environment. `source` is what faults call the text.

    Raises ConfigError with everything that is wrong.
    """
    return _Reading(text, source, environ).config(rules)


class _Reading:
    """One text and one environment, on their way to a Config."""

    def __init__(self, text: str, source: str, environ: Mapping[str, str]) -> None:
        self._source = source
        names = (variable.name for variable in VARIABLES)
        self._given = Given(text, source, {name: environ[name] for name in names if name in environ})
        self._document: Document = read_document(text, source)
        self._overlay: Overlay = read_environment(environ)
        self._faults: list[Fault] = [*self._document.faults, *self._overlay.faults]
        self._faulty: list[Path] = [_undotted(fault.path) for fault in self._overlay.faults]

    def config(self, rules: Rules) -> Config:
        tree = self._document.tree
        self._refuse_environment_only(tree)
        lay_over(tree, self._overlay.values)
        names = _route_names(tree)
        config, kept = self._validate(tree)
        for clash in rules(config, names):
            paths = [kept.original(path) for path in clash.rests_on]
            if not any(_touches(path, faulty) for path in paths for faulty in self._faulty):
                self._fault(next(filter(self._is_given, paths), paths[0]), clash.message)
        if self._faults:
            raise ConfigError(tuple(sorted(self._faults, key=self._order)))
        return config.read_from(self._given, {leaf.path: self._origin(leaf.path) for leaf in leaves(config)})

    def _order(self, fault: Fault) -> tuple[bool, int]:
        return fault.source != self._source, fault.line

    def _is_given(self, path: Path) -> bool:
        return path in self._document.lines or self._overlay.name_of(path) is not None

    def _fault(self, path: Path, message: str) -> None:
        self._faulty.append(path)
        if path in self._document.unreadable:
            return  # that fault was told when the text was read
        name = self._overlay.name_of(path)
        if name:
            self._faults.append(Fault(dotted(path), message, name))
        else:
            self._faults.append(Fault(dotted(path), message, self._source, self._document.line_of(path)))

    def _origin(self, path: str) -> str:
        parts = _undotted(path)
        name = self._overlay.name_of(parts)
        if name:
            return f"env:{name}"
        return f"file:{self._document.lines[parts]}" if parts in self._document.lines else DEFAULT

    def _refuse_environment_only(self, tree: Tree) -> None:
        """Keys that only a variable may set: taken out of the file's tree, each with a fault."""
        places: tuple[tuple[object, Path, type[Section]], ...] = ((tree, (), Config), (tree.get("admin"), ("admin",), Admin))
        for place, prefix, section in places:
            for key, variable in section.environment_only.items():
                if isinstance(place, dict) and key in place:
                    del place[key]
                    message = f"can't be set in a file, only by the environment variable {variable}"
                    path = (*prefix, key)
                    self._faults.append(Fault(dotted(path), message, self._source, self._document.lines[path]))

    def _validate(self, tree: Tree) -> tuple[Config, _Kept]:
        """The configuration, and faults noted. What has a fault is left out and the rest read again, so that checks between
        values see as much as there is; only the first reading's faults count, the others follow from leaving out."""
        kept = _Kept()
        first = True
        while True:
            try:
                return Config.model_validate(tree), kept
            except ValidationError as error:
                details = error.errors(include_url=False)
            removals: set[Path] = set()
            for detail in details:
                for path, message in sentences(detail):
                    if first:
                        self._fault(path, message)
                    location = tuple(detail["loc"])
                    removals.add(location[:-1] if detail["type"] == "missing" else location)
            first = False
            for path in sorted(removals, key=_by_position, reverse=True):
                kept.remove(tree, path)


def _by_position(path: Path) -> tuple[tuple[int, str], ...]:
    return tuple((part, "") if isinstance(part, int) else (-1, part) for part in path)


class _Kept:
    """Removes parts of a tree and remembers which items of lists went, so that indexes can be told in the file's count."""

    def __init__(self) -> None:
        self._gone: dict[Path, set[int]] = {}

    def remove(self, tree: Tree, path: Path) -> None:
        inner: Any = tree
        for part in path[:-1]:
            try:
                inner = inner[part]
            except (KeyError, IndexError, TypeError):
                return  # what it was in is gone
        original = self.original(path)
        if not path:
            tree.clear()
        elif isinstance(inner, dict):
            inner.pop(path[-1], None)
        elif isinstance(inner, list) and isinstance(path[-1], int) and path[-1] < len(inner):
            del inner[path[-1]]
            self._gone.setdefault(original[:-1], set()).add(typing.cast(int, original[-1]))

    def original(self, path: Path) -> Path:
        """A path as it was before anything was removed."""
        before: Path = ()
        for part in path:
            place = part
            if isinstance(part, int):
                gone = self._gone.get(before, set())
                standing = (index for index in range(part + len(gone) + 1) if index not in gone)
                place = next(index for count, index in enumerate(standing) if count == part)
            before = (*before, place)
        return before


def _touches(one: Path, other: Path) -> bool:
    """Whether one path is the other or lies within it."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _undotted(path: str) -> Path:
    parts: list[str | int] = []
    for piece in path.split("."):
        name, *indexes = piece.split("[")
        parts.append(name)
        parts.extend(int(index.rstrip("]")) for index in indexes)
    return tuple(parts)


def _route_names(tree: Tree) -> frozenset[str]:
    rollout = tree.get("rollout")
    routes = rollout.get("routes") if isinstance(rollout, dict) else None
    items = routes if isinstance(routes, list) else []
    return frozenset(item["name"] for item in items if isinstance(item, dict) and isinstance(item.get("name"), str))
