"""The environment, which beats the file.

Owns: which variable sets which key, and how its text becomes what a file would hold there.
Must not know: the file, whether a value is allowed (the schema does).
Invariants: a variable that is unset, empty or blank changes nothing; a variable sets its keys whatever the file says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from splitter.config.addresses import split_host_port
from splitter.config.document import Path, Tree, dotted
from splitter.errors import Fault

Values = dict[Path, object]
CONFIG_VARIABLE: Final = "SPLITTER_CONFIG"
"""Names the file. Read by the command line, not here."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable: the path it sets (of a section, for addresses), what it holds, how it is read."""

    name: str
    path: Path
    holds: str
    read: Callable[[Path, str], Values]


def _text(path: Path, text: str) -> Values:
    return {path: text}


def _whole_number(path: Path, text: str) -> Values:
    return {path: int(text) if text.isascii() and text.isdigit() and len(text) < 20 else text}


def _list(path: Path, text: str) -> Values:
    return {path: [item.strip() for item in text.split(",")]}


def _address(path: Path, text: str) -> Values:
    host, port = split_host_port(text)
    return {(*path, "host"): host, (*path, "port"): port}


VARIABLES: Final = (
    Variable("SPLITTER_ENGINE", ("engine",), "`relay`", _text),
    Variable("SPLITTER_LISTEN", ("listen",), "`host:port`, `[::1]:port` or `unix:/path`", _address),
    Variable("SPLITTER_WORKERS", ("listen", "workers"), "`auto` or a whole number", _whole_number),
    Variable("SPLITTER_ADMIN_LISTEN", ("admin",), "`host:port`, `[::1]:port` or `unix:/path`", _address),
    Variable("SPLITTER_ADMIN_TOKEN", ("admin", "token"), "the token; there is no key for it in the file", _text),
    Variable("LEGACY_URL", ("backends", "legacy", "urls"), "URLs, separated by commas", _list),
    Variable("DOMAIN_URL", ("backends", "domain", "urls"), "URLs, separated by commas", _list),
    Variable("USE_DOMAIN_SERVICE", ("rollout", "use_domain_service"), "true/false, yes/no, on/off, 1/0 in any case", _text),
    Variable("ROLLOUT_PERCENT", ("rollout", "percent"), "percent from 0 to 100, two decimals", _text),
    Variable("SPLITTER_STATE_URL", ("state", "url"), "`file:PATH` or `redis://...`", _text),
    Variable(
        "SPLITTER_LOG_LEVEL",
        ("log_level",),
        "`debug`, `info`, `warning` or `error`; there is no key for it in the file",
        _text,
    ),
)


@dataclass(slots=True)
class Overlay:
    """What the environment sets: values by path, the variable behind each, and variables that can't be read."""

    values: Values = field(default_factory=dict)
    names: dict[Path, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def name_of(self, path: Path) -> str | None:
        """The variable that set a path or something around it."""
        while path:
            if path in self.names:
                return self.names[path]
            path = path[:-1]
        return None


def read_environment(environ: Mapping[str, str]) -> Overlay:
    """What of the configuration is in the environment."""
    overlay = Overlay()
    for variable in VARIABLES:
        text = environ.get(variable.name, "").strip()
        if not text:
            continue
        if variable.name == "SPLITTER_LOG_LEVEL":
            text = text.lower()
        try:
            values = variable.read(variable.path, text)
        except ValueError as error:
            overlay.faults.append(Fault(dotted(variable.path), str(error), variable.name))
            continue
        overlay.values.update(values)
        overlay.names.update(dict.fromkeys(values, variable.name))
    return overlay


def lay_over(tree: Tree, values: Values) -> None:
    """Put the environment's values into the file's tree. None takes a key out, as a port when the host is a socket."""
    for path, value in values.items():
        *sections, key = path
        inner: object = tree
        for section in sections:
            if not isinstance(inner, dict):
                break
            if inner.get(section) is None:
                inner[section] = {}
            inner = inner[section]
        if not isinstance(inner, dict):
            continue  # the file has no section here but something else: a fault the schema will name
        if value is None:
            inner.pop(key, None)
        else:
            inner[key] = value
