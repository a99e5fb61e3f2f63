"""What may be sent to the admin API: the bodies of requests, checked as strictly as the configuration.

Owns: their fields, their form as JSON Schema, the sentences for what is wrong. Must not know: paths, who asks, what follows.
Invariants: an unknown field, a wrong type or an impossible value is refused with a sentence for each; no default stands in
for a value that was not understood; what people wrote has no control characters, for it is shown on terminals.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, TypeVar

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from splitter.config import Percent
from splitter.config.kinds import did_you_mean, shown

REASON_CHARACTERS: Final = 500
_ONE_LINE: Final = r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"
"""No control characters, line separators, or marks that turn the direction of what follows."""

Body = TypeVar("Body", bound="Checked")


class BodyError(Exception):
    """A body that can't be used. 400: it is no JSON; 422: it is, but not as described; 404: it names what there is not."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def _percent(given: object) -> float:
    if isinstance(given, str):
        raise ValueError(f"must be a number, not text: take the quotes away from {shown(given)}")
    return Percent().read(given)


def _reason(given: object) -> str:
    if not isinstance(given, str):
        raise ValueError(f"must be text, not {shown(given)}")
    if len(given) > REASON_CHARACTERS:
        raise ValueError(f"has at most {REASON_CHARACTERS} characters, this one {len(given)}")
    if not re.fullmatch(_ONE_LINE, given):
        raise ValueError("must be one line without control characters")
    return given.strip()


def _stage(given: object) -> int | None:
    if given is None:
        return None
    if isinstance(given, float) and given.is_integer():
        given = int(given)  # 2.0 is an integer in JSON
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise ValueError(f"must be the number of a stage, counted from 1, not {shown(given)}")
    return given


def _route(given: object) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or not given:
        raise ValueError(f"must be the name of a route, not {shown(given)}")
    return given


def _flag(given: object) -> bool:
    if not isinstance(given, bool):
        raise ValueError(f"must be true or false, not {shown(given)}")
    return given


Stage = Annotated[int | None, BeforeValidator(_stage), WithJsonSchema({"type": ["integer", "null"], "minimum": 1})]


class Checked(BaseModel):
    """An object with these fields and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Annotated[
        str,
        BeforeValidator(_reason),
        WithJsonSchema({"type": "string", "maxLength": REASON_CHARACTERS, "pattern": _ONE_LINE}),
    ] = Field(default="", description="Why, for the audit list.")


class Rollback(Checked):
    """Send everybody back to legacy."""


class Resume(Checked):
    """Let go of a rollback."""

    from_stage: Stage = Field(
        default=None, description="The stage of the plan to start again with, counted from 1; left out: the first."
    )


class SetPercent(Checked):
    """Move the percent by hand."""

    percent: Annotated[
        float,
        BeforeValidator(_percent),
        WithJsonSchema({"type": "number", "minimum": 0, "maximum": 100, "multipleOf": 0.01}),
    ] = Field(description="Share of clients that go to domain; two decimals.")
    route: Annotated[str | None, BeforeValidator(_route), WithJsonSchema({"type": ["string", "null"], "minLength": 1})] = (
        Field(default=None, description="The route whose percent this is; left out: the global one.")
    )


class StartPlan(Checked):
    """Start the plan."""

    from_stage: Stage = Field(
        default=None,
        description=(
            "The stage to start with, counted from 1; left out: the last one that goes no further than what is in force."
        ),
    )


class PromotePlan(Checked):
    """End the stage now, and go on to the next."""

    full: Annotated[bool, BeforeValidator(_flag), WithJsonSchema({"type": "boolean"})] = Field(
        default=False, description="Go on to the last stage."
    )


class SteerPlan(Checked):
    """Do to the plan what the path says."""


def read(model: type[Body], data: bytes) -> Body:
    """The body for what was sent; nothing at all counts as `{}`. Raises BodyError."""
    try:
        given = orjson.loads(data) if data else {}
    except orjson.JSONDecodeError as error:
        raise BodyError(400, "bad_json", f"the body is no JSON: {error}") from None
    try:
        return model.model_validate(given)
    except ValidationError as error:
        sentences = [_sentence(model, detail) for detail in error.errors(include_url=False)]
        raise BodyError(422, "invalid", "; ".join(sentences)) from None


def _sentence(model: type[Checked], detail: Any) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    error = detail.get("ctx", {}).get("error")
    if isinstance(error, ValueError):
        return f"{name} {error}"
    if detail["type"] == "missing":
        return f"{name} is required"
    if detail["type"] == "extra_forbidden":
        known = sorted(model.model_fields)
        hint = did_you_mean(name, known) or f"; known: {', '.join(known)}"
        return f"{shown(name)} is unknown{hint}"
    return f"the body must be an object, not {shown(detail.get('input'))}"


def limit(text: str | None, default: int, most: int) -> int:
    """How many are asked for. Raises BodyError."""
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= most):
        raise BodyError(422, "invalid", f"limit must be a whole number from 1 to {most}, not {shown(text)}")
    return int(text)
