"""Bodies of the admin API: what is taken, what is refused and how it is said."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitter.control.bodies import BodyError, Checked, Resume, Rollback, SetPercent, read


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        ('{"percent": 0}', 0.0),
        ('{"percent": 100}', 100.0),
        ('{"percent": 12.34}', 12.34),
        ('{"percent": 1e1}', 10.0),
        ('{"percent": 10.00}', 10.0),
        (' {"percent": 10, "route": null}\n', 10.0),
    ],
)
def test_percents(text: str, percent: float) -> None:
    assert read(SetPercent, text.encode()) == SetPercent(percent=percent)


def test_every_two_decimals() -> None:
    for hundredths in range(10_001):
        assert read(SetPercent, json.dumps({"percent": hundredths / 100}).encode()).percent == hundredths / 100


def test_nothing_at_all_is_an_empty_object() -> None:
    assert read(Rollback, b"") == read(Rollback, b"{}") == Rollback(reason="")
    assert read(Resume, b"") == Resume(reason="", from_stage=None)


def test_an_integer_may_be_written_with_a_point() -> None:
    assert read(Resume, b'{"from_stage": 2.0}').from_stage == 2


def test_a_reason_loses_the_blanks_around_it() -> None:
    assert read(Rollback, '{"reason": "  zu langsam, 太慢  "}'.encode()).reason == "zu langsam, 太慢"


@pytest.mark.parametrize(
    ("model", "text", "status", "message"),
    [
        (SetPercent, "", 422, "percent is required"),
        (SetPercent, "{}", 422, "percent is required"),
        (SetPercent, '{"percent": 12.345}', 422, "percent has at most two decimals (one bucket is 0.01 %), not 12.345"),
        (
            SetPercent,
            '{"percent": 0.5700000000000001}',
            422,
            "percent has at most two decimals (one bucket is 0.01 %), not 0.5700000000000001",
        ),
        (SetPercent, '{"percent": "10"}', 422, 'percent must be a number, not text: take the quotes away from "10"'),
        (SetPercent, '{"percent": true}', 422, "percent must be a percent from 0 to 100, not true"),
        (SetPercent, '{"percent": null}', 422, "percent has no value: give one, or take the key out"),
        (SetPercent, '{"percent": -0.01}', 422, "percent must be a percent from 0 to 100, not -0.01"),
        (SetPercent, '{"percent": 100.01}', 422, "percent must be a percent from 0 to 100, not 100.01"),
        (SetPercent, '{"percent": 1e999}', 400, None),
        (SetPercent, '{"percent": NaN}', 400, None),
        (SetPercent, '{"percent": [1]}', 422, "percent must be a percent from 0 to 100, not a list"),
        (SetPercent, '{"percent": 1, "route": ""}', 422, 'route must be the name of a route, not ""'),
        (SetPercent, '{"percent": 1, "route": 7}', 422, "route must be the name of a route, not 7"),
        (SetPercent, '{"percnt": 1}', 422, 'percent is required; "percnt" is unknown; did you mean percent?'),
        (Rollback, '{"force": 1}', 422, '"force" is unknown; known: reason'),
        (Rollback, '{"reason": 1}', 422, "reason must be text, not 1"),
        (Rollback, '{"reason": null}', 422, "reason must be text, not nothing"),
        (Rollback, '{"reason": "a\\nb"}', 422, "reason must be one line without control characters"),
        (Rollback, '{"reason": "\\u001b[31m"}', 422, "reason must be one line without control characters"),
        (Rollback, '{"reason": "\\u202egnp.exe"}', 422, "reason must be one line without control characters"),
        (Rollback, json.dumps({"reason": "x" * 501}), 422, "reason has at most 500 characters, this one 501"),
        (Rollback, "[]", 422, "the body must be an object, not a list"),
        (Rollback, "null", 422, "the body must be an object, not nothing"),
        (Rollback, '"x"', 422, 'the body must be an object, not "x"'),
        (Rollback, "{", 400, None),
        (Rollback, " \n", 400, None),
        (Rollback, "reason=x", 400, None),
        (Rollback, '{"reason": "\\ud800"}', 400, None),
        (Resume, '{"from_stage": 0}', 422, "from_stage must be the number of a stage, counted from 1, not 0"),
        (Resume, '{"from_stage": 1.5}', 422, "from_stage must be the number of a stage, counted from 1, not 1.5"),
        (Resume, '{"from_stage": true}', 422, "from_stage must be the number of a stage, counted from 1, not true"),
    ],
)
def test_refused(model: type[Checked], text: str, status: int, message: str | None) -> None:
    with pytest.raises(BodyError) as refused:
        read(model, text.encode())
    assert refused.value.status == status
    if message is None:
        assert refused.value.message.startswith("the body is no JSON: ")
    else:
        assert refused.value.message == message


@given(st.binary(max_size=200))
def test_whatever_is_sent_is_taken_or_refused(data: bytes) -> None:
    for model in (SetPercent, Rollback, Resume):
        refused = None
        try:
            assert isinstance(read(model, data), model)
        except BodyError as error:
            refused = error
        assert refused is None or refused.status in (400, 422)
        assert refused is None or refused.message.isprintable()
