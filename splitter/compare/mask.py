"""What of an answer may stand in a report: secrets and personal fields are hidden, the rest is short.

Owns: the names and forms that are hidden, and how a value is written. Must not know: what differs.
Invariants: a value below a name that is hidden never leaves here, at whatever depth, nor one that has the form of a
secret; a text written here is one line of bounded length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import unquote_plus

SHOWN_CHARACTERS: Final = 160
_ITEMS_SHOWN: Final = 20
_LEVELS_SHOWN: Final = 4
HIDDEN: Final = "***"
_NAMES_KEPT: Final = 4096

HIDDEN_PARTS: Final = (
    # secrets
    "authorization", "token", "password", "passwd", "passphrase", "passcode", "secret", "cookie", "session", "credential",
    "apikey", "privatekey", "accesskey", "signature", "jwt", "csrf", "xsrf",
    # persons
    "email", "phone", "mobile", "address", "firstname", "lastname", "fullname", "surname", "birth", "passport", "iban",
    "creditcard", "cardnumber", "clientip", "remoteaddr", "forwardedfor", "latitude", "longitude",
)  # fmt: skip
"""A name is hidden when, in lower case and without anything but letters and digits, it has one of these in it, ..."""

HIDDEN_WHOLE: Final = frozenset({"pwd", "pin", "otp", "auth", "sid", "key", "dob", "ssn", "cvv", "cvc", "login"})
"""... or is one of these."""

_NOT_LETTERS: Final = re.compile(r"[^a-z0-9]+")

_FORMS: Final = re.compile(
    r"""
    [^\s@"'<>,;:/?&=]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,5}          # an address of electronic mail
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)?                # a JWT
    | \b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}                                # a credential of RFC 9110 section 11.4
    | (?<=://)[^/@\s:]{1,128}:[^/@\s]{1,128}(?=@)                                # user and password in a URL
    | (?<![0-9A-Za-z.+-])\+[0-9](?:[ ()/-]{0,2}[0-9]){7,14}(?![0-9])             # a phone number, as ITU writes it
    | (?<![0-9A-Za-z.-])[0-9]{4}(?:[ -][0-9]{4}){2}[ -][0-9]{1,7}(?![0-9])       # the number of a card, in groups
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NAMED: Final = re.compile(r"""([A-Za-z][\w.%-]{0,63})((?:\\?["'])?\s{0,3}[:=]\s{0,3}(?:\\?["'])?)([^\s"'\\,;&}<>]+)""")
"""`token=abc`, `"token": "abc"`: what a text says of something that has a name."""

_COOKIE_PARTS_KEPT: Final = frozenset({"path", "domain", "samesite", "secure", "httponly", "partitioned"})


class Mask:
    """Hides what the built-in names and forms cover, and more names."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        plain = (_plain(name) for name in names)
        self._parts = (*HIDDEN_PARTS, *(name for name in plain if name))
        self._known: dict[str, bool] = {}

    def hides(self, name: str) -> bool:
        """Whether the value of a field, header or parameter of this name is hidden."""
        known = self._known.get(name)
        if known is None:
            plain = _plain(name)
            known = plain in HIDDEN_WHOLE or any(part in plain for part in self._parts)
            if len(self._known) < _NAMES_KEPT and len(name) <= 64:
                self._known[name] = known
        return known

    def value(self, value: Any, steps: Iterable[str | int]) -> str:
        """A JSON value as text; `steps` lead to it. Of a hidden one only its type is told."""
        if any(isinstance(step, str) and self.hides(step) for step in steps):
            return hidden_text(value)
        return self.text(json.dumps(self._shown(value, 0), ensure_ascii=False))

    def _shown(self, value: Any, level: int) -> Any:
        """A small copy of a value, with everything hidden that has to be."""
        if isinstance(value, dict):
            items = list(value.items())[: _ITEMS_SHOWN if level < _LEVELS_SHOWN else 0]
            shown: Any = {
                self.text(key): hidden_text(item) if self.hides(key) else self._shown(item, level + 1) for key, item in items
            }
            return shown if len(items) == len(value) else shown | {"...": len(value) - len(items)}
        if isinstance(value, list):
            kept = value[: _ITEMS_SHOWN if level < _LEVELS_SHOWN else 0]
            shown = [self._shown(item, level + 1) for item in kept]
            return shown if len(kept) == len(value) else [*shown, f"... and {len(value) - len(kept)} more"]
        return self.text(value) if isinstance(value, str) else value

    def header(self, name: str, value: str) -> str:
        """A header's value as text; `name` in lower case. Of a set cookie all but its value is shown."""
        if name == "set-cookie":
            return self.text(cookie_shape(value))
        return hidden_text(value) if self.hides(name) else self.text(value)

    def target(self, target: str) -> str:
        """A request's target, with hidden parameters hidden, also those that percent signs conceal."""
        decoded = unquote_plus(target)
        return self.text(target if self._clean(decoded) == decoded else decoded)

    def text(self, text: str) -> str:
        """A text on one line, cut to a bounded length, with what has the form of a secret hidden."""
        clean = self._clean(text[: 8 * SHOWN_CHARACTERS])
        clean = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in clean)
        return clean if len(clean) <= SHOWN_CHARACTERS else clean[: SHOWN_CHARACTERS - 3] + "..."

    def _clean(self, text: str) -> str:
        return _NAMED.sub(self._without_value, _FORMS.sub(HIDDEN, text))

    def _without_value(self, found: re.Match[str]) -> str:
        return found[1] + found[2] + HIDDEN if self.hides(found[1]) else found[0]


def hidden_text(value: Any) -> str:
    """What may be told of a value that is hidden; these two are no secrets, whatever they are called."""
    if value is None or isinstance(value, bool):
        return type_name(value) if value is None else str(value).lower()
    return f"{HIDDEN} ({type_name(value)})"


_TYPE_NAMES: Final[dict[type, str]] = {
    bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object",
}  # fmt: skip


def type_name(value: Any) -> str:
    """The type of a JSON value in JSON's words; whole numbers and others are told apart."""
    return _TYPE_NAMES.get(type(value), "null")


def cookie_shape(value: str) -> str:
    """A Set-Cookie without what makes it a secret or a moment: the name, and its attributes but for Expires and Max-Age."""
    name, *attributes = value.split(";")
    kept = [part.strip() for part in attributes if part.partition("=")[0].strip().lower() in _COOKIE_PARTS_KEPT]
    return "; ".join([f"{name.partition('=')[0].strip()}={HIDDEN}", *sorted(kept, key=str.lower)])


def _plain(name: str) -> str:
    return _NOT_LETTERS.sub("", name.lower())
