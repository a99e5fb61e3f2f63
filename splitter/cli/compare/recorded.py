"""Requests out of recordings: an access log of the splitter, a HAR file of a browser.

Owns: reading both into a plan. Must not know: how requests are sent.
Invariants: each request is a scenario of its own, sent as it was recorded; what changes something is only taken when asked
for; what is left out is counted, by reason.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from splitter.cli.compare.steps import SAFE_METHODS, Plan, Scenario, Step, printable
from splitter.compare import EndpointNames, Rules
from splitter.errors import ConfigError, Fault

UNSAFE: Final = "changes something: --unsafe sends it too"
_REQUEST_LINE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+ /[!-~]*", re.ASCII)
_NOT_SENT: Final = frozenset(
    {"host", "content-length", "connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade",
     "accept-encoding", "x-request-id", "x-splitter-token", "x-splitter-mirror"}
)  # fmt: skip
"""Headers that belong to the connection they were recorded on, or that this command sets itself."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which requests of a source are taken, and how each is sent. `repeat` None: as the source says."""

    unsafe: bool
    most: int
    repeat: int | None
    rules: Rules
    names: EndpointNames
    mask: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request of a recording, or (`why_not`) why it is none that could be sent."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    why_not: str = ""


def read_access_log(lines: Iterable[str], source: str, choice: Choice) -> Plan:
    """The requests of an access log, which knows neither queries nor bodies. Raises ConfigError when there are none."""
    return _plan(source, _logged(lines), choice)


def _logged(lines: Iterable[str]) -> Iterator[Recorded]:
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            yield Recorded("", "", why_not="is no line of JSON")
            continue
        if not isinstance(entry, dict) or entry.get("event") != "request":
            continue  # the splitter says other things too
        method, path = entry.get("method"), entry.get("path")
        if isinstance(method, str) and isinstance(path, str) and path.startswith("/"):
            yield Recorded(method, path)
        else:
            yield Recorded("", "", why_not="has no method or path")


def read_har(text: str, source: str, choice: Choice) -> Plan:
    """The requests of a HAR file that went where its first one went. Raises ConfigError when it is none."""
    try:
        entries = json.loads(text)["log"]["entries"]
        if not isinstance(entries, list):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ConfigError((Fault("", "is no HAR file: it has no log.entries", source),)) from None
    return _plan(source, _entries(entries), choice)


def _entries(entries: list[Any]) -> Iterator[Recorded]:
    origin = ""
    for entry in entries:
        request = entry.get("request") if isinstance(entry, dict) else None
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            yield Recorded("", "", why_not="is no request")
            continue
        method, url = request["method"], str(request.get("url"))
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        here = f"{parts.scheme}://{parts.netloc}"
        if parts.scheme not in {"http", "https"}:
            yield Recorded(method, url[:200], why_not="is neither http nor https")
            continue
        origin = origin or here
        if here != origin:
            yield Recorded(method, target, why_not=f"went elsewhere than to {origin}")
            continue
        yield Recorded(method, target, tuple(_headers(request)), _body(request))


def _headers(request: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for header in request.get("headers") or ():
        name, value = (str(header.get(key, "")) for key in ("name", "value")) if isinstance(header, dict) else ("", "")
        if name and not name.startswith(":") and name.lower() not in _NOT_SENT and value.isprintable():
            yield name, value


def _body(request: dict[str, Any]) -> bytes:
    data = request.get("postData")
    text = data.get("text") if isinstance(data, dict) else None
    if not isinstance(text, str):
        return b""
    if isinstance(data, dict) and data.get("encoding") == "base64":
        try:
            return base64.b64decode(text)
        except binascii.Error:
            return b""
    return text.encode("utf-8", "surrogateescape")


def _plan(source: str, recorded: Iterable[Recorded], choice: Choice) -> Plan:
    scenarios: list[Scenario] = []
    skipped: Counter[tuple[str, str]] = Counter()
    for request in recorded:
        why_not = request.why_not
        safe = request.method in SAFE_METHODS
        endpoint = printable(choice.names.name(request.method, request.target)) if request.method else "an entry"
        if not why_not and not _REQUEST_LINE.fullmatch(f"{request.method} {request.target}"):
            why_not = "has characters that no request has"
        if not why_not and not safe and not choice.unsafe:
            why_not = UNSAFE
        if not why_not and len(scenarios) >= choice.most:
            why_not = f"comes after the first {choice.most}: --limit takes more"
        if why_not:
            skipped[endpoint, why_not] += 1
        else:
            scenarios.append(Scenario((_step(request, endpoint, choice),)))
    if not scenarios:
        reasons = "; ".join(sorted({why for _, why in skipped})) or "it has no requests"
        raise ConfigError((Fault("", f"has nothing that could be sent: {reasons}", source),))
    told = tuple((name if times == 1 else f"{name} ({times} times)", why) for (name, why), times in skipped.items())
    return Plan(source, tuple(scenarios), told, choice.mask)


def _step(request: Recorded, endpoint: str, choice: Choice) -> Step:
    return Step(
        title=endpoint,
        method=request.method,
        target=request.target,
        endpoint=endpoint,
        rules=choice.rules,
        headers=request.headers,
        body=request.body,
        repeat=(choice.repeat or 1) if request.method in SAFE_METHODS else 1,
        literal=True,
    )
