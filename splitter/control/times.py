"""Times as people and programs read them. Owns: that one form. Must not know: clocks."""

from __future__ import annotations

from datetime import UTC, datetime


def when(at_s: float) -> str:
    """Seconds since 1970 as `2026-11-24T20:29:00.123Z`."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
