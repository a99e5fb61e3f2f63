"""JSON paths of rules: what is read, what is refused and how, and that a place written as a path is read as that place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitter.config.jsonpath import (
    IgnoreRule,
    Measure,
    PathPart,
    Tolerance,
    ToleranceKind,
    Tolerances,
    path_text,
    read_json_path,
)
from splitter.config.kinds import PartsError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("$", []),
        ("$.timestamp", [PathPart("timestamp")]),
        ("$.cameras[*].uptime_s", [PathPart("cameras"), PathPart(None), PathPart("uptime_s")]),
        ("$..id", [PathPart("id", deep=True)]),
        ("$.a..b", [PathPart("a"), PathPart("b", deep=True)]),
        ("$..[0]", [PathPart(0, deep=True)]),
        ("$.*.name", [PathPart(None), PathPart("name")]),
        ("$..*", [PathPart(None, deep=True)]),
        ("$['odd key']", [PathPart("odd key")]),
        ('$["it\'s"]', [PathPart("it's")]),
        (r"$['it\'s']", [PathPart("it's")]),
        (r"$['\u00e4']", [PathPart("ä")]),
        ("$..['a.b'][3]", [PathPart("a.b", deep=True), PathPart(3)]),
        ("$.über-all", [PathPart("über-all")]),
    ],
)
def test_what_is_read(text: str, parts: list[PathPart]) -> None:
    path = read_json_path(text)
    assert (str(path), list(path.parts)) == (text, parts)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("timestamp", "must begin with $"),
        ("$timestamp", "can't be read from"),
        ("$.", "ends with a dot"),
        ("$.a..", "ends with a dot"),
        ("$.[*]", "can't be read from"),
        ("$...a", "can't be read from"),
        ("$.a[1:2]", "slices, filters and negative indexes are not taken"),
        ("$.a[-1]", "slices, filters and negative indexes are not taken"),
        ("$.a[?(@.b > 1)]", "slices, filters and negative indexes are not taken"),
        ("$['a','b']", "write a path for each"),
        ("$.a[b]", "a name in brackets is quoted"),
        (r"$['\q']", "JSON would not read"),
        ("$" + ".a" * 33, "more than 32 steps"),
    ],
)
def test_what_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        read_json_path(text)
    assert told in str(refused.value)


@given(st.lists(st.one_of(st.text(), st.integers(0, 999_999_999)), max_size=8).map(tuple))
def test_a_place_written_as_a_path_is_read_as_that_place(steps: tuple[str | int, ...]) -> None:
    text = path_text(steps)
    assert text.isprintable()
    assert [(part.name, part.deep) for part in read_json_path(text).parts] == [(step, False) for step in steps]


class TestIgnoreRule:
    @pytest.mark.parametrize("text", ["$.a", "status", "body", "header:etag"])
    def test_what_a_report_names_can_be_ignored(self, text: str) -> None:
        assert IgnoreRule().read(text).text == text

    def test_headers_have_no_case(self) -> None:
        assert IgnoreRule().read("header:ETag").text == "header:etag"

    @pytest.mark.parametrize(
        ("text", "told"),
        [("timestamp", "did you mean $.timestamp?"), ("header:", "no header can have the name"), ("x y", 'not "x y"')],
    )
    def test_what_is_refused(self, text: str, told: str) -> None:
        with pytest.raises(ValueError, match="header") as refused:
            IgnoreRule().read(text)
        assert told in str(refused.value)


class TestTolerance:
    @pytest.mark.parametrize(
        ("given_", "shown"),
        [
            (0.5, "0.5"),
            (2, "2"),
            (0, "0"),
            ("5%", "5%"),
            ("0.1 %", "0.1%"),
            ("1e-3", "0.001"),
            ("90s", "90s"),
            ("2m", "2m"),
            ("any", "any"),
        ],
    )
    def test_what_is_read_is_shown_again(self, given_: object, shown: str) -> None:
        kind = ToleranceKind()
        assert kind.show(kind.read(given_)) == shown
        assert kind.read(shown) == kind.read(given_)

    @pytest.mark.parametrize("given_", [-1, True, "five", "101%", float("inf"), float("nan"), "", None, []])
    def test_what_is_refused(self, given_: object) -> None:
        with pytest.raises(ValueError, match=r"number|value"):
            ToleranceKind().read(given_)

    def test_how_far_is_near_enough(self) -> None:
        assert Tolerance(0.5).allows(1, 1.5)
        assert not Tolerance(0.5).allows(1, 1.51)
        assert Tolerance(0.05, Measure.SHARE).allows(95, 100)
        assert not Tolerance(0.05, Measure.SHARE).allows(94, 100)
        assert Tolerance(0.05, Measure.SHARE).allows(-95, -100)

    @pytest.mark.parametrize(
        ("one", "other", "near"),
        [
            ("2025-10-31T08:00:00.000Z", "2025-10-31T08:00:01.999Z", True),
            ("2025-10-31T08:00:00.000Z", "2025-10-31T08:00:02.001Z", False),
            ("2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z", True),
            ("2025-10-31T08:00:00.000Z", "2025-10-31T08:00:00Z", False),
            ("2025-10-31T08:00:00Z", "2025-10-31T08:00:00+00:00", False),
            ("2025-10-31T08:00:00+01:00", "2025-10-31T07:00:00+00:00", True),
            ("2025-99-31T08:00:00Z", "2025-98-31T08:00:00Z", False),
            ("5", "6", False),
            (1, 2, False),
            (None, "2025-10-31T08:00:00Z", False),
        ],
    )
    def test_times(self, one: object, other: object, near: bool) -> None:
        tolerance = ToleranceKind().read("2s")
        assert tolerance.allows(one, other) is tolerance.allows(other, one) is near

    def test_whole_numbers_beyond_every_float(self) -> None:
        huge = 10**400
        assert Tolerance(0.5).allows(huge, huge)
        assert not Tolerance(0.5).allows(huge, huge + 1)
        assert not Tolerance(0.5, Measure.SHARE).allows(huge, huge + 1)
        assert not Tolerance(0.5).allows(huge, 0.5)

    def test_every_fault_of_a_mapping_is_told(self) -> None:
        with pytest.raises(PartsError) as refused:
            Tolerances().read({"$.a": 1, "b": 1, "$.c": "x"})
        assert [path for path, _ in refused.value.faults] == ["b", "$.c"]
