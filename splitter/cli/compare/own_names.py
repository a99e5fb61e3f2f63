"""Names that differ from side to side because this command made them: put back to what they stand for.

Owns: the replacing. Must not know: what is compared.
Invariant: two answers that differ only in their side's own names become equal, and nothing else is touched.

Writes are only safe when each side has something of its own to write to; so one side answers about `cmp-1f3a-a`, the other
about `cmp-1f3a-b`, and both mean `{camera}`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Final

from splitter.compare import Observation
from splitter.compare.observation import UnreadableError

_SHORTEST: Final = 3
"""Shorter values would be found where they mean something else."""


class OwnNames:
    """Replaces the values of a side's variables by their names. `shared`: variables with these values are left alone."""

    def __init__(self, variables: Mapping[str, str], url: str) -> None:
        own = {value: f"{{{name}}}" for name, value in variables.items() if len(value) >= _SHORTEST and name != "run"}
        own[url] = "{url}"
        self._own = own
        longest_first = sorted(own, key=len, reverse=True)
        self._form = re.compile("|".join(rf"(?<![0-9A-Za-z]){re.escape(value)}(?![0-9A-Za-z])" for value in longest_first))

    def put_back(self, observation: Observation) -> Observation:
        """The answer as any side would have given it. A body that is no text stays as it is."""
        headers = tuple((name, self._text(value)) for name, value in observation.headers)
        plain = dataclasses.replace(observation, headers=headers)
        if not observation.is_whole or not observation.body:
            return plain
        try:
            text = observation.content().decode("utf-8")
        except (UnreadableError, UnicodeDecodeError):
            return plain
        changed = self._text(text)
        if changed == text:
            return plain
        decoded = tuple(pair for pair in headers if pair[0].lower() != "content-encoding")
        return dataclasses.replace(plain, headers=decoded, body=changed.encode())

    def _text(self, text: str) -> str:
        return self._form.sub(lambda found: self._own[found[0]], text)
