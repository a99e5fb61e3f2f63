"""Draws a plan's phases in docs/rollout_plan.md from the table: `python -m tools.state_diagram`, `--check` only compares.

Owns: what stands between the two markers of that page. Must not know: what any event means.
Invariant: every transition of the table that changes something is an arrow, and no arrow is without one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from splitter.progress import IN_FORCE
from splitter.rollout import MOVES_ON, TRANSITIONS, Event

PAGE: Final = Path(__file__).parent.parent / "docs" / "rollout_plan.md"
BEGIN: Final = "<!-- made by `python -m tools.state_diagram` from the table in splitter/rollout.py -->"
END: Final = "<!-- end of what is made -->"


IN_FORCE_BOX: Final = "in_force"
"""The box around the phases in which a stage is in force: what leads out of all of them is one arrow from the box."""


def arrows() -> dict[tuple[str, str], list[Event]]:
    """The events that lead from one phase, or the box, to another phase, or to the next stage of the same."""
    found: dict[tuple[str, str], list[Event]] = {}
    for (phase, event), target in TRANSITIONS.items():
        together = {TRANSITIONS.get((other, event)) for other in IN_FORCE} == {target}
        origin = IN_FORCE_BOX if phase in IN_FORCE and together else phase
        events = found.setdefault((origin, target), [])
        if (target is not phase or event in MOVES_ON) and event not in events:
            events.append(event)
    return {way: events for way, events in found.items() if events}


def label(events: list[Event]) -> str:
    """What stands at an arrow; where `promote` leads, `promote full` leads too."""
    return ", ".join(event.value for event in events if event is not Event.PROMOTE_FULL)


def diagram() -> str:
    """As Mermaid's stateDiagram-v2."""
    inner: list[str] = []
    outer: list[str] = []
    for (origin, target), events in arrows().items():
        place, indent = (inner, 8) if origin in IN_FORCE and target in IN_FORCE else (outer, 4)
        place.append(f"{' ' * indent}{origin} --> {target}: {label(events)}")
    box = f'    state "a stage is in force" as {IN_FORCE_BOX} {{'
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> idle", box, *inner, "    }", *outer, "```"])


def page_with(text: str, page: str) -> str:
    """The page with its diagram replaced."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.state_diagram", description="Draw the phases of a plan.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if the page is not up to date")
    options = parser.parse_args(arguments)
    before = PAGE.read_text("utf-8")
    after = page_with(diagram(), before)
    if after == before:
        return 0
    if options.check:
        print(f"{PAGE.name} is not up to date: run python -m tools.state_diagram", file=sys.stderr)
        return 1
    PAGE.write_text(after, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
