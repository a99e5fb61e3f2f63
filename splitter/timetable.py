"""The timetable of a plan: when each stage starts and ends, if nothing holds it up.

Owns: the rows, and how they look as text, as JSON and as a calendar (RFC 5545).
Must not know: clocks, where the plan stands.
Invariants: times are exact seconds apart, across changes of the clocks too; the same plan and start give entries of the same
UIDs, so that importing a calendar twice doubles nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from icalendar import Calendar
from icalendar import Event as Entry

from splitter.config import Stage
from splitter.rollout import lasting

_EARLIEST = "Times are the earliest: a stage ends when its hold is over and the guardrails have passed."


@dataclass(frozen=True, slots=True)
class Row:
    """One stage; `stage` counts from 1. `ends` is None for the last one, which stays. Times are UTC.

    `approve`, `confirm`: a person or a hook has to let it go on. `routes`: those whose percent this stage changes.
    """

    stage: int
    percent: float
    routes: dict[str, float]
    starts: datetime
    ends: datetime | None
    approve: bool
    confirm: bool


def timetable(plan: Sequence[Stage], start: datetime, *, from_stage: int = 0, held_s: float = 0.0) -> tuple[Row, ...]:
    """The rows from stage `from_stage` (from 0) on; at `start`, a time with a zone, it has been held for `held_s`."""
    at = start.astimezone(UTC) - timedelta(seconds=held_s)
    rows = []
    for index, stage in enumerate(plan[from_stage:], from_stage):
        is_last = index == len(plan) - 1
        ends = None if is_last and stage.hold_s is None else at + timedelta(seconds=stage.hold_s or 0.0)
        row = Row(index + 1, stage.percent, stage.routes, at, ends, stage.approve, stage.confirm is not None)
        rows.append(row)
        at = ends or at
    return tuple(rows)


def as_text(rows: Sequence[Row], local: Callable[[datetime], datetime]) -> str:
    """A table for a terminal; `local` turns a time into the reader's."""
    table = [("stage", "percent", "starts", "ends", "lasts", "then")]
    for row in rows:
        lasts = lasting((row.ends - row.starts).total_seconds()) if row.ends else ""
        ends = f"{local(row.ends):%a %Y-%m-%d %H:%M}" if row.ends else "stays"
        table.append(
            (str(row.stage), f"{row.percent:g} %", f"{local(row.starts):%a %Y-%m-%d %H:%M}", ends, lasts, _then(row))
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    moved = [f"stage {row.stage} sets {_routes(row)}" for row in rows if row.routes]
    return "\n".join([*lines, "", *moved, _EARLIEST])


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """As plain values, times in RFC 3339."""
    return [
        {
            "stage": row.stage,
            "percent": row.percent,
            "routes": row.routes,
            "starts": row.starts.isoformat(),
            "ends": row.ends.isoformat() if row.ends else None,
            "approve": row.approve,
            "confirm": row.confirm,
        }
        for row in rows
    ]


def as_calendar(rows: Sequence[Row], made_at: datetime) -> bytes:
    """An iCalendar file, an entry for each stage. Entries leave the time free: nobody is busy while a stage is held."""
    calendar = Calendar()
    calendar.add("prodid", "-//camera-splitter//rollout plan//EN")
    calendar.add("version", "2.0")
    calendar.add("x-wr-calname", "Rollout plan")
    for row in rows:
        entry = Entry()
        entry.add("uid", f"stage-{row.stage}-from-{rows[0].starts:%Y%m%dT%H%M%SZ}@camera-splitter")
        entry.add("dtstamp", made_at.astimezone(UTC).replace(microsecond=0))
        entry.add("dtstart", row.starts.replace(microsecond=0))
        if row.ends and row.ends > row.starts:
            entry.add("dtend", row.ends.replace(microsecond=0))
        entry.add("summary", f"Rollout stage {row.stage}: {row.percent:g} % of clients on domain")
        details = [f"Routes: {_routes(row)}." if row.routes else "", f"Then: {_then(row)}." if _then(row) else "", _EARLIEST]
        entry.add("description", "\n".join(filter(None, details)))
        entry.add("transp", "TRANSPARENT")
        calendar.add_component(entry)
    return bytes(calendar.to_ical())


def _routes(row: Row) -> str:
    return ", ".join(f"{name} to {percent:g} %" for name, percent in row.routes.items())


def _then(row: Row) -> str:
    who = [name for name, wanted in (("a person", row.approve), ("the hook", row.confirm)) if wanted]
    return f"waits for {' and '.join(who)}" if who else ""
