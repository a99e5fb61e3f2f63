"""What a mirror found, over processes: adding up in any order, the bounds, the way over the wire piece by piece."""

from __future__ import annotations

import json
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitter.channel import MAX_FRAME_BYTES, encode
from splitter.compare import Context, Difference, Differences, Kind, Mask, Tally
from splitter.compare.report import ENDPOINTS_MAX, FIELDS_MAX
from splitter.stats import MIRROR_OUTCOMES

MASK = Mask()
WIDE = "\N{GRINNING FACE}" * 200
"""Four bytes each."""

RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["GET /a", "GET /b", "POST /c"]),
        st.lists(st.sampled_from(["$.a", "$.b", "$.c"]), unique=True),
        st.one_of(st.none(), st.lists(st.sampled_from(["$.a", "$.b"]), unique=True)),
        st.sampled_from(MIRROR_OUTCOMES),
        st.integers(0, 20),
    ),
    max_size=8,
)
Records = list[tuple[str, list[str], list[str] | None, str, int]]


def differs(*paths: str, value: str = "2") -> Differences:
    return Differences(tuple(Difference(path, Kind.VALUE, "1", value, (path[2:],)) for path in paths))


def tally_of(records: Records, since_s: float = 7.0) -> Tally:
    made = Tally(since_s)
    for endpoint, paths, noise, outcome, at_s in records:
        again = None if noise is None else differs(*noise)
        made.report.record(endpoint, differs(*paths, value=outcome), again, Context("/?token=abc", "id", at_s), MASK)
        made.outcomes[outcome] += 1
    return made


def over_the_wire(tally: Tally) -> Tally:
    made = Tally()
    pieces = [json.loads(json.dumps(piece)) for piece in tally.pieces()]
    assert [made.take(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    return made


def everything(tally: Tally) -> object:
    return tally.report.to_json(), +tally.outcomes, tally.since_s


@given(st.lists(st.tuples(RECORDS, st.floats(1, 9)), max_size=4), st.randoms())
def test_the_order_of_merging_does_not_matter(parts: list[tuple[Records, float]], random: Any) -> None:
    tallies = [tally_of(records, since_s) for records, since_s in parts]
    found = Tally()
    for tally in tallies:
        found.merge(tally)
    random.shuffle(tallies)
    other = Tally()
    for tally in tallies:
        other.merge(over_the_wire(tally))
    assert everything(found) == everything(other)
    assert found.since_s == min((since_s for _, since_s in parts), default=inf)


@given(RECORDS)
def test_all_of_it_comes_over_the_wire(records: Records) -> None:
    tally = tally_of(records)
    assert everything(over_the_wire(tally)) == everything(tally)


def test_nothing_is_since_never() -> None:
    assert over_the_wire(Tally()).since_s == inf


def full(prefix: str, fields: int) -> Tally:
    """One with as many endpoints as there may be, all different."""
    tally = Tally(1.0)
    found = differs(*(f"$.{field}" for field in range(fields)))
    for endpoint in range(ENDPOINTS_MAX):
        tally.report.record(f"GET /{prefix}{endpoint}", found, None, Context("/", "id", 1), MASK)
    return tally


def test_what_is_merged_is_bounded_and_what_is_lost_is_counted() -> None:
    merged = Tally()
    for prefix in "abc":
        merged.merge(over_the_wire(full(prefix, 10)))
    document = merged.report.to_json()
    assert len(document["endpoints"]) == ENDPOINTS_MAX
    assert sum(len(endpoint["fields"]) for endpoint in document["endpoints"]) == 2000
    kept = sum(endpoint["compared"] for endpoint in document["endpoints"])
    assert kept + document["lost_comparisons"] == document["compared"] == 3 * ENDPOINTS_MAX


def test_the_largest_piece_is_a_frame() -> None:
    tally = Tally()
    paths = [f"$.{WIDE[:60]}{field}" for field in range(FIELDS_MAX)]
    found = Differences(tuple(Difference(path, Kind.VALUE, WIDE, '"' * 200, ("a",)) for path in paths))
    for number in range(3):
        tally.report.record("GET /", found, None, Context(WIDE, WIDE, number), MASK)
    sizes = [len(encode({"type": "mirror", **piece})) for piece in tally.pieces()]
    assert 200_000 < max(sizes) < MAX_FRAME_BYTES / 8


@pytest.mark.parametrize(
    "change",
    [
        lambda pieces: pieces[0]["endpoint"].pop("compared"),
        lambda pieces: pieces[0]["endpoint"].update(compared="many"),
        lambda pieces: pieces[0]["endpoint"]["fields"][0].update(kind="odd"),
        lambda pieces: pieces[0]["endpoint"]["fields"][0]["samples"][0].update(more=1),
        lambda pieces: pieces.insert(0, pieces[0]),
        lambda pieces: pieces[-1]["end"]["outcomes"].update(odd=1),
        lambda pieces: pieces.__setitem__(0, {}),
        lambda pieces: pieces[0]["endpoint"].update(fields=pieces[0]["endpoint"]["fields"] * 2),
    ],
)
def test_nonsense_is_refused_or_harmless(change: Any) -> None:
    pieces = json.loads(json.dumps(list(tally_of([("GET /a", ["$.a"], None, "match", 1)]).pieces())))
    change(pieces)
    made = Tally()
    try:
        for piece in pieces:
            made.take(piece)
    except (KeyError, TypeError, ValueError):
        return
    assert len(list(made.report.rows())) == 1


def test_more_endpoints_than_there_may_be_are_refused() -> None:
    made = Tally()
    for piece in list(full("a", 1).pieces())[:-1]:
        made.take(piece)
    with pytest.raises(ValueError, match="one more endpoint"):
        made.take(next(iter(full("b", 1).pieces())))
