"""What a difference is: its place, its kind, what stands there on both sides.

Owns: these, and how places are grouped. Must not know: how differences are found, noise.
Invariant: the place of a difference in JSON is a JSON path that a rule can name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from splitter.compare.endpoint import looks_like_id
from splitter.compare.mask import Mask
from splitter.config.jsonpath import HEADER_PREFIX, key_text, path_text

_PATH_CHARACTERS: Final = 300
_KEY_CHARACTERS: Final = 64

Steps = tuple[str | int, ...]


class Kind(StrEnum):
    """What is different about a place."""

    VALUE = "value"
    TYPE = "type"
    MISSING = "missing"
    """Control has it, candidate has not."""
    EXTRA = "extra"
    """Candidate has it, control has not."""
    RENAMED = "renamed"
    """One key is missing, another one is there with its value."""
    ORDER = "order"
    """The same items in another order."""
    NO_ANSWER = "no answer"


class _Absent:
    """What a side has where it has nothing."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT: Final = _Absent()


@dataclass(frozen=True, slots=True)
class Difference:
    """One place, list indexes left open: `$.cameras[*].port`, `header:location`, `status`, `body`.

    `steps` lead to where it was first found; `control` and `candidate` are the values there, as they were: use `shown`.
    """

    path: str
    kind: Kind
    control: Any
    candidate: Any
    steps: Steps = ()

    @property
    def place(self) -> tuple[str, Kind]:
        return self.path, self.kind

    def shown(self, mask: Mask) -> tuple[str, str]:
        """Both values as a report may show them."""
        return self._shown(self.control, mask), self._shown(self.candidate, mask)

    def _shown(self, value: Any, mask: Mask) -> str:
        if value is ABSENT:
            return "nothing"
        if self.path.startswith("$"):
            return mask.value(value, self.steps)
        if self.path.startswith(HEADER_PREFIX):
            return mask.header(self.path.removeprefix(HEADER_PREFIX), value)
        return mask.text(str(value))

    def where(self, mask: Mask) -> str:
        """The place with its indexes."""
        return mask.text(path_text(self.steps)) if self.path.startswith("$") else self.path


@dataclass(frozen=True, slots=True)
class Differences:
    """All that differs between two answers. `ignored`: places that differ and a rule covers; `more`: too many to list."""

    found: tuple[Difference, ...] = ()
    ignored: int = 0
    more: bool = False


def grouped_path(steps: Steps) -> str:
    """A place with list indexes and keys that are ids left open; it is a JSON path."""
    text = "$" + "".join("[*]" if isinstance(step, int) else _open_step(step) for step in steps)
    return text if len(text) <= _PATH_CHARACTERS else "$..*"


def _open_step(key: str) -> str:
    return ".*" if len(key) > _KEY_CHARACTERS else _step_text(key)


@lru_cache(maxsize=4096)
def _step_text(key: str) -> str:
    return ".*" if looks_like_id(key) else key_text(key)
