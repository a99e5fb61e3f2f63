"""Which requests belong together: an endpoint is a method and a path whose ids are left open.

Owns: the names of endpoints, what looks like an id. Must not know: what was answered.
Invariant: a name is short, and the same for requests that differ by their ids only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ID: Final = re.compile(
    r"""[0-9]+                                                                      # a number
    | [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}                  # a UUID
    | (?=[^0-9]*[0-9])[0-9a-f]{8,}                                                  # a hash, or a part of one
    | (?=[^0-9]*[0-9])(?=.*[a-z])[A-Za-z0-9_-]{16,}                                 # a random name
    | [A-Za-z]{1,16}[-_:.]?[0-9]+(?:[-_:.][0-9]+)*                                  # rule-7, cam_12, u1001
    | [^@]+@[^@]+                                                                   # somebody
    """,
    re.VERBOSE | re.IGNORECASE,
)
_VERSION: Final = re.compile(r"v[0-9]{1,3}", re.IGNORECASE)
OPEN: Final = "{id}"
_SEGMENTS_MAX: Final = 16
_NAME_CHARACTERS: Final = 200


def looks_like_id(segment: str) -> bool:
    """Whether a segment of a path, or a key of an object, names one thing out of many."""
    return len(segment) > 64 or (_ID.fullmatch(segment) is not None and _VERSION.fullmatch(segment) is None)


class EndpointNames:
    """Gives requests the names of their endpoints. `templates` as in `rollout.routes`; the first that matches wins."""

    def __init__(self, templates: Iterable[str] = ()) -> None:
        self._templates = [(template, _pattern(template)) for template in templates]

    def name(self, method: str, target: str) -> str:
        """`GET /api/v1/cameras/{camera_id}/status` for a method and a target."""
        path = target.partition("?")[0]
        return f"{method[:32]} {self._path(path)}"[:_NAME_CHARACTERS]

    def _path(self, path: str) -> str:
        for template, pattern in self._templates:
            found = pattern.fullmatch(path)
            if found:
                return template.removesuffix("*") + (_opened(found["rest"]) if template.endswith("*") else "")
        return _opened(path)


def _opened(path: str) -> str:
    segments = path.split("/")
    shown = [OPEN if segment and looks_like_id(unquote(segment)) else segment for segment in segments[:_SEGMENTS_MAX]]
    return "/".join([*shown, "..."] if len(segments) > _SEGMENTS_MAX else shown)


def _pattern(template: str) -> re.Pattern[str]:
    literal = _PARAMETER.split(template.removesuffix("*"))[::2]
    rest = "(?P<rest>.*)" if template.endswith("*") else ""
    return re.compile("[^/]+".join(re.escape(part) for part in literal) + rest, re.DOTALL)
