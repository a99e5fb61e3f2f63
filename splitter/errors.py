"""The errors of the splitter, and what each tells the one who catches it.

Owns: the hierarchy. Must not know: who raises or catches.
Invariant: every error that can reach a person carries a sentence that says what is wrong; every error that can end an
exchange carries the status a client is to see (RFC 9110 section 15) and whose fault it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class SplitterError(Exception):
    """Base of all errors this project raises on purpose; any other exception is a bug."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a configuration.

    `path` is dotted (`rollout.routes[0].percent`), empty for the file as a whole; `line` counts from 1, 0 when the value
    did not come from a file; `source` names the file or the environment variable.
    """

    path: str
    message: str
    source: str
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class ConfigError(SplitterError):
    """A configuration that can't be used. `faults` lists everything wrong with it, not just the first thing."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class StoreError(SplitterError):
    """The state can't be read or saved just now; nothing was changed."""


class IllegalTransition(SplitterError):
    """What was asked for can't follow what is; nothing was changed. The message says what is possible instead."""


class Source(Enum):
    """Whose fault it was that an exchange failed."""

    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"
    INTERNAL = "internal"


class Retry(Enum):
    """When the request may be sent again (RFC 9110 section 9.2.2)."""

    ALWAYS = "always"  # nothing was sent: any method
    REUSED_ONLY = "reused_only"  # a kept connection that the backend was closing just then
    IDEMPOTENT = "idempotent"  # something was sent, no answer seen
    NEVER = "never"


class ExchangeError(SplitterError):
    """One request can't be completed. `status` is what its client sees if nothing was sent to it yet.

    `kind` is the word in `splitter_backend_failures_total` and in the JSON body's `code`.
    """

    def __init__(self, kind: str, message: str, *, status: int, source: Source, retry: Retry = Retry.NEVER) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.source = source
        self.retry = retry


class BadRequest(ExchangeError):
    """A request refused before any backend saw it."""

    def __init__(self, message: str, *, status: int = 400, kind: str = "bad_request") -> None:
        super().__init__(kind, message, status=status, source=Source.DOWNSTREAM)


class BadResponse(ExchangeError):
    """A backend's answer that is not HTTP, or that two readers could read differently."""

    def __init__(self, message: str) -> None:
        super().__init__("protocol", message, status=502, source=Source.UPSTREAM)


def no_connection(why: str) -> ExchangeError:
    """The backend could not be reached: nothing was sent."""
    return ExchangeError("connect", f"could not connect: {why}", status=502, source=Source.UPSTREAM, retry=Retry.ALWAYS)


def exhausted(what: str) -> ExchangeError:
    """This process lacks something itself: nothing was sent, and no backend is to blame."""
    return ExchangeError("exhausted", what, status=503, source=Source.INTERNAL, retry=Retry.ALWAYS)


def overload(what: str) -> ExchangeError:
    """The backend has no connection to spare: nothing was sent."""
    return ExchangeError("overload", what, status=503, source=Source.UPSTREAM, retry=Retry.ALWAYS)


def no_answer(after_s: float) -> ExchangeError:
    """The backend was sent a request and has said nothing for this long."""
    message = f"the backend did not answer within {after_s:g} s"
    return ExchangeError("timeout", message, status=504, source=Source.UPSTREAM, retry=Retry.IDEMPOTENT)


def cut_short(how: str) -> ExchangeError:
    """The backend was sent a request and ended the connection; `how` is reset or closed."""
    message = f"the backend {how} the connection before its answer was complete"
    return ExchangeError("reset", message, status=502, source=Source.UPSTREAM, retry=Retry.IDEMPOTENT)
