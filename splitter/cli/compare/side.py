"""What a side is: control or candidate.

Owns: its name, where it is. Must not know: how it is asked.
Invariant: a side reached through a splitter is forced, in every request.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Side:
    """Where one of the two is: its own URL, or the splitter's and what `force_domain` says there."""

    name: str
    url: str
    force: str = ""

    def target(self, target: str) -> str:
        """The target as it is sent."""
        return target if not self.force else f"{target}{'&' if '?' in target else '?'}force_domain={self.force}"
