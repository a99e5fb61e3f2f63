"""What is compared of two answers, and what is shown of it: for copies of live requests and for `splitter compare` alike.

Owns: these keys, their defaults and descriptions. Must not know: where answers come from (`splitter.compare` applies them).
Invariant: immutable; without any key everything is compared and secrets are hidden.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from splitter.config.jsonpath import (
    HeaderName,
    Ignored,
    IgnoreRule,
    JsonPath,
    JsonPathKind,
    Tolerance,
    Tolerances,
)
from splitter.config.kinds import Listing, Text
from splitter.config.sections import Section
from splitter.config.traffic import PathTemplate


class Comparison(Section):
    """The rules of a comparison."""

    ignore: Annotated[tuple[Ignored, ...], Listing(IgnoreRule(), example='["$.timestamp"]')] = Field(
        default=(), description="Differences that don't matter; a JSON path covers all that is below it."
    )
    unordered: Annotated[tuple[JsonPath, ...], Listing(JsonPathKind(), example='["$.cameras"]')] = Field(
        default=(), description="Lists whose order does not matter."
    )
    tolerance: Annotated[dict[str, Tolerance], Tolerances()] = Field(
        default={},
        description='How far values may be apart, by JSON path: `{"$.load": 0.5, "$..fps": 5%, "$..since": 2s}`.',
    )
    headers: Annotated[tuple[str, ...], Listing(HeaderName(), example="[content-type, location]")] = Field(
        default=("*",),
        description="Headers that are compared; `*`: all but those that differ by nature, such as Date, Server and Via.",
    )
    mask: Annotated[tuple[str, ...], Listing(Text(), example="[licence_plate]")] = Field(
        default=(),
        description=(
            "Names of fields, headers and parameters whose values no report shows, besides those of secrets and persons "
            "(token, password, cookie, email, phone and their like); a part of the name is enough."
        ),
    )
    endpoints: Annotated[tuple[str, ...], Listing(PathTemplate(), example='["/api/v1/cameras/{camera_id}/*"]')] = Field(
        default=(),
        description=(
            "Path templates that say which requests belong together in a report, the first match wins; what `*` stands for "
            "is kept. Without a match, segments that look like ids are taken for such."
        ),
    )
