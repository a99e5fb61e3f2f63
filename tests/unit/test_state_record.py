"""The state record: its form, what is refused, the changes, which of two records counts."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from hashlib import sha256

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitter.progress import Gate, Phase, PlanProgress
from splitter.state import (
    EVENTS_KEPT,
    FORMAT,
    GLOBAL,
    Baseline,
    Event,
    Latch,
    OtherFormatError,
    Override,
    Record,
    RecordError,
    adopt_baseline,
    agree,
    clear_override,
    differs,
    follows,
    from_json,
    lock_out,
    resume,
    roll_back,
    set_percent,
    to_json,
)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
TIMES = st.floats(0, 4e9, allow_nan=False).map(lambda seconds: round(seconds, 3))
PERCENTS = st.integers(0, 10_000).map(lambda buckets: buckets / 100)
EVENTS = st.builds(Event, st.integers(0, 2**53), TIMES, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS)
PROGRESS = st.builds(
    PlanProgress,
    st.sampled_from(Phase),
    st.integers(0, 9),
    TIMES,
    st.none() | TIMES,
    st.frozensets(st.sampled_from(Gate)),
    st.none() | PERCENTS,
    st.dictionaries(TEXTS, PERCENTS, max_size=3),
    TIMES,
    TEXTS,
    TEXTS,
)
RECORDS = st.builds(
    Record,
    version=st.integers(0, 2**53),
    baseline=st.none() | st.builds(Baseline, st.booleans(), st.dictionaries(TEXTS, PERCENTS, max_size=3)),
    overrides=st.dictionaries(TEXTS, st.builds(Override, PERCENTS, TIMES, TEXTS, TEXTS), max_size=3),
    latch=st.none() | st.builds(Latch, TIMES, TEXTS, TEXTS),
    plan=st.just({}) | PROGRESS.map(PlanProgress.to_json),
    events=st.lists(EVENTS, max_size=4).map(tuple),
)

BASELINE = Baseline(use_domain_service=True, percents={GLOBAL: 10.0, "control": 5.0})
STARTED = adopt_baseline(Record(), BASELINE, at_s=1)


def percent(record: Record, value: float, name: str = GLOBAL, at_s: float = 2) -> Record:
    return set_percent(record, name, value, at_s=at_s, who="alice", why="try")


def rolled_back(record: Record, at_s: float = 3, who: str = "bob") -> Record:
    return roll_back(record, at_s=at_s, who=who, why="errors")


def resumed(record: Record, at_s: float = 4) -> Record:
    return resume(record, at_s=at_s, who="carol", why="mended")


# --- its form -------------------------------------------------------------------------------------------------------


@given(RECORDS)
def test_what_is_written_is_read(record: Record) -> None:
    assert from_json(to_json(record)) == record


def test_a_person_can_read_it() -> None:
    text = to_json(rolled_back(percent(STARTED, 25)))
    assert json.loads(text)["format"] == FORMAT == "splitter-state/1"
    assert b'"percent": 25.0' in text
    assert text.endswith(b"}\n")


def signed(change: Callable[[dict[str, object]], object]) -> bytes:
    """A record somebody has changed, checksum and all."""
    document = json.loads(to_json(percent(STARTED, 25)))
    change(document["record"])
    content = orjson.dumps(document["record"])
    return orjson.dumps(document | {"checksum": f"sha256:{sha256(content).hexdigest()}"})


WHOLE = to_json(percent(STARTED, 25))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "is empty"),
        (b"\0" * 4096, "is empty"),
        (WHOLE[:-40], "is cut short"),
        (WHOLE[:200], "is cut short"),
        (WHOLE.replace(b'"percent": 25.0', b'"percent": 95.0'), "its checksum is wrong"),
        (WHOLE.replace(b"sha256:", b"sha256:0"), "its checksum is wrong"),
        (b"[]", "was not written by a splitter"),
        (b'{"percent": 50}', "was not written by a splitter"),
        (b'{"format": "splitter-state/1"}', "its checksum is wrong"),
        (b"percent: 50\n", "is cut short or no JSON"),
        (b"\xff\xfe", "is cut short or no JSON"),
        (signed(lambda record: record.update(more=1)), "has a fault at more"),
        (signed(lambda record: record.update(version=-1)), "has a fault at version"),
        (signed(lambda record: record.update(version="2")), "has a fault at version"),
        (signed(lambda record: record.update(latch={"at_s": 1.0})), "has a fault at latch"),
        (signed(lambda record: record.update(overrides={"default": {"percent": 100.5}})), "has a fault at overrides"),
    ],
)
def test_what_is_no_record_is_refused_as_a_whole(text: bytes, why: str) -> None:
    with pytest.raises(RecordError, match=why):
        from_json(text)


@pytest.mark.parametrize("value", [101, -1, 10.001, 1e300])
def test_an_override_is_a_percent(value: float) -> None:
    def change(record: dict[str, object]) -> None:
        record["overrides"] = {"default": {"percent": value, "at_s": 1.0, "who": "", "why": ""}}

    with pytest.raises(RecordError, match=r"has a fault at overrides\.default\.percent"):
        from_json(signed(change))


def test_every_cut_and_every_flipped_bit_is_noticed() -> None:
    for length in range(len(WHOLE) - 2):  # without the end of its last line it is still whole
        with pytest.raises(RecordError):
            from_json(WHOLE[:length])
    for position in range(0, len(WHOLE) - 1, 7):
        changed = bytearray(WHOLE)
        changed[position] ^= 1
        try:
            same = from_json(bytes(changed)) == from_json(WHOLE)
        except RecordError:
            continue
        assert same, "a blank made a line's end, at most"


def test_another_version_is_told_from_rubbish() -> None:
    with pytest.raises(
        OtherFormatError, match="is in the format splitter-state/2, and this splitter reads splitter-state/1"
    ):
        from_json(WHOLE.replace(b"splitter-state/1", b"splitter-state/2"))


# --- the changes ----------------------------------------------------------------------------------------------------


def test_each_change_is_a_version_and_leaves_a_line() -> None:
    record = STARTED
    for change in (percent, rolled_back, resumed):
        after = change(record, 7)
        assert (after.version, after.events[:-1]) == (record.version + 1, record.events)
        record = after
    assert [(e.version, e.who, e.what, e.why, e.before, e.after) for e in record.events] == [
        (1, "config", "config", "first seen", "", "use_domain_service true, percent 10 %, percent of control 5 %"),
        (2, "alice", "percent", "try", "10 %", "7 %"),
        (3, "bob", "rollback", "errors", "7 %", "rolled back"),
        (4, "carol", "resume", "mended", "rolled back", "7 %"),
    ]


def test_the_list_of_events_is_bounded() -> None:
    record = STARTED
    for number in range(EVENTS_KEPT + 50):
        record = percent(record, number % 100)
    assert len(record.events) == EVENTS_KEPT
    assert record.events[-1].version == record.version == EVENTS_KEPT + 51


def test_a_second_rollback_leaves_the_latch_and_a_line() -> None:
    first = rolled_back(STARTED)
    second = rolled_back(first, at_s=8, who="dave")
    assert first.latch == second.latch == Latch(3, "bob", "errors")
    assert (second.events[-1].who, second.events[-1].before) == ("dave", "rolled back")


def test_only_resume_clears_the_latch() -> None:
    record = rolled_back(STARTED)
    edited = adopt_baseline(record, Baseline(use_domain_service=False, percents={GLOBAL: 0.0}), at_s=5)
    changed = (
        percent(record, 50),
        clear_override(percent(record, 5), GLOBAL, at_s=5, who="a", why=""),
        edited,
        rolled_back(record),
    )
    assert [after.latch for after in changed] == [record.latch] * 4
    assert resumed(record).latch is None


def test_what_there_is_nothing_to_do_about_is_the_same_record() -> None:
    assert resumed(STARTED) is STARTED
    assert clear_override(STARTED, GLOBAL, at_s=2, who="a", why="") is STARTED
    assert adopt_baseline(STARTED, dataclasses.replace(BASELINE), at_s=2) is STARTED
    latched = rolled_back(STARTED)
    assert lock_out(latched, at_s=5, why="torn") is latched


def test_a_lost_state_is_a_rollback_by_the_store() -> None:
    assert lock_out(Record(), at_s=5, why="torn").latch == Latch(5, "store", "torn")


@pytest.mark.parametrize("value", [-0.01, 100.01, 10.123, float("nan"), float("inf")])
def test_what_is_no_percent_is_not_set(value: float) -> None:
    with pytest.raises(ValueError, match=r"percent|decimals|number"):
        percent(STARTED, value)


# --- file and environment edited ------------------------------------------------------------------------------------

OVERRIDDEN = percent(percent(STARTED, 50), 40, "control")


@pytest.mark.parametrize(
    ("use", "percents", "left"),
    [
        (True, {GLOBAL: 10.0, "control": 5.0}, {GLOBAL, "control"}),  # nothing edited
        (True, {GLOBAL: 20.0, "control": 5.0}, set()),
        (False, {GLOBAL: 10.0, "control": 5.0}, set()),
        (True, {GLOBAL: 10.0, "control": 6.0}, {GLOBAL}),
        (True, {GLOBAL: 10.0}, {GLOBAL}),  # its route is gone
        (True, {GLOBAL: 10.0, "control": 5.0, "new": 1.0}, {GLOBAL, "control"}),
        (True, {GLOBAL: 50.0, "control": 5.0}, set()),  # to the very value it was overridden with
    ],
)
def test_an_edited_value_drops_the_overrides_it_concerns(use: bool, percents: dict[str, float], left: set[str]) -> None:
    baseline = Baseline(use, percents)
    after = adopt_baseline(OVERRIDDEN, baseline, at_s=9)
    assert set(after.overrides) == left
    assert after.baseline == baseline
    assert not differs(after, baseline)
    assert adopt_baseline(rolled_back(OVERRIDDEN), baseline, at_s=9).latch is not None
    if after is not OVERRIDDEN:
        event = after.events[-1]
        assert (event.who, event.what) == ("config", "config")
        assert ("drops what was set at run time" in event.why) == (left != set(OVERRIDDEN.overrides))


def test_an_edit_is_told() -> None:
    event = adopt_baseline(OVERRIDDEN, Baseline(use_domain_service=False, percents={GLOBAL: 20.0, "control": 5.0}), at_s=9)
    assert dataclasses.astuple(event.events[-1])[2:] == (
        "config",
        "config",
        "edited; drops what was set at run time: percent of control, percent",
        "use_domain_service true, percent 10 %",
        "use_domain_service false, percent 20 %",
    )


def test_an_edit_wins_over_a_plan_too() -> None:
    baseline = Baseline(use_domain_service=True, percents={GLOBAL: 20.0, "control": 6.0})
    after = adopt_baseline(OVERRIDDEN, baseline, at_s=9, governed={GLOBAL})
    assert {name: (o.percent, o.who) for name, o in after.overrides.items()} == {GLOBAL: (20.0, "config")}


# --- which of two records counts ------------------------------------------------------------------------------------


def test_the_later_of_one_history_counts() -> None:
    later = percent(STARTED, 30)
    assert agree(STARTED, later) is later
    assert agree(later, STARTED) is later, "a store that forgot its last writes gets them back"
    assert agree(Record(), later) is later
    assert agree(later, percent(STARTED, 30)) is later, "the same, read again"


def test_a_resume_that_has_seen_the_rollback_counts() -> None:
    latched = rolled_back(STARTED)
    after = percent(resumed(latched), 5)
    assert agree(latched, after) is after


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_rollback_on_one_side_of_a_parting_stays(steps: int) -> None:
    here = rolled_back(percent(STARTED, 20, at_s=5))
    there = percent(STARTED, 30, at_s=6)
    for step in range(steps):
        there = percent(there, step)
    for one, other in ((here, there), (there, here)):
        both = agree(one, other)
        assert both.latch is not None
        assert (both.latch.who, both.latch.why) == ("bob", "errors")
        assert both.version >= max(one.version, other.version)


def test_a_rollback_repeated_out_of_sight_survives_a_resume_elsewhere() -> None:
    latched = rolled_back(STARTED)
    here = rolled_back(latched, at_s=7, who="dave")
    there = resumed(latched, at_s=8)
    assert agree(here, there).latch is not None


def test_after_a_parting_without_a_rollback_the_longer_history_counts_else_the_stored_one() -> None:
    here, there = percent(STARTED, 20, at_s=5), percent(STARTED, 30, at_s=6)
    assert agree(here, there) is there
    assert agree(percent(here, 21), there).overrides[GLOBAL].percent == 21


@given(st.lists(st.sampled_from(["set", "roll", "resume", "swap"]), max_size=12))
def test_two_that_met_agree(steps: list[str]) -> None:
    """However two came apart, once one has taken up what both make, the other takes the same."""
    here = there = STARTED
    changes: dict[str, Callable[..., Record]] = {
        "set": functools.partial(percent, value=7),
        "roll": rolled_back,
        "resume": resumed,
    }
    for at_s, step in enumerate(steps):
        here, there = (changes[step](here, at_s=at_s + 10), there) if step in changes else (there, here)
    met = agree(here, there)
    assert agree(there, met) == met
    assert agree(met, there) == met
    assert agree(here, met) == met
    if not follows(here, there) and not follows(there, here) and (here.latch or there.latch):
        assert met.latch is not None
