"""The picture in docs/rollout_plan.md is the table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from splitter.progress import IN_FORCE, Phase
from splitter.rollout import MOVES_ON, TRANSITIONS, Event
from tools import state_diagram


def test_the_page_is_up_to_date() -> None:
    assert state_diagram.main(["--check"]) == 0


def test_a_page_that_is_not_is_seen_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        state_diagram.PAGE.read_text("utf-8").replace("idle --> running: start", "idle --> running: go"), "utf-8"
    )
    monkeypatch.setattr(state_diagram, "PAGE", page)
    assert state_diagram.main(["--check"]) == 1
    assert state_diagram.main([]) == 0
    assert page.read_text("utf-8") == (Path(__file__).parents[2] / "docs" / "rollout_plan.md").read_text("utf-8")


def test_every_transition_that_changes_something_is_an_arrow_and_no_arrow_is_without_one() -> None:
    drawn: dict[tuple[Phase, Event], Phase] = {}
    for origin, target, label in re.findall(r"^ +(\w+) --> (\w+): (.+)$", state_diagram.diagram(), re.MULTILINE):
        for phase in sorted(IN_FORCE) if origin == state_diagram.IN_FORCE_BOX else [Phase(origin)]:
            for event in map(Event, label.split(", ")):
                drawn[phase, event] = Phase(target)
                if event is Event.PROMOTE:
                    drawn[phase, Event.PROMOTE_FULL] = Phase(target)
    assert drawn == {key: target for key, target in TRANSITIONS.items() if target is not key[0] or key[1] in MOVES_ON}


def test_every_phase_and_every_button_is_explained() -> None:
    page = state_diagram.PAGE.read_text("utf-8")
    rows = set(re.findall(r"^\| `([a-z_ -]+)` \|", page, re.MULTILINE))
    assert {phase.value for phase in Phase} <= rows
    buttons = {Event.START, Event.PAUSE, Event.CONTINUE, Event.PROMOTE, Event.ROLLBACK, Event.RESUME, Event.ABORT, Event.SET}
    assert {button.value for button in buttons} | {"promote --full"} <= rows
