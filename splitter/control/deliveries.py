"""What a hook is sent, and when: who wants which event, the body, its signature, how long to wait before the next try.

Owns: all of that, and the bounded queue of a hook. Must not know: sockets, tasks; time and randomness are arguments.
Invariants: the body of a delivery is the same at every try, its signature is made for each; a queue never grows beyond its
bound, and what it lost is counted; an event that no rule here knows counts as one of the plan, so that none is silent.
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

import orjson
from pydantic import SecretStr

from splitter.config import Config
from splitter.control.status import event_line
from splitter.state import Event

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 120.0
GIVE_UP_S: Final = 3600.0
"""From the event to the last try. Who hears of a rollback later than that is misled more than told."""

QUEUE: Final = 100
"""Deliveries that wait for one hook; more of them are hours of changes, and the newest ones matter."""

_BY_GUARDRAIL: Final = "guardrail:"
_DOUBLINGS: Final = 16
_SPEAKS_OF_NOW: Final = frozenset({408, 425, 429})
"""Statuses below 500 that another try may change: RFC 9110 section 15.5.9, RFC 8470 section 5.2, RFC 6585 section 4."""


class Answer(StrEnum):
    """What a try came to."""

    TAKEN = "taken"
    LATER = "later"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class HookSettings:
    """One hook, with its secret in hand."""

    url: str
    events: frozenset[str]
    timeout_s: float
    secret: SecretStr | None = None

    @property
    def shown(self) -> str:
        """The URL for people: without the query, which may hold a secret."""
        return self.url.partition("?")[0]


def settings_of(config: Config, environ: Mapping[str, str]) -> tuple[HookSettings, ...]:
    """The hooks of a configuration."""
    return tuple(
        HookSettings(hook.url, frozenset(hook.events), hook.timeout_s, secret_of(hook.secret_env, environ))
        for hook in config.hooks
    )


def secret_of(variable: str | None, environ: Mapping[str, str]) -> SecretStr | None:
    """What a variable holds; None when nothing is to be signed."""
    return None if variable is None else SecretStr(environ.get(variable, "").strip())


# --- what is said -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one hook. `id` tells a second try from a second event; `made_s` is by the clock of the tries."""

    id: str
    kind: str
    body: bytes
    made_s: float


def kind_of(event: Event) -> str:
    """Which of `HOOK_EVENTS` an event of the record is."""
    match event.what:
        case "rollback" | "resume" | "config" as kind:
            return kind
        case "state lost":
            return "state"
    if event.who.startswith(_BY_GUARDRAIL):
        return "guardrail"  # what it does short of rolling back: it freezes the plan, or only says so
    return "percent" if event.what.startswith("percent") else "plan"


def told(event: Event, summary: str, splitter: str) -> dict[str, Any]:
    """An event of the record as a hook is told of it. Its id follows from its content: every hook is given the same."""
    line = event_line(event)
    return {"id": _id_of(orjson.dumps(line)), "event": kind_of(event), "splitter": splitter, **line, "summary": summary}


def _id_of(content: bytes) -> str:
    return sha256(content).hexdigest()[:32]


def delivery_of(event: Mapping[str, Any], delivery_id: str, made_s: float) -> Delivery:
    """What one hook gets of an event."""
    return Delivery(delivery_id, str(event["event"]), orjson.dumps({"delivery": delivery_id, **event}), made_s)


def headers_of(kind: str, delivery_id: str, body: bytes, secret: SecretStr | None, now_s: float) -> dict[str, str]:
    """The fields of one try, `now_s` being Unix time."""
    timestamp = int(now_s)
    fields = {
        "Content-Type": "application/json",
        "X-Splitter-Event": kind,
        "X-Splitter-Delivery": delivery_id,
        "X-Splitter-Timestamp": str(timestamp),
    }
    if secret is not None:
        fields["X-Splitter-Signature"] = signature(secret.get_secret_value().encode(), timestamp, body)
    return fields


def signature(secret: bytes, timestamp: int, body: bytes) -> str:
    """`sha256=` and the HMAC of `timestamp.body`: an old delivery can't be sent again under a new time."""
    return f"sha256={hmac.new(secret, b'%d.%b' % (timestamp, body), sha256).hexdigest()}"


# --- when it is said --------------------------------------------------------------------------------------------------


def judge(status: int) -> Answer:
    """What a status means. A redirect is not followed: it would take what is signed to where nobody meant it to go."""
    if 200 <= status < 300:
        return Answer.TAKEN
    return Answer.LATER if status >= 500 or status in _SPEAKS_OF_NOW else Answer.NEVER


def pause_s(failures: int, chance: float) -> float:
    """How long to wait after so many failed tries in a row, at least one: doubled each time, and up to half of it left to
    `chance`, from 0 to 1, so that splitters whose hook comes back do not all come at once."""
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, _DOUBLINGS))
    return longest * (0.5 + chance / 2)


@dataclass(slots=True)
class Backlog:
    """Deliveries that wait for a hook, oldest first; the oldest make room for the newest."""

    bound: int = QUEUE
    waiting: deque[Delivery] = field(default_factory=deque)

    def put(self, delivery: Delivery) -> int:
        """Append; how many were lost for it."""
        self.waiting.append(delivery)
        lost = len(self.waiting) - self.bound
        for _ in range(lost):
            self.waiting.popleft()
        return max(0, lost)

    def take(self) -> Delivery | None:
        return self.waiting.popleft() if self.waiting else None
