"""The state record and its form in a store.

Owns: what survives a restart, as values and as JSON with a mark of its format and a checksum.
Must not know: stores, clocks, what a change means.
Invariants: `from_json(to_json(r))` equals `r`; a text is understood as a whole or refused as a whole, never patched with
defaults; each version of a record has left one event behind, so the last event says which version of whose history it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Annotated, Any, Final

import orjson
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from splitter.config import Percent
from splitter.errors import SplitterError
from splitter.progress import PlanProgress
from splitter.routing import DEFAULT_ROUTE

FORMAT: Final = "splitter-state/1"
_FAMILY: Final = "splitter-state/"
EVENTS_KEPT: Final = 200
GLOBAL: Final = DEFAULT_ROUTE
"""The name of the global percent among percents by route; no route can have it."""

HELD: Final = "held"
"""What the event says that saves how long a stage of the plan was held: no decision, so nobody is told."""

_STRICT: Final = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_Percent = Annotated[float, AfterValidator(Percent().read)]
_Version = Annotated[int, Field(ge=0)]


def _plan(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A plan's progress that can be read: what can't would send nobody knows whom to domain."""
    if given:
        PlanProgress.from_json(given)
    return given


class RecordError(SplitterError):
    """A text that is no state record; the sentence says why, to be read after "the state"."""


class OtherFormatError(RecordError):
    """A state record, but of another version of the splitter: not to be thrown away."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the audit list. `before` and `after` are for people: "10 %", "rolled back"."""

    __pydantic_config__ = _STRICT

    version: _Version
    at_s: float
    who: str
    what: str
    why: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Latch:
    """A rollback: nothing goes to domain until somebody resumes."""

    __pydantic_config__ = _STRICT

    at_s: float
    who: str
    why: str


@dataclass(frozen=True, slots=True)
class Override:
    """A percent somebody set at run time."""

    __pydantic_config__ = _STRICT

    percent: _Percent
    at_s: float
    who: str
    why: str


@dataclass(frozen=True, slots=True)
class Baseline:
    """What file and environment asked for when last looked at: the measure of whether a person has edited them since.

    `percents` by route name, the global one under GLOBAL.
    """

    __pydantic_config__ = _STRICT

    use_domain_service: bool
    percents: Mapping[str, _Percent]


@dataclass(frozen=True, slots=True)
class Record:
    """All that survives a restart. `plan` is the plan's progress in a form of its own, empty before its first start."""

    __pydantic_config__ = _STRICT

    version: _Version = 0
    baseline: Baseline | None = None
    overrides: Mapping[str, Override] = field(default_factory=dict)
    latch: Latch | None = None
    plan: Annotated[Mapping[str, Any], AfterValidator(_plan)] = field(default_factory=dict)
    events: tuple[Event, ...] = ()

    def noted(self, at_s: float, who: str, what: str, why: str, before: str, after: str) -> Record:
        """This record as its next version, with an event. The list is bounded: the oldest leave."""
        version = self.version + 1
        event = Event(version, at_s, who, what, why, before, after)
        return replace(self, version=version, events=(*self.events, event)[-EVENTS_KEPT:])


def told_percent(percent: float) -> str:
    """For people: `10 %`."""
    return f"{Percent().show(percent)} %"


_ADAPTER: Final = TypeAdapter(Record)


def to_json(record: Record) -> bytes:
    """The record as a person can read it, and as `from_json` takes it."""
    document = {"format": FORMAT, "checksum": _checksum(orjson.dumps(record)), "record": record}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def from_json(text: bytes) -> Record:
    """The record a text holds. Raises RecordError, OtherFormatError if another version of the splitter wrote it."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        what = f"is cut short or no JSON ({error})" if text.strip(b"\0 \r\n\t") else "is empty"
        raise RecordError(what) from None
    if not isinstance(document, dict) or not str(document.get("format", "")).startswith(_FAMILY):
        raise RecordError("was not written by a splitter")
    if document["format"] != FORMAT:
        raise OtherFormatError(f"is in the format {document['format']}, and this splitter reads {FORMAT}")
    try:
        content = orjson.dumps(document.get("record"))
    except orjson.JSONEncodeError:
        raise RecordError("holds numbers or levels that no record has") from None
    if document.get("checksum") != _checksum(content):
        raise RecordError("was changed or damaged after it was written: its checksum is wrong")
    try:
        return _ADAPTER.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise RecordError(f"has a fault at {'.'.join(map(str, first['loc'])) or 'its top'}: {first['msg']}") from None


def _checksum(content: bytes) -> str:
    """Of the record without blanks, which orjson writes alike from our values and from what it has read."""
    return f"sha256:{sha256(content).hexdigest()}"
