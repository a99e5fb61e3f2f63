"""Requests out of an OpenAPI document: one for each operation whose parameters have values.

Owns: reading such a document into a plan. Must not know: how requests are sent.
Invariants: no value is made up: it is given on the command line, or stands in the document as an example or a default; an
operation without one is left out, and told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

from splitter.cli.compare.recorded import UNSAFE, Choice
from splitter.cli.compare.steps import NO_JSON, SAFE_METHODS, Plan, Scenario, Step, printable
from splitter.errors import ConfigError, Fault

_METHODS: Final = ("get", "head", "options", "post", "put", "patch", "delete")
_REFERENCES_MAX: Final = 16
_MISSING: Final = object()
_IN_PATHS: Final = "/:@!$&'()*+,;=-._~%"
"""What RFC 3986 section 3.3 lets stand in a path as it is, and what is quoted already."""


class _LeftOutError(Exception):
    """Why an operation can't be sent."""


def read_openapi(document: Mapping[str, Any], source: str, choice: Choice, given: Mapping[str, str]) -> Plan:
    """The operations of a document (OpenAPI 3, Swagger 2). `given`: values of parameters by name.

    Raises ConfigError when there is none that could be sent.
    """
    paths = document.get("paths")
    if not isinstance(paths, dict):
        raise ConfigError((Fault("paths", "must be a mapping from paths to operations", source),))
    reading = _Reading(document, choice, given)
    scenarios, skipped = [], []
    for path, item in paths.items():
        if not isinstance(item, dict):
            continue
        for method in _METHODS:
            operation = item.get(method)
            if not isinstance(operation, dict):
                continue
            name = f"{method.upper()} {path}"
            try:
                scenarios.append(Scenario((reading.step(method.upper(), str(path), item, operation),)))
            except _LeftOutError as why:
                skipped.append((printable(name), str(why)))
    if not scenarios:
        reasons = "; ".join(sorted({why for _, why in skipped})) or "it has no operations"
        raise ConfigError((Fault("paths", f"there is nothing that could be sent: {reasons}", source),))
    info = document.get("info")
    title = info.get("title") if isinstance(info, dict) else None
    return Plan(printable(str(title or source)), tuple(scenarios), tuple(skipped), choice.mask)


class _Reading:
    """One document on its way to a plan."""

    def __init__(self, document: Mapping[str, Any], choice: Choice, given: Mapping[str, str]) -> None:
        self._document = document
        self._choice = choice
        self._given = given
        self._prefix = _base_path(document)

    def step(self, method: str, path: str, item: Mapping[str, Any], operation: Mapping[str, Any]) -> Step:
        """Raises _LeftOutError."""
        if method not in SAFE_METHODS and not self._choice.unsafe:
            raise _LeftOutError(UNSAFE)
        target, query, headers = self._prefix + path, [], []
        for parameter in self._parameters(item, operation):
            name, place = str(parameter.get("name", "")), parameter.get("in")
            value = self._value(parameter, name)
            if value is _MISSING:
                if parameter.get("required") or place == "path":
                    raise _LeftOutError(f"{place} parameter {name} has no example: give it with --set {name}=VALUE")
                continue
            text = _as_text(value)
            if place == "path":
                target = target.replace(f"{{{name}}}", quote(text, safe=""))
            elif place == "query":
                query.append(f"{quote(name, safe='')}={quote(text, safe='')}")
            elif place == "header":
                headers.append((name, text))
        if "{" in target:
            raise _LeftOutError("its path has parameters that it does not describe")
        return Step(
            title=printable(str(operation.get("summary") or f"{method} {path}")),
            method=method,
            target=quote(target, safe=_IN_PATHS) + ("?" + "&".join(query) if query else ""),
            endpoint=printable(f"{method} {self._prefix}{path}"),
            rules=self._choice.rules,
            headers=tuple(headers),
            json=self._body(operation),
            repeat=(self._choice.repeat or 1) if method in SAFE_METHODS else 1,
            literal=True,
        )

    def _parameters(self, item: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Those of the path, replaced by those of the operation with the same name and place."""
        found: dict[tuple[object, object], Mapping[str, Any]] = {}
        for parameter in [*_list(item.get("parameters")), *_list(operation.get("parameters"))]:
            resolved = self._resolved(parameter)
            found[str(resolved.get("name")), str(resolved.get("in"))] = resolved
        yield from found.values()

    def _value(self, parameter: Mapping[str, Any], name: str) -> Any:
        if name in self._given:
            return self._given[name]
        return self._example(parameter, self._resolved(parameter.get("schema")))

    def _example(self, *places: Mapping[str, Any]) -> Any:
        for place in places:
            for key in ("example", "x-example", "default"):
                if key in place:
                    return place[key]
            examples = place.get("examples")
            if isinstance(examples, dict) and examples:
                first = self._resolved(next(iter(examples.values())))
                if "value" in first:
                    return first["value"]
            if isinstance(examples, list) and examples:
                return examples[0]
            if _list(place.get("enum")):
                return place["enum"][0]
        return _MISSING

    def _body(self, operation: Mapping[str, Any]) -> Any:
        """The example of a JSON body. Raises _LeftOutError when one is wanted and there is none."""
        body = self._resolved(operation.get("requestBody"))
        content = body.get("content")
        for kind, media in content.items() if isinstance(content, dict) else ():
            if str(kind).partition(";")[0].strip().endswith("json"):
                example = self._example(self._resolved(media), self._resolved(self._resolved(media).get("schema")))
                if example is not _MISSING:
                    return example
        if body.get("required"):
            raise _LeftOutError("its body has no example")
        return NO_JSON

    def _resolved(self, value: Any) -> Mapping[str, Any]:
        """What a value is, references within the document followed; nothing at all when they lead nowhere."""
        for _ in range(_REFERENCES_MAX):
            if not isinstance(value, dict):
                return {}
            reference = value.get("$ref")
            if not isinstance(reference, str):
                return value
            value = self._document
            for part in reference.removeprefix("#/").split("/"):
                key = part.replace("~1", "/").replace("~0", "~")
                value = value.get(key) if isinstance(value, dict) else None
        return {}


def _base_path(document: Mapping[str, Any]) -> str:
    """What stands before every path: the path of the first server, or Swagger's basePath."""
    base = document.get("basePath")
    servers = _list(document.get("servers"))
    if servers and isinstance(servers[0], dict):
        base = urlsplit(str(servers[0].get("url", ""))).path
    return base.rstrip("/") if isinstance(base, str) and base.startswith("/") and "{" not in base else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str)  # YAML has dates
