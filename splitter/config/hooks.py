"""The section about hooks: who outside is told of every change.

Owns: its keys, defaults and descriptions; the description of a field is its documentation (`docs/configuration.md` is made
of it). Must not know: how anything is sent (`splitter.control.hooks` does), files, lines, the environment's values.
Invariants: immutable; a secret is named here, never held, because the file's text goes to every worker, which faces clients.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import Field

from splitter.config.addresses import HookUrl
from splitter.config.kinds import Kind, Listing, Nullable, Word
from splitter.config.numbers import Duration
from splitter.config.sections import Section

HOOK_EVENTS: Final = ("rollback", "resume", "percent", "plan", "guardrail", "config", "state")
"""What a hook can be told of; docs/hooks.md says what each is."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)


class VariableName(Kind[str]):
    """The name of an environment variable that holds a secret."""

    words = "name of an environment variable"

    def read(self, given: object) -> str:
        """What is no name is not repeated: it may be the secret itself."""
        otherwise = "must be the name of an environment variable, such as HOOK_SECRET, not the secret itself"
        if not isinstance(given, str) or not _NAME.fullmatch(given):
            raise ValueError(otherwise)
        return given

    def show(self, value: str) -> str:
        return value


class Hook(Section):
    """Somebody who is told."""

    url: Annotated[str, HookUrl()] = Field(description="Gets a `POST` with JSON for each event.")
    secret_env: Annotated[str | None, Nullable(VariableName())] = Field(
        default=None,
        description="Environment variable that holds the secret deliveries are signed with; `null`: they are not signed.",
    )
    events: Annotated[tuple[str, ...], Listing(Word(HOOK_EVENTS), at_least=1, example="[rollback, resume]")] = Field(
        default=HOOK_EVENTS, description="What it is told of."
    )
    timeout_s: Annotated[float, Duration(0.1, 60)] = Field(
        default=5.0, alias="timeout", description="For the whole of one try; what is not answered by then is tried again."
    )
