"""Who may ask the admin API, and who may change anything.

Owns: the token, the checks of Host and Origin, how failed attempts are counted and slowed.
Must not know: the web framework, what is asked for, who answers. Pure: the clock is an argument.
Invariants:
- without the right token (or, where none is configured, from another site) nothing is changed;
- a browser can't be made an accomplice: not by DNS rebinding (Host), not by another site's script or form (Origin,
  Sec-Fetch-Site, Content-Type); no cookie is ever a credential;
- the right token is never refused for anybody's failures, and comparing tokens takes the same time whatever is wrong;
- memory is bounded, whatever is sent.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum, StrEnum
from ipaddress import ip_address
from typing import Final

from splitter.config import TcpAddress, UnixAddress

READING: Final = frozenset({"GET", "HEAD"})
FIRST_DELAY_S: Final = 0.1
LONGEST_DELAY_S: Final = 5.0
FORGET_AFTER_S: Final = 60.0
PEERS: Final = 1024
"""Addresses whose failures are remembered; the one that failed longest ago makes room."""

WAITING_PER_PEER: Final = 8
WAITING: Final = 256
"""Refusals that are being delayed at once, to one address and to all; what comes on top is told to come back later."""

_LOCALHOST: Final = "localhost"
_CHALLENGE: Final = 'Bearer realm="splitter"'
_HOW: Final = "send `Authorization: Bearer TOKEN` with the token of SPLITTER_ADMIN_TOKEN"
_ACTOR: Final = re.compile(r"(?:api|cli|console)(?::[!-~]{1,100})?", re.ASCII)


class Cause(StrEnum):
    """Why requests were refused; the words of the counter."""

    NO_TOKEN = "no_token"  # noqa: S105 - a word, not a secret
    WRONG_TOKEN = "wrong_token"  # noqa: S105
    TOO_MANY = "too_many"
    HOST = "host"
    CROSS_SITE = "cross_site"
    MEDIA_TYPE = "media_type"


class Page(Enum):
    """What a request is for, as far as it matters who asks."""

    OPEN = "open"
    """What the public port shows to anybody too: a scraper may call the splitter by any name."""

    SHELL = "shell"
    """A page a person opens, also by a link on another site. It holds no data of its own."""

    DATA = "data"


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a request matters here; a field that is missing is None. `peer`: its address, "" on a unix socket."""

    method: str
    page: Page
    peer: str
    host: str | None
    origin: str | None = None
    fetch_site: str | None = None
    fetch_mode: str | None = None
    authorization: str | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer instead of what was asked for, to be given after `delay_s`."""

    cause: Cause
    status: int
    code: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()
    delay_s: float = 0.0


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last_s: float = 0.0
    waiting: int = 0


class Gate:
    """Judges each request to the admin side. `refused` counts refusals by cause, all causes from the start."""

    def __init__(
        self,
        token: str | None,
        address: TcpAddress | UnixAddress,
        names: Collection[str],
        clock: Callable[[], float],
    ) -> None:
        self.refused: dict[str, int] = dict.fromkeys((cause.value for cause in Cause), 0)
        self._token = _digest(token) if token else None
        self._address = address
        self._listed = frozenset(name.lower() for name in names)
        self._names = self._listed | {_LOCALHOST} | ({address.host.lower()} if isinstance(address, TcpAddress) else set())
        self._clock = clock
        self._failures: dict[str, _Failures] = {}
        self._waiting = 0

    @property
    def wants_token(self) -> bool:
        return self._token is not None

    def check(self, asked: Asked) -> Refusal | None:
        """None: go on. Who gets a refusal waits `delay_s` before giving it, and then calls `answered`."""
        has_token = self._has_token(asked.authorization)
        refusal = (
            (None if has_token else self._check_host(asked))
            or self._check_site(asked)
            or self._check_change(asked, has_token=has_token)
        )
        if refusal is not None:
            self.refused[refusal.cause] += 1
        return refusal

    def answered(self, asked: Asked, refusal: Refusal) -> None:
        """A delayed refusal was given, or its client has left."""
        if not refusal.delay_s:
            return
        self._waiting -= 1
        failures = self._failures.get(asked.peer)
        if failures is not None and failures.waiting:
            failures.waiting -= 1

    def _has_token(self, authorization: str | None) -> bool:
        scheme, _, given = (authorization or "").partition(" ")
        same = hmac.compare_digest(_digest(given.strip()), self._token or b"")
        return same and scheme.lower() == "bearer"

    def _check_host(self, asked: Asked) -> Refusal | None:
        """A page of evil.example whose name was made to mean 127.0.0.1 still says evil.example in Host."""
        if isinstance(self._address, UnixAddress) or asked.page is Page.OPEN:
            return None
        if not asked.host:
            return Refusal(Cause.HOST, 400, "bad_request", "the request has no Host")
        name = _host_name(asked.host)
        if name in self._names or self._is_address_of_ours(name):
            return None
        message = f"{name!r} is not a name of this splitter: use its address, or list the name in admin.hosts"
        return Refusal(Cause.HOST, 421, "misdirected", message)

    def _is_address_of_ours(self, name: str) -> bool:
        """An address in Host was not looked up, so nobody can have redirected it; yet loopback is asked for as loopback."""
        try:
            address = ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self._address.is_loopback

    def _check_site(self, asked: Asked) -> Refusal | None:
        """Browsers say for whom they ask: Sec-Fetch-Site, or Origin where that is too new for them."""
        if asked.page is Page.OPEN:
            return None
        if asked.origin is not None:
            authority = asked.origin.partition("://")[2].lower()
            # A listed name too: a proxy in front of the console may have put another Host.
            if authority != (asked.host or "").lower() and _host_name(authority) not in self._listed:
                return _cross_site(asked.origin)
        is_opened = asked.page is Page.SHELL and asked.method in READING and asked.fetch_mode == "navigate"
        if asked.fetch_site not in (None, "same-origin", "none") and not is_opened:
            return _cross_site("a page of another site")
        return None

    def _check_change(self, asked: Asked, *, has_token: bool) -> Refusal | None:
        if asked.method in READING:
            return None
        if self._token is not None and not has_token:
            return self._count_failure(asked)
        media_type = (asked.content_type or "application/json").partition(";")[0].strip().lower()
        if media_type != "application/json":
            message = f"the body must be `Content-Type: application/json`, not {media_type}"
            return Refusal(Cause.MEDIA_TYPE, 415, "unsupported_media_type", message, (("Accept", "application/json"),))
        return None

    def _count_failure(self, asked: Asked) -> Refusal:
        """Refuse, later each time. A long token can't be guessed at any speed; this makes trying seen, and cheap for us."""
        now_s = self._clock()
        failures = self._remembered(asked.peer, now_s)
        delay_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(failures.count, 10))
        failures.count += 1
        failures.last_s = now_s
        if failures.waiting >= WAITING_PER_PEER or self._waiting >= WAITING:
            headers = (("Retry-After", f"{LONGEST_DELAY_S:.0f}"),)
            return Refusal(Cause.TOO_MANY, 429, "too_many_attempts", "too many attempts with a wrong token", headers)
        failures.waiting += 1
        self._waiting += 1
        cause, message = Cause.WRONG_TOKEN, f"the token is wrong: {_HOW}"
        if asked.authorization is None:
            cause, message = Cause.NO_TOKEN, f"changing anything wants the token: {_HOW}"
        return Refusal(cause, 401, "unauthorized", message, (("WWW-Authenticate", _CHALLENGE),), delay_s)

    def _remembered(self, peer: str, now_s: float) -> _Failures:
        """What `peer` did before; it moves to the end of the table, whose first entry makes room."""
        failures = self._failures.pop(peer, None)
        if failures is None:
            failures = _Failures()
        elif now_s - failures.last_s > FORGET_AFTER_S:
            failures.count = 0
        while len(self._failures) >= PEERS:
            del self._failures[next(iter(self._failures))]
        self._failures[peer] = failures
        return failures


def _digest(token: str) -> bytes:
    """Of one length, whatever the token's: compare_digest tells lengths apart faster."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _host_name(host: str) -> str:
    """`Host` without its port (RFC 9110 section 7.2), in small letters, without brackets or a final dot."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def _cross_site(who: str) -> Refusal:
    return Refusal(Cause.CROSS_SITE, 403, "cross_site", f"refused: asked by {who}, and only the console itself may ask")


def actor(declared: str | None, peer: str) -> str:
    """Who is said to have asked, for the audit list: `cli:alice@ops1`, else `api:ADDRESS`. A claim, not a proof."""
    if declared is not None and _ACTOR.fullmatch(declared):
        return declared
    return f"api:{peer}" if peer else "api"
