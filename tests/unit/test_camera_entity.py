"""Every state and every move of a camera's life."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from domain_backend.entities.camera import NEED_ACTIVE, TRANSITIONS, Camera, Move, State
from domain_backend.entities.refusals import Refusal

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def camera(state: State, *, active: bool = True) -> Camera:
    return Camera("c", "C", "testsrc", active, auto_start=False, fps=5, width_px=640, height_px=360, state=state)


@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize("move", list(Move))
@pytest.mark.parametrize("state", list(State))
def test_every_move_in_every_state(state: State, move: Move, active: bool) -> None:
    target = TRANSITIONS[state].get(move)
    before = camera(state, active=active)
    if target is None or (move in NEED_ACTIVE and not active):
        with pytest.raises(Refusal, match="possible now"):
            before.moved(move, AT)
        return
    after = before.moved(move, AT, "broken" if move is Move.FAILED else None)
    assert after.state is target
    assert before.state is state, "a move makes a new camera"
    if target is not state:
        assert after.since == AT
    if move is Move.FAILED:
        assert after.last_error == "broken"


@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize("state", list(State))
def test_what_is_said_to_be_possible_is(state: State, active: bool) -> None:
    before = camera(state, active=active)
    for move in before.possible():
        assert before.moved(move, AT) != before or move is Move.DELETE


def test_an_inactive_camera_never_runs() -> None:
    for state in State:
        assert camera(state, active=True).moved(Move.DEACTIVATE, AT).state is State.STOPPED
