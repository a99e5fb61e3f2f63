"""What requests may say.

Owns: the models of bodies and queries, and the sentence for each fault. Must not know: what is done with them.
Invariant: a request that is wrong in several ways is told all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from aiohttp import web
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from camera_data.definition import DEFAULT_FPS, DEFAULT_HEIGHT_PX, DEFAULT_WIDTH_PX, fault_of, shown
from camera_data.wire import object_of
from domain_backend.entities.alert_rule import Metric, Operator, RuleTerms, Severity
from domain_backend.entities.camera import Camera

MAX_BATCH = 200
MAX_THRESHOLD = 1e15


class InvalidBody(Exception):
    """What a client sent can't be used; the text names every fault."""


def _limits_of(field: str) -> BeforeValidator:
    """A field of a definition is limited by what the camera file may hold, so by the same check."""

    def check(value: object) -> object:
        fault = fault_of(field, value)
        if fault:
            raise ValueError(fault)
        return value

    return BeforeValidator(check)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Nothing(_Body):
    """Calls that say all by their path."""


class CameraChange(_Body):
    """PUT of a camera: what is not given stays as it is."""

    id: Annotated[str, _limits_of("id")] = ""
    name: Annotated[str, _limits_of("name")]
    source: Annotated[str, _limits_of("source")]
    active: Annotated[bool, _limits_of("active")] = True
    auto_start: Annotated[bool, _limits_of("auto_start")] = False
    fps: Annotated[int, _limits_of("fps")] = DEFAULT_FPS
    width_px: Annotated[int, _limits_of("width_px")] = DEFAULT_WIDTH_PX
    height_px: Annotated[int, _limits_of("height_px")] = DEFAULT_HEIGHT_PX


class NewCamera(CameraChange):
    """POST of a camera."""

    id: Annotated[str, _limits_of("id")]

    def camera(self) -> Camera:
        """As it is before anybody moves it."""
        return Camera(**self.model_dump())


class AutoStart(_Body):
    """PUT of auto-start."""

    enabled: bool


class Batch(_Body):
    """Which cameras' status is wanted."""

    camera_ids: Annotated[list[str], Field(max_length=MAX_BATCH)]


class Rule(_Body):
    """POST and PUT of an alert rule: a PUT says all of it, too."""

    name: Annotated[str, StringConstraints(max_length=100), AfterValidator(_not_blank)]
    metric: Annotated[Metric, Field(strict=False)]
    operator: Annotated[Operator, Field(strict=False)]
    threshold: Annotated[float, Field(ge=-MAX_THRESHOLD, le=MAX_THRESHOLD)]
    camera_id: str | None = None
    for_s: Annotated[int, Field(ge=0, le=86400)] = 0
    severity: Annotated[Severity, Field(strict=False)] = Severity.WARNING
    enabled: bool = True

    def terms(self) -> RuleTerms:
        """As the service takes it."""
        return RuleTerms(**self.model_dump())


class Page(_Body):
    """Which part of a log."""

    limit: Annotated[int, Field(ge=1, le=500)] = 50
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = 0


_Model = TypeVar("_Model", bound=_Body)


async def read(request: web.Request, model: type[_Model]) -> _Model:
    """The request's body as `model`. Raises InvalidBody, BodyError."""
    return _validated(model, object_of(await request.read()))


async def read_change(request: web.Request, camera_id: str) -> Mapping[str, Any]:
    """The fields a PUT of a camera gives. Raises InvalidBody, BodyError."""
    body = object_of(await request.read())
    another = "id" in body and fault_of("id", body["id"]) is None and body["id"] != camera_id
    extra = [f"id can't be changed: it is {shown(camera_id)} in the path"] if another else []
    return _validated(CameraChange, body, extra).model_dump(exclude_unset=True)


def page_of(query: Mapping[str, str]) -> Page:
    """`limit` and `offset`; other parameters are not looked at. Raises InvalidBody."""
    given = {name: _whole(query[name]) for name in Page.model_fields if name in query}
    return _validated(Page, given)


def _whole(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 7 else text


def _validated(model: type[_Model], fields: Mapping[str, Any], extra: list[str] | None = None) -> _Model:
    faults = list(extra or ())
    try:
        made = model.model_validate(fields)
    except ValidationError as error:
        faults += [_sentence(dict(fault)) for fault in error.errors(include_url=False)]
    if faults:
        raise InvalidBody("; ".join(faults))
    return made


_SENTENCES: dict[str, Callable[[dict[str, Any]], str]] = {
    "missing": lambda _: "is missing",
    "extra_forbidden": lambda _: "is not a field here",
    "value_error": lambda fault: str(fault["ctx"]["error"]),
}


def _sentence(fault: dict[str, Any]) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        place = shown(place)
    say = _SENTENCES.get(fault["type"])
    if say:
        return f"{place} {say(fault)}"
    return f"{place}: {fault['msg'][:1].lower()}{fault['msg'][1:]}, not {shown(fault['input'])}"
