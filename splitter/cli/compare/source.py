"""Where the requests come from: a list, an OpenAPI document, a HAR file or an access log.

Owns: telling these four apart, and their bounds. Must not know: what is in any of them.
Invariant: a file is read as one kind only; what is none of the four is refused with what it lacks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from splitter.cli.compare.openapi import read_openapi
from splitter.cli.compare.recorded import Choice, read_access_log, read_har
from splitter.cli.compare.request_list import read_request_list
from splitter.cli.compare.steps import Format, Plan
from splitter.config.loader import read_text
from splitter.errors import ConfigError, Fault

_BYTES_MAX: Final = 64 << 20


def read_plan(path: Path, kind: Format | None, choice: Choice, given: Mapping[str, str]) -> Plan:
    """The requests of a file; `kind` None: told by what is in it. Raises ConfigError."""
    source = str(path)
    text = read_text(path, _BYTES_MAX)
    if len(text) > _BYTES_MAX:
        raise ConfigError((Fault("", f"is larger than {_BYTES_MAX >> 20} MiB: take a part of it", source),))
    kind = kind or _kind_of(text)
    if kind is Format.LOG:
        return read_access_log(text.splitlines(), source, choice)
    if kind is Format.HAR:
        return read_har(text, source, choice)
    if kind is Format.OPENAPI:
        return read_openapi(_document(text, source), source, choice, given)
    return read_request_list(text, source, choice.repeat)


def _kind_of(text: str) -> Format:
    """By the first line when that is JSON of its own, else by the top-level keys."""
    first = text.lstrip()[:65536].partition("\n")[0]
    try:
        line = json.loads(first)
    except (ValueError, RecursionError):
        line = None
    if isinstance(line, dict) and "event" in line:
        return Format.LOG
    head = text[:4096]
    if '"log"' in head and '"entries"' in text:
        return Format.HAR
    if any(word in head for word in ("openapi:", '"openapi"', "swagger:", '"swagger"')):
        return Format.OPENAPI
    return Format.LIST


def _document(text: str, source: str) -> dict[str, Any]:
    try:
        document = yaml.load(text, yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)  # noqa: S506 - both safe
    except yaml.YAMLError as error:
        raise ConfigError((Fault("", f"is neither YAML nor JSON: {error}".replace("\n", " "), source),)) from None
    except RecursionError:
        raise ConfigError((Fault("", "is nested too deeply", source),)) from None
    if not isinstance(document, dict):
        raise ConfigError((Fault("", "must be a mapping", source),))
    return document
