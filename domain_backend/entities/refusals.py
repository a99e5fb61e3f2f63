"""Why a call is refused, in words a client may read.

Owns: the kinds of refusal. Must not know: the HTTP status the web layer makes of each.
"""

from __future__ import annotations


class Refusal(Exception):
    """Base. `code` is for programs, the text for people."""

    code = "refused"


class NotFound(Refusal):
    """There is no such camera or rule."""

    code = "not_found"


class IllegalMove(Refusal):
    """Not from this state. The text names the state and what is possible."""

    code = "illegal_move"


class Inactive(Refusal):
    """Not while the camera is switched off."""

    code = "inactive"


class NotRunning(Refusal):
    """Only a running camera has a picture."""

    code = "not_running"


class Duplicate(Refusal):
    """The id or name is taken."""

    code = "duplicate"


class SourceUnavailable(Refusal):
    """The camera's source gives no picture."""

    code = "source_unavailable"


class InvalidRule(Refusal):
    """A rule about something that is not there."""

    code = "bad_request"
