"""Two JSON values compared: every difference is found and named, rules cover what they say, and nothing else."""

from __future__ import annotations

import copy
import json
from typing import Any, ClassVar

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from splitter.compare import Differences, Kind, Observation, Rules, compare
from splitter.config import Comparison

JSON_TYPE = (("Content-Type", "application/json"),)
KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)  # -0.0 and 0.0 are one number
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), NUMBERS, st.text(max_size=8))
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(KEYS, inner, max_size=5)), max_leaves=20
)


def rules(**keys: Any) -> Rules:
    return Rules.of(Comparison.model_validate(keys))


def answer(value: Any) -> Observation:
    return Observation(200, JSON_TYPE, json.dumps(value).encode())


def differences(control: Any, candidate: Any, **keys: Any) -> Differences:
    return compare(answer(control), answer(candidate), rules(**keys))


def found(control: Any, candidate: Any, **keys: Any) -> list[tuple[str, str]]:
    return sorted((each.path, each.kind.value) for each in differences(control, candidate, **keys).found)


CAMERA = {"id": "entrance", "port": 554, "state": "running", "fps": 5.0, "tags": ["door", "north"], "owner": {"team": "ops"}}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"port": 555}, [("$.port", "value")]),
        ({"port": "554"}, [("$.port", "type")]),
        ({"port": 554.0}, [("$.port", "type")]),
        ({"port": None}, [("$.port", "type")]),
        ({"tags": ["north", "door"]}, [("$.tags", "order")]),
        ({"tags": ["door"]}, [("$.tags[*]", "missing")]),
        ({"tags": ["door", "north", "new"]}, [("$.tags[*]", "extra")]),
        ({"tags": ["new", "door", "north"]}, [("$.tags[*]", "extra")]),
        ({"tags": ["door", "south"]}, [("$.tags[*]", "value")]),
        ({"tags": "door"}, [("$.tags", "type")]),
        ({"owner": {"team": "dev"}}, [("$.owner.team", "value")]),
        ({"owner": {"group": "ops"}}, [("$.owner.team", "renamed")]),
        ({"owner": {"group": "dev"}}, [("$.owner.group", "extra"), ("$.owner.team", "missing")]),
        ({"owner": {}}, [("$.owner.team", "missing")]),
        ({"new": 1}, [("$.new", "extra")]),
        ({"odd key": 1}, [("$['odd key']", "extra")]),
        ({"4711": 1}, [("$.*", "extra")]),
    ],
)
def test_what_is_called_how(changed: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert found(CAMERA, CAMERA | changed) == expected


def test_a_renamed_field_says_both_names() -> None:
    (difference,) = differences({"a": [{"status": "on"}]}, {"a": [{"state": "on"}]}).found
    assert (difference.path, difference.kind) == ("$.a[*].status", Kind.RENAMED)
    assert (difference.control, difference.candidate) == ({"status": "on"}, {"state": "on"})


def test_numbers_and_booleans_are_not_the_same() -> None:
    assert found([1, 0, True], [True, False, 1]) == [("$[*]", "type")]


def test_many_items_are_one_place() -> None:
    items = [{"n": number} for number in range(50)]
    changed = [{"n": number + 1} for number in range(1, 51)]
    assert found(items, changed) == [("$[*].n", "value")]


def test_an_item_in_the_middle_does_not_move_the_others() -> None:
    items = [{"id": f"c{number}", "n": number} for number in range(9)]
    more = [*items[:4], {"id": "new", "n": 77}, *items[4:]]
    assert found(items, more) == [("$[*]", "extra")]
    assert found(more, items) == [("$[*]", "missing")]


class TestItemsWithIds:
    CAMERAS: ClassVar = [{"id": name, "port": port, "state": "on"} for name, port in (("a", 1), ("b", 2), ("c", 3))]

    def test_another_order_and_other_differences_are_told_apart(self) -> None:
        changed = [{"id": each["id"], "port": each["port"], "status": "on"} for each in reversed(self.CAMERAS)]
        assert found(self.CAMERAS, changed) == [("$", "order"), ("$[*].state", "renamed")]

    def test_items_too_many_or_missing(self) -> None:
        changed = [{"id": "new", "port": 9, "state": "on"}, *({**each, "port": str(each["port"])} for each in self.CAMERAS)]
        assert found(self.CAMERAS, changed) == [("$[*]", "extra"), ("$[*].port", "type")]
        assert found(changed, self.CAMERAS) == [("$[*]", "missing"), ("$[*].port", "type")]

    def test_an_id_that_changed_is_a_value(self) -> None:
        changed = [self.CAMERAS[0], {**self.CAMERAS[1], "id": "x"}, self.CAMERAS[2]]
        assert found(self.CAMERAS, changed) == [("$[*].id", "value")]

    def test_an_ignored_id_is_none(self) -> None:
        one, other = [{"id": 1, "n": 1}, {"id": 2, "n": 2}], [{"id": 2, "n": 1}, {"id": 1, "n": 3}]
        assert found(one, other) == [("$", "order"), ("$[*].n", "value")]
        assert found(one, other, ignore=["$[*].id"]) == [("$[*].n", "value")]
        assert found(one, other, tolerance={"$[*].id": "any"}) == [("$[*].n", "value")]


class TestRules:
    def test_ignored_places(self) -> None:
        control = {"timestamp": 1, "cameras": [{"id": 1, "uptime_s": 5, "sub": {"id": 9}}]}
        candidate = {"timestamp": 2, "cameras": [{"id": 2, "uptime_s": 6, "sub": {"id": 8}}]}
        ignore = ["$.timestamp", "$.cameras[*].uptime_s", "$..id"]
        result = differences(control, candidate, ignore=ignore)
        assert (result.found, result.ignored) == ((), 4)
        assert found(control, candidate, ignore=ignore[:2]) == [
            ("$.cameras[*].id", "value"),
            ("$.cameras[*].sub.id", "value"),
        ]

    def test_an_ignored_place_covers_what_is_below(self) -> None:
        assert found({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, ignore=["$.a"]) == []

    def test_ignored_and_missing_or_too_many(self) -> None:
        assert found({"a": 1}, {}, ignore=["$.a"]) == []
        assert found({}, {"a": 1}, ignore=["$.a"]) == []
        assert found([1, 2], [1], ignore=["$[*]"]) == []
        assert found({"a": 1, "x": 2}, {"b": 1, "x": 2}, ignore=["$.a"]) == [("$.b", "extra")]

    def test_one_item_alone(self) -> None:
        assert found([1, 2], [3, 4], ignore=["$[0]"]) == [("$[*]", "value")]
        assert found([1, 2], [3, 2], ignore=["$[0]"]) == []

    def test_any_key(self) -> None:
        assert found({"a": {"t": 1, "u": 1}}, {"a": {"t": 2, "u": 2}}, ignore=["$.*.t"]) == [("$.a.u", "value")]

    def test_deeper_and_then_further(self) -> None:
        control, candidate = {"x": {"y": {"a": {"b": 1}}}, "b": 1}, {"x": {"y": {"a": {"b": 2}}}, "b": 2}
        assert found(control, candidate, ignore=["$..a.b"]) == [("$.b", "value")]

    def test_lists_as_sets(self) -> None:
        control = {"tags": ["a", "b", "b"], "list": [1, 2]}
        candidate = {"tags": ["b", "a", "b"], "list": [2, 1]}
        assert found(control, candidate, unordered=["$.tags"]) == [("$.list", "order")]
        assert found(control, control | {"tags": ["b", "a", "a"]}, unordered=["$.tags"]) == [("$.tags[*]", "value")]

    def test_in_a_set_the_most_alike_are_compared(self) -> None:
        control = [{"id": name, "port": port, "on": True} for name, port in (("a", 1), ("b", 2), ("c", 3))]
        candidate = [{"id": "c", "port": "3", "on": True}, control[0], {"id": "b", "port": 2, "on": False}]
        assert found(control, candidate, unordered=["$"]) == [("$[*].on", "value"), ("$[*].port", "type")]

    def test_sets_within_sets_and_with_ignored_parts(self) -> None:
        control = [{"n": 1, "t": 5, "l": [1, 2]}, {"n": 2, "t": 6, "l": [3, 4]}]
        candidate = [{"n": 2, "t": 7, "l": [4, 3]}, {"n": 1, "t": 8, "l": [2, 1]}]
        assert found(control, candidate, unordered=["$", "$[*].l"], ignore=["$[*].t"]) == []

    def test_a_reordered_list_with_ignored_parts_is_still_a_reordered_list(self) -> None:
        control, candidate = [{"n": 1, "t": 5}, {"n": 2, "t": 6}], [{"n": 2, "t": 7}, {"n": 1, "t": 8}]
        assert found(control, candidate, ignore=["$[*].t"]) == [("$", "order")]

    def test_any_value_of_the_same_type(self) -> None:
        rule = {"$.error.message": "any"}
        assert found({"error": {"message": "no"}}, {"error": {"message": "not so"}}, tolerance=rule) == []
        assert found({"error": {"message": "no"}}, {"error": {"message": 5}}, tolerance=rule) == [
            ("$.error.message", "type")
        ]
        assert found({"error": {"message": "no"}}, {"error": {}}, tolerance=rule) == [("$.error.message", "missing")]

    def test_a_reordered_list_with_values_under_a_tolerance_is_still_one(self) -> None:
        control = [{"id": 9, "t": "2025-10-31T08:00:00Z", "m": "stop"}, {"id": 8, "t": "2025-10-31T08:00:00Z", "m": "start"}]
        candidate = [
            {"id": 4, "t": "2025-10-31T08:00:01Z", "m": "start"},
            {"id": 7, "t": "2025-10-31T08:00:01Z", "m": "stop"},
        ]
        tolerance = {"$[*].id": "any", "$[*].t": "5s"}
        assert found(control, candidate, tolerance=tolerance) == [("$", "order")]
        assert found(control, candidate, tolerance=tolerance | {"$[*].t": "0s"}) == [
            ("$[*].m", "value"),
            ("$[*].t", "value"),
        ]

    def test_tolerance(self) -> None:
        assert found({"load": 1.0, "n": 1}, {"load": 1.04, "n": 1.0}, tolerance={"$.load": "5%"}) == [("$.n", "type")]
        assert found({"n": 1}, {"n": 1.0}, tolerance={"$..n": 0}) == []
        assert found({"n": 1}, {"n": "1"}, tolerance={"$..n": 5}) == [("$.n", "type")]
        assert found({"n": 1}, {"n": True}, tolerance={"$..n": 5}) == [("$.n", "type")]
        assert found([1.0, 2.0, 3.0], [3.01, 1.01, 2.01], unordered=["$"], tolerance={"$[*]": 0.1}) == []


# --- properties -----------------------------------------------------------------------------------------------------


@given(VALUES)
def test_a_value_and_itself_have_no_difference(value: Any) -> None:
    again = json.dumps(value, indent=1, sort_keys=True).encode()
    assert compare(answer(value), Observation(200, JSON_TYPE, again), Rules()) == Differences()


@given(VALUES, VALUES, st.booleans())
def test_there_are_as_many_differences_from_either_side(one: Any, other: Any, as_sets: bool) -> None:
    keys = {"unordered": ["$..*", "$"]} if as_sets else {}
    there, back = differences(one, other, **keys), differences(other, one, **keys)
    assert len(there.found) == len(back.found)
    opposite = {Kind.MISSING: Kind.EXTRA, Kind.EXTRA: Kind.MISSING}
    turned = {(each.path, opposite.get(each.kind, each.kind)) for each in there.found if each.kind is not Kind.RENAMED}
    assert turned == {each.place for each in back.found if each.kind is not Kind.RENAMED}


@given(st.lists(VALUES, max_size=8), st.randoms(use_true_random=False))
def test_sets_have_no_order(items: list[Any], random: Any) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)
    assert found(items, shuffled, unordered=["$"]) == []
    assert found({"a": items}, {"a": shuffled}) in ([], [("$.a", "order")])


def places(value: Any, steps: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a value, the whole first."""
    here = [steps]
    if isinstance(value, dict):
        return here + [place for key, item in value.items() for place in places(item, (*steps, key))]
    if isinstance(value, list):
        return here + [place for index, item in enumerate(value) for place in places(item, (*steps, index))]
    return here


def get(value: Any, steps: tuple[str | int, ...]) -> Any:
    for step in steps:
        value = value[step]
    return value


def strictly(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@settings(max_examples=300)
@given(st.data())
def test_whatever_is_changed_is_found_and_its_place_named(data: st.DataObject) -> None:
    value = data.draw(
        st.one_of(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4), st.lists(VALUES, min_size=1, max_size=4))
    )
    place = data.draw(st.sampled_from(places(value)[1:]))
    changed = copy.deepcopy(value)
    parent, last = get(changed, place[:-1]), place[-1]
    old = parent[last]
    how = data.draw(st.sampled_from(["value", "text", "remove", "add", "rename", "swap"]))
    if how == "value":
        parent[last] = data.draw(SCALARS)
    elif how == "text":
        parent[last] = json.dumps(old)
    elif how == "remove":
        del parent[last]
    elif how == "add" and isinstance(parent, dict):
        parent[data.draw(KEYS)] = old
    elif how == "add":
        parent.insert(int(last), old)
    elif how == "rename" and isinstance(parent, dict):
        parent[data.draw(KEYS)] = parent.pop(last)
    elif how == "swap" and isinstance(parent, list):
        other = data.draw(st.integers(0, len(parent) - 1))
        parent[int(last)], parent[other] = parent[other], parent[int(last)]
    assume(strictly(value) != strictly(changed))
    result = differences(value, changed)
    assert result.found
    for difference in result.found:
        # Nothing outside what was changed is blamed: the place itself, its siblings in a list, the list, or below it.
        upper = difference.steps[: len(place) - 1]
        assert upper == place[: len(upper)]


@given(VALUES, VALUES)
def test_what_a_report_names_can_be_ignored(one: Any, other: Any) -> None:
    named = [difference.path for difference in differences(one, other).found if difference.path.startswith("$")]
    rest = differences(one, other, ignore=[*dict.fromkeys(named)])
    assert not {difference.path for difference in rest.found} & set(named)
