"""Kinds of values that speak about requests: where a key is found, methods, path templates, names of routes, paths.

Owns: reading these from text and writing them as text. Must not know: requests themselves (`splitter.routing` does).
Invariant: a template that is accepted here means to `splitter.routing` what its text says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, get_args

from splitter.config.kinds import Kind, did_you_mean, shown

KeyKind = Literal["header", "cookie", "query", "path", "client_ip", "jwt"]

KEY_KINDS: Final[tuple[KeyKind, ...]] = get_args(KeyKind)

# RFC 9110 section 5.6.2; a cookie's name is a token too (RFC 6265 section 4.1.1).
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}", re.ASCII)
_QUERY_NAME: Final = re.compile(r"[^\s&=#\x00-\x20\x7f]{1,128}")
_PARAMETER_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_PATH: Final = re.compile(r"/[!-\"$->@-~]*", re.ASCII)
"""From a slash on: printable ASCII without blank, `#` and `?`."""

_ROUTE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
TAKEN_ROUTE_NAMES: Final = ("default", "internal")
"""Labels of requests that no route matched and of those the splitter answers itself."""


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where in a request a client's key may be found. `name` is empty for `client_ip`."""

    kind: KeyKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


@dataclass(frozen=True)
class Key(Kind[KeySource]):
    """One source of a key. Only a route knows parameters of a path."""

    in_route: bool = False
    words = "key source"

    def read(self, given: object) -> KeySource:
        otherwise = 'must be a key such as "header:X-User-Id", "cookie:session_id" or client_ip'
        if isinstance(given, dict) and len(given) == 1:
            (kind, name), *_ = given.items()
            raise ValueError(f"has a blank after the colon, which makes it a mapping; write {shown(f'{kind}:{name}')}")
        text = self.text(given, otherwise)
        word, separator, name = text.partition(":")
        kind = next((kind for kind in KEY_KINDS if kind == word), None)
        if kind is None:
            hint = did_you_mean(word, list(KEY_KINDS))
            raise ValueError(f"must begin with one of {', '.join(KEY_KINDS)}, not {shown(text)}{hint}")
        if kind == "client_ip":
            if separator:
                raise ValueError(f"client_ip takes no name, as in {shown(text)}")
            return KeySource(kind, "")
        if not name:
            raise ValueError(f"needs a name: {kind}:NAME")
        if kind == "path" and not self.in_route:
            raise ValueError(f"{shown(text)} can only be a key of a route: no other path has parameters")
        form = {"header": _TOKEN, "cookie": _TOKEN, "query": _QUERY_NAME, "path": _PARAMETER_NAME}.get(kind)
        if (form and not form.fullmatch(name)) or not name.isprintable() or name != name.strip():
            raise ValueError(f"no {kind} can have the name {shown(name)}")
        return KeySource(kind, name)

    def show(self, value: KeySource) -> str:
        return str(value)

    @property
    def allowed(self) -> str:
        path = ", `path:PARAMETER`" if self.in_route else ""
        return f"`header:NAME`, `cookie:NAME`, `query:NAME`{path}, `jwt:CLAIM`, `client_ip`"


class Method(Kind[str]):
    """A request method. Methods are case-sensitive (RFC 9110 section 9.1), so nothing is put into capitals here."""

    words = "method such as `GET`"

    def read(self, given: object) -> str:
        text = self.text(given, "must be a method such as GET")
        if not _TOKEN.fullmatch(text):
            raise ValueError(f"must be a method such as GET, not {shown(text)}")
        if text != text.upper():
            raise ValueError(f"methods are in capitals: {text.upper()}, not {shown(text)}")
        return text

    def show(self, value: str) -> str:
        return value


class RouteName(Kind[str]):
    """The name of a route; it becomes the value of a metric's label."""

    words = "letters, digits, `_`, `.`, `-`; at most 64"

    def read(self, given: object) -> str:
        text = self.text(given, "must be a name")
        if not _ROUTE_NAME.fullmatch(text):
            raise ValueError(
                f"must be at most 64 letters, digits, _, . or -, beginning with one of the first two; not {shown(text)}"
            )
        if text in TAKEN_ROUTE_NAMES:
            raise ValueError(f"{text} is the splitter's own name for other requests; choose another")
        return text

    def show(self, value: str) -> str:
        return value


def template_parameters(template: str) -> tuple[str, ...]:
    """The names in braces of a template that `PathTemplate` has accepted."""
    return tuple(re.findall(r"\{([^}]*)\}", template))


class PathTemplate(Kind[str]):
    """A path with parameters: `{name}` is one segment, `*` at the end is any rest, empty too."""

    words = "path template such as `/api/v1/cameras/{camera_id}/*`"

    def read(self, given: object) -> str:
        text = self.text(given, "must be a path such as /api/v1/cameras/{camera_id}/*")
        if not text.startswith("/"):
            raise ValueError(f"must begin with a slash, not {shown(text)}")
        if "?" in text:
            raise ValueError(f"is compared with the path alone, so it can't have a query: {shown(text)}")
        if not _PATH.fullmatch(text):
            raise ValueError(f"has characters that no path has; percent-encode them: {shown(text)}")
        if "*" in text[:-1]:
            raise ValueError(f"may have a * only at the end, not {shown(text)}")
        names: list[str] = []
        for segment in text.removesuffix("*").split("/"):
            if "{" not in segment and "}" not in segment:
                continue
            name = segment[1:-1]
            if segment[0] != "{" or segment[-1] != "}" or not _PARAMETER_NAME.fullmatch(name):
                raise ValueError(f"must have parameters as whole segments, such as /{{name}}/, not {shown(segment)}")
            if name in names:
                raise ValueError(f"names two parameters {name}")
            names.append(name)
        if text.endswith("}*"):
            raise ValueError(f"must have parameters as whole segments: write a slash before the *, not {shown(text)}")
        return text

    def show(self, value: str) -> str:
        return value


class ProbePath(Kind[str]):
    """The path a probe asks for; it may have a query."""

    words = "path such as `/health`"

    def read(self, given: object) -> str:
        text = self.text(given, "must be a path such as /health")
        path, separator, query = text.partition("?")
        if not _PATH.fullmatch(path) or (separator and query and not _PATH.fullmatch("/" + query.replace("?", ""))):
            raise ValueError(f"must begin with a slash and be printable ASCII without blanks, not {shown(text)}")
        return text

    def show(self, value: str) -> str:
        return value


class Trigger(Kind[str]):
    """What counts as a failure that legacy may answer for: an event or a status."""

    words = '`connect`, `timeout`, `reset` or a status such as `"502"`'
    _EVENTS: Final = ("connect", "timeout", "reset")

    def read(self, given: object) -> str:
        otherwise = "must be connect, timeout, reset or a status from 400 to 599"
        if isinstance(given, int) and not isinstance(given, bool):
            given = str(given)  # 502 without quotes is a number in YAML; there is only one thing it can mean
        text = self.text(given, otherwise)
        if text not in self._EVENTS and not re.fullmatch(r"[45][0-9]{2}", text, re.ASCII):
            raise ValueError(f"{otherwise}, not {shown(text)}{did_you_mean(text, list(self._EVENTS))}")
        return text

    def show(self, value: str) -> str:
        return f'"{value}"' if value.isdigit() else value
