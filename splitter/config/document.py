"""YAML text -> plain values, with the line of each.

Owns: the dialect: YAML 1.2's core schema, in which `on`, `off`, `yes`, `12:30` and dates are text and only `true` and
`false` are booleans; PyYAML alone speaks YAML 1.1, where the key `on:` is read as true. JSON is part of it.
Must not know: which keys there are.
Invariants: a key that is there twice is a fault, not a silent choice; whatever the text, reading it ends: nesting, number of
values (after aliases are followed) and length are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from splitter.config.kinds import shown
from splitter.errors import Fault

Path = tuple[str | int, ...]
Tree = dict[str, object]

MAX_CHARACTERS: Final = 256 * 1024
MAX_DEPTH: Final = 32
MAX_VALUES: Final = 20_000
_SHOWN_KEY: Final = 64
_MAX_DIGITS: Final = 60
_PLAIN: Final = "tag:yaml.org,2002:"


class _Resolver(BaseResolver):
    """The core schema of YAML 1.2 (section 10.3.2)."""


for _tag, _form, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Resolver.add_implicit_resolver(_PLAIN + _tag, re.compile(f"(?:{_form})$", re.ASCII), list(_first))


class _Loader(Reader, Scanner, Parser, Composer, _Resolver):
    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        _Resolver.__init__(self)


@dataclass(slots=True)
class Document:
    """What a file holds: `tree` as plain values, the line of every path, what is wrong with the text itself.

    `unreadable`: paths whose value is one of those faults; they are None in the tree.
    """

    tree: Tree = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    unreadable: set[Path] = field(default_factory=set)

    def line_of(self, path: Path) -> int:
        """The line of a path, or of the nearest thing around it; 1 if the file is empty."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def dotted(path: Path) -> str:
    """`rollout.routes[0].percent`. A key nobody can print, or nobody would, is quoted or cut: the path stays one line."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if part.isprintable() and len(part) <= _SHOWN_KEY else shown(part)
            text += f".{name}" if text else name
    return text


class _StopError(Exception):
    """Reading can't go on: a sentence and its line."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class _Walk:
    """From nodes to values; follows aliases, so it counts what it makes."""

    def __init__(self, source: str) -> None:
        self.document = Document()
        self._source = source
        self._values = 0

    def fault(self, path: Path, message: str, line: int) -> None:
        self.document.faults.append(Fault(dotted(path), message, self._source, line))

    def value(self, node: yaml.Node, path: Path) -> object:
        line = node.start_mark.line + 1
        self.document.lines.setdefault(path, line)
        self._values += 1
        if self._values > MAX_VALUES or len(path) > MAX_DEPTH:
            what = f"more than {MAX_VALUES} values" if self._values > MAX_VALUES else f"more than {MAX_DEPTH} levels"
            raise _StopError(f"holds {what}, aliases followed; no configuration needs that", line)
        if not node.tag.startswith(_PLAIN) or node.tag.removeprefix(_PLAIN) not in _TAGS:
            self._unreadable(path, f"has the tag {node.tag}; tags are not used here", line)
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path, line)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> Tree:
        tree: Tree = {}
        for key, item in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.fault(path, "has a list or a mapping as a key", line)
                continue
            name = str(key.value)
            where = (*path, name)
            if name == "<<":
                self.fault(path, "merge keys (<<) are not part of YAML 1.2; write the keys out", line)
            elif name in tree:
                self.fault(where, f"is there twice, first on line {self.document.lines[where]}", line)
            else:
                self.document.lines[where] = line
                tree[name] = self.value(item, where)
        return tree

    def _unreadable(self, path: Path, message: str, line: int) -> None:
        self.fault(path, message, line)
        self.document.unreadable.add(path)

    def _scalar(self, node: yaml.Node, path: Path, line: int) -> object:
        text = str(node.value)
        try:
            return _TAGS[node.tag.removeprefix(_PLAIN)](text)
        except (ValueError, KeyError):
            self._unreadable(path, f"is no {_NAMES.get(node.tag, 'value')} that could be used", line)
            return None


def _bool(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _int(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError("too long")
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def _float(text: str) -> float:
    return float(text.replace(".inf", "inf").replace(".nan", "nan")) if "." in text[:2] else float(text)


_TAGS: Final[dict[str, Callable[[str], object]]] = {
    "bool": _bool,
    "int": _int,
    "float": _float,
    "null": lambda _text: None,
    "str": str,
    "map": str,
    "seq": str,
}


_NAMES: Final = {f"{_PLAIN}int": "whole number", f"{_PLAIN}float": "number", f"{_PLAIN}bool": "true or false"}


def read_document(text: str, source: str, example: str = "rollout") -> Document:
    """The values of a YAML text, a mapping with keys such as `example`.

    Never raises for what the text holds: `faults` says what is wrong with it.
    """
    walk = _Walk(source)
    try:
        node = _compose(text, example)
        if node is not None:
            tree = walk.value(node, ())
            walk.document.tree = tree if isinstance(tree, dict) else {}
    except _StopError as stop:
        walk.document.faults.append(Fault("", stop.message, source, stop.line))
    return walk.document


def _compose(text: str, example: str) -> yaml.MappingNode | None:
    """The text's top mapping; None if there is nothing in it. Raises _StopError."""
    if len(text) > MAX_CHARACTERS:
        raise _StopError(f"is longer than {MAX_CHARACTERS // 1024} KiB; no such file needs that", 0)
    try:
        node = _Loader(text).get_single_node()
    except ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        raise _StopError(f"has the character U+{ord(text[error.position]):04X}, which YAML does not allow", line) from None
    except yaml.MarkedYAMLError as error:
        raise _StopError(*_syntax(error)) from None
    except RecursionError:
        raise _StopError(f"is nested too deeply; at most {MAX_DEPTH} levels are read", 0) from None
    if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == _PLAIN + "null"):
        return None
    if not isinstance(node, yaml.MappingNode):
        what = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
        raise _StopError(f"must be a mapping, with lines such as `{example}: ...`, not {what}", node.start_mark.line + 1)
    return node


def _syntax(error: yaml.MarkedYAMLError) -> tuple[str, int]:
    """What is wrong with the text as YAML, in a sentence, and its line."""
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 0
    problem = error.problem or "it can't be read"
    if "\\t" in problem:
        return "a tab stands where blanks are wanted; YAML takes only blanks for indentation", line
    if "single document" in (error.context or ""):
        return "a second document begins here (---); only one is read", line
    if "could not find expected ':'" in problem:
        return "not valid YAML: here or on the line before, a colon or a closing quote or bracket is missing", line
    return f"not valid YAML: {problem}{f', {error.context}' if error.context else ''}", line
