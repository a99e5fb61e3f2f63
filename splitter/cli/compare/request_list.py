"""A list of requests in YAML, with set-up and clean-up, read into a plan.

Owns: the keys of such a file, and their check. Must not know: how requests are sent.
Invariant: every fault of a file is told with its line, and a file with a fault sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import Field, ValidationError

from splitter.cli.compare.steps import BUILT_IN, NO_JSON, SAFE_METHODS, Plan, Scenario, Step, printable, variables_in
from splitter.compare import EndpointNames, Rules
from splitter.config import Comparison, Ignored, JsonPath, Tolerance
from splitter.config.document import Path, dotted, read_document
from splitter.config.jsonpath import IgnoreRule, JsonPathKind, Tolerances
from splitter.config.kinds import Flag, Kind, Listing, Named, Nullable, Text, shown
from splitter.config.numbers import Count
from splitter.config.sections import Section
from splitter.config.sentences import sentences
from splitter.config.traffic import Method
from splitter.errors import ConfigError, Fault

_TARGET_CHARACTERS: Final = 4096


class RequestLine(Kind[tuple[str, str]]):
    """`GET /path?query`."""

    words = "method and target such as `GET /api/v1/cameras`"

    def read(self, given: object) -> tuple[str, str]:
        otherwise = "must be a method and a path, such as GET /api/v1/cameras"
        method, separator, target = self.text(given, otherwise).strip().partition(" ")
        target = target.strip()
        if not separator or not target.startswith("/") or len(target) > _TARGET_CHARACTERS:
            raise ValueError(f"{otherwise}, not {shown(given)}")
        if any(character <= " " or character > "~" or character == "#" for character in target):
            raise ValueError(f"has characters that no target has; percent-encode them: {shown(target)}")
        return Method().read(method), target

    def show(self, value: tuple[str, str]) -> str:
        return " ".join(value)


class Statuses(Kind[tuple[int, ...]]):
    """One status, or several."""

    words = "status such as 200, or a list of them"

    def read(self, given: object) -> tuple[int, ...]:
        statuses = given if isinstance(given, list | tuple) else [given]
        return tuple(Count(100, 599).read(status) for status in statuses)

    def show(self, value: tuple[int, ...]) -> str:
        return str(list(value))


class AnyJson(Kind[object]):
    """Whatever JSON can hold."""

    words = "any value"

    def read(self, given: object) -> object:
        return given

    def show(self, value: object) -> str:
        return str(value)


class StepEntry(Section):
    """One request of a list."""

    request: Annotated[tuple[str, str], RequestLine()] = Field(description="Method and target.")
    name: Annotated[str, Text()] = Field(default="", description="What it is called in reports.")
    send_headers: Annotated[dict[str, str], Named(Text(8192))] = Field(default={}, description="Headers that are sent.")
    json_body: Annotated[object, AnyJson()] = Field(default=NO_JSON, alias="json", description="A JSON body.")
    body: Annotated[str | None, Nullable(Text(65_536))] = Field(default=None, description="Another body, as text.")
    expect: Annotated[tuple[int, ...], Statuses()] = Field(
        default=(), description="What control must answer, so that the steps behind it make sense."
    )
    capture: Annotated[dict[str, JsonPath], Named(JsonPathKind())] = Field(
        default={}, description="Variables taken out of the answer, by JSON path; each side has its own."
    )
    repeat: Annotated[int | None, Nullable(Count(1, 10_000))] = Field(default=None, description="How often it is sent.")
    compare: Annotated[bool, Flag()] = Field(default=True, description="Whether its answers are compared.")
    shared: Annotated[bool, Flag()] = Field(
        default=False, description="Its answer shows what belongs to all sides: names of a side are compared as they are."
    )
    stream: Annotated[bool, Flag()] = Field(default=False, description="Its answer has no end: only its head is compared.")
    websocket: Annotated[int | None, Nullable(Count(1, 100))] = Field(
        default=None, description="It is a WebSocket: so many messages are awaited and compared as a list."
    )
    ignore: Annotated[tuple[Ignored, ...], Listing(IgnoreRule())] = Field(default=(), description="As for the whole list.")
    unordered: Annotated[tuple[JsonPath, ...], Listing(JsonPathKind())] = Field(
        default=(), description="As for the whole list."
    )
    tolerance: Annotated[dict[str, Tolerance], Tolerances()] = Field(default={}, description="As for the whole list.")


class RequestList(Comparison):
    """A file of requests."""

    title: Annotated[str, Text()] = Field(default="", description="What is compared.")
    repeat: Annotated[int, Count(1, 10_000)] = Field(
        default=1, description="How often a safe request is sent, for noise and for latency."
    )
    variables: Annotated[dict[str, str], Named(Text())] = Field(default={}, description="Texts that stand for `{NAME}`.")
    setup: tuple[StepEntry, ...] = Field(default=(), description="First; if control does not answer as expected, the end.")
    requests: tuple[StepEntry, ...] = Field(description="What is compared.")
    cleanup: tuple[StepEntry, ...] = Field(default=(), description="Last, whatever happened.")


def read_request_list(text: str, source: str, repeat: int | None = None) -> Plan:
    """The plan a file holds; `repeat` goes before its own. Raises ConfigError with everything that is wrong with it."""
    document = read_document(text, source, "requests")
    faults = list(document.faults)

    def fault(path: Path, message: str) -> None:
        if path not in document.unreadable:
            faults.append(Fault(dotted(path), message, source, document.line_of(path)))

    listed: RequestList | None = None
    try:
        listed = RequestList.model_validate(document.tree)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            for path, message in sentences(detail, RequestList):
                fault(path, message)
    if listed is not None:
        for path, message in _faults_between(listed):
            fault(path, message)
    if faults or listed is None:
        raise ConfigError(tuple(sorted(faults, key=lambda each: each.line)))
    return Plan(printable(listed.title) or source, (_scenario(listed, repeat or listed.repeat),), mask=listed.mask)


def _faults_between(listed: RequestList) -> Iterator[tuple[Path, str]]:
    if not listed.requests:
        yield ("requests",), "must not be empty"
    known = set(BUILT_IN)
    for name, text in listed.variables.items():
        if name in BUILT_IN:
            yield ("variables", name), f"{name} is always there, with a value of its own"
        yield from ((("variables", name), _unknown(used)) for used in variables_in(text) if used not in known)
        known.add(name)
    for section, entries in (("setup", listed.setup), ("requests", listed.requests), ("cleanup", listed.cleanup)):
        for index, entry in enumerate(entries):
            yield from (((section, index, key), message) for key, message in _faults_of(entry, known))
            known |= entry.capture.keys()


def _faults_of(entry: StepEntry, known: set[str]) -> Iterator[tuple[str, str]]:
    method, target = entry.request
    sent = {"request": target, "send_headers": entry.send_headers, "body": entry.body, "json": entry.json_body}
    for key, value in sent.items():
        yield from ((key, _unknown(name)) for name in variables_in(value) if name not in known)
    if entry.body is not None and entry.json_body is not NO_JSON:
        yield "body", "is there beside json: a request has one body"
    if entry.websocket is not None and method != "GET":
        yield "websocket", f"begins with GET, not {method}"
    for name, path in entry.capture.items():
        if any(part.deep or part.name is None for part in path.parts):
            yield "capture", f"{name} must be one place, and {path} can be many"


def _unknown(name: str) -> str:
    return f"there is no variable {name} here; for a brace that is one write {{{{"


def _scenario(listed: RequestList, repeat: int) -> Scenario:
    return Scenario(
        tuple(_step(entry, listed, repeat) for entry in listed.requests),
        tuple(_step(entry, listed, 1) for entry in listed.setup),
        tuple(_step(entry, listed, 1) for entry in listed.cleanup),
        listed.variables,
    )


def _step(entry: StepEntry, listed: RequestList, repeat: int) -> Step:
    method, target = entry.request
    endpoint = EndpointNames(listed.endpoints).name(method, target)
    once = method not in SAFE_METHODS or entry.capture or entry.websocket is not None or entry.stream
    return Step(
        title=printable(entry.name) or endpoint,
        method=method,
        target=target,
        endpoint=endpoint,
        rules=Rules.of(listed, entry),
        headers=tuple(entry.send_headers.items()),
        json=entry.json_body,
        body=(entry.body or "").encode(),
        expect=frozenset(entry.expect),
        capture=entry.capture,
        repeat=entry.repeat or (1 if once else repeat),
        messages=entry.websocket or 0,
        compared=entry.compare,
        shared=entry.shared,
        stream=entry.stream,
    )
