"""Floods of log lines, held back by kind.

Owns: how many lines of a kind may come in a window, and the count of those that may not. Must not know: what a line says,
what time is. Invariant: every line is either admitted or told of in exactly one sum.
"""

from __future__ import annotations

from typing import Final

LINES: Final = 10
WINDOW_S: Final = 1.0


class Storms:
    """`lines` of each kind in each window of `window_s` seconds; `now_s` counts from any point and never goes back."""

    def __init__(self, lines: int = LINES, window_s: float = WINDOW_S) -> None:
        self._lines = lines
        self._window_s = window_s
        self._windows: dict[str, tuple[float, int]] = {}
        """Of each kind: when its window ends, and how many lines came in it."""

    def admit(self, kind: str, now_s: float) -> bool:
        """Whether this line may be written. Ask `over` first: a window that is over is forgotten here."""
        ends_s, count = self._windows.get(kind, (now_s + self._window_s, 0))
        self._windows[kind] = (ends_s, count + 1)
        return count < self._lines

    def over(self, now_s: float) -> list[tuple[str, int]]:
        """The windows that are over: kind, and how many lines were held back (those with none are left out)."""
        if not self._windows:
            return []
        ended = [(kind, count) for kind, (ends_s, count) in self._windows.items() if ends_s <= now_s]
        for kind, _ in ended:
            del self._windows[kind]
        return [(kind, count - self._lines) for kind, count in ended if count > self._lines]
