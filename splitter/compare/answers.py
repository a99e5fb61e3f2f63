"""Two answers side by side: status, headers, body.

Owns: which parts are compared and how headers are read. Must not know: JSON values from inside, noise.
Invariant: it never raises, whatever the answers hold; what can't be looked into is compared as bytes, and says why.
"""

from __future__ import annotations

from typing import Any, Final

from splitter.compare.differences import ABSENT, Difference, Differences, Kind
from splitter.compare.json_walk import JsonWalk
from splitter.compare.mask import cookie_shape
from splitter.compare.observation import Observation, UnreadableError, read_json
from splitter.compare.rules import Rules
from splitter.config.jsonpath import HEADER_PREFIX

# Lists of names in which order says nothing (RFC 9110 sections 10.2.1, 12.5.5; RFC 9111 section 5.2; the Fetch standard).
_SETS: Final = frozenset(
    {
        "access-control-allow-headers", "access-control-allow-methods", "access-control-expose-headers", "allow",
        "cache-control", "vary",
    }
)  # fmt: skip


def compare(control: Observation, candidate: Observation, rules: Rules) -> Differences:
    """What candidate answered differently from control."""
    if control.failure or candidate.failure:
        return _without_answer(control, candidate)
    found: list[Difference] = []
    ignored = 0
    if control.status != candidate.status:
        if "status" in rules.ignored_parts:
            ignored += 1
        else:
            found.append(Difference("status", Kind.VALUE, control.status, candidate.status))
    for difference in _headers(control, candidate):
        name = difference.path.removeprefix(HEADER_PREFIX)
        if rules.compares_header(name):
            found.append(difference)
        else:
            ignored += difference.path in rules.ignored_parts
    body = _bodies(control, candidate, rules)
    if "body" in rules.ignored_parts:
        return Differences(tuple(found), ignored + bool(body.found))
    return Differences((*found, *body.found), ignored + body.ignored, body.more)


def _without_answer(control: Observation, candidate: Observation) -> Differences:
    if control.failure and candidate.failure:
        return Differences()
    ours, theirs = (side.failure or str(side.status) for side in (control, candidate))
    return Differences((Difference("status", Kind.NO_ANSWER, ours, theirs),))


# --- headers --------------------------------------------------------------------------------------------------------


def _headers(control: Observation, candidate: Observation) -> list[Difference]:
    """Every header that differs, whether or not it counts."""
    ours, theirs = _by_name(control), _by_name(candidate)
    found = []
    for name in sorted(ours.keys() | theirs.keys()):
        one, other = ours.get(name), theirs.get(name)
        path = HEADER_PREFIX + name
        if one is None:
            found.append(Difference(path, Kind.EXTRA, ABSENT, other))
        elif other is None:
            found.append(Difference(path, Kind.MISSING, one, ABSENT))
        elif one != other and _meaning(name, one) != _meaning(name, other):
            found.append(Difference(path, Kind.VALUE, one, other))
    return found


def _by_name(side: Observation) -> dict[str, str]:
    """Values by lower-case name. Cookies that are set are told by their shape, since values and times are always new."""
    values: dict[str, list[str]] = {}
    for name, value in side.headers:
        values.setdefault(name.lower(), []).append(value.strip())
    cookies = values.get("set-cookie")
    if cookies:
        values["set-cookie"] = sorted(cookie_shape(cookie) for cookie in cookies)
    return {name: ", ".join(each) for name, each in values.items()}


def _meaning(name: str, value: str) -> Any:
    """A header's value without what makes no difference: order in a set, blanks, the case of a media type."""
    if name == "content-type":
        kind, *parameters = value.split(";")
        return kind.strip().lower(), sorted(_parameter(part) for part in parameters if part.strip())
    members = [part.strip() for part in value.split(",")]
    return sorted(part.lower() for part in members) if name in _SETS else members


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    name, value = name.strip().lower(), value.strip().strip('"')
    return name, value.lower() if name == "charset" else value


# --- bodies ---------------------------------------------------------------------------------------------------------


def _bodies(control: Observation, candidate: Observation, rules: Rules) -> Differences:
    if _same_bytes(control, candidate):
        return Differences()
    ours, theirs = _json_of(control), _json_of(candidate)
    if isinstance(ours, _NoJson) or isinstance(theirs, _NoJson):
        return _as_bytes(control, candidate, ours, theirs)
    walk = JsonWalk(rules)
    try:
        walk.compare(ours, theirs)
    except (UnreadableError, RecursionError) as error:
        why = str(error) if isinstance(error, UnreadableError) else "is nested too deeply"
        return _as_bytes(control, candidate, _NoJson(why), _NoJson(why))
    return Differences(tuple(walk.found.values()), walk.ignored, walk.more)


def _same_bytes(control: Observation, candidate: Observation) -> bool:
    if control.is_whole != candidate.is_whole:
        return False
    if not control.is_whole:
        return (control.size_bytes, control.digest) == (candidate.size_bytes, candidate.digest)
    return control.body == candidate.body and control.header("content-encoding") == candidate.header("content-encoding")


class _NoJson:
    """Why a body can't be compared place by place; empty: it never claimed to be JSON."""

    def __init__(self, why: str = "") -> None:
        self.why = why


def _json_of(side: Observation) -> Any:
    """The JSON value of a body, or _NoJson."""
    if not side.is_json:
        return _NoJson()
    if not side.is_whole:
        return _NoJson("is too large to be looked into")
    try:
        return read_json(side.content())
    except UnreadableError as error:
        return _NoJson(str(error))


def _as_bytes(control: Observation, candidate: Observation, ours: Any, theirs: Any) -> Differences:
    """Bodies that are told by size and digest: of both, or of one when only one is JSON."""
    is_json = [not isinstance(value, _NoJson) for value in (ours, theirs)]
    told = _told(control, ours), _told(candidate, theirs)
    if is_json[0] != is_json[1]:
        return Differences((Difference("body", Kind.TYPE, *told),))
    try:
        if control.is_whole and candidate.is_whole and control.content() == candidate.content():
            return Differences()
    except UnreadableError:
        pass  # the coded bytes differ, and that is all that can be said
    return Differences((Difference("body", Kind.VALUE, *told),))


def _told(side: Observation, value: Any) -> str:
    if not isinstance(value, _NoJson):
        return f"JSON, {side.described()}"
    return f"{side.described()}{f'; it {value.why}' if value.why else ''}"
