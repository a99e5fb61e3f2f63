"""Durations, sizes, percents and the rest: what is shown reads as the same value, and a percent is exact."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitter.config import parse
from splitter.config.addresses import Host, Network, StateUrl, Url
from splitter.config.document import read_document
from splitter.config.kinds import Kind
from splitter.config.numbers import SHARE, Duration, Number, Percent, Size, threshold_of
from splitter.config.traffic import Key, Method, PathTemplate, Trigger, template_parameters
from splitter.errors import ConfigError
from splitter.routing import compile_template


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("10s", 10.0), ("5m", 300.0), ("1h", 3600.0), ("1d", 86_400.0), ("1.5h", 5400.0), ("0.1s", 0.1)],
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration().read(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("64KiB", 65_536), ("1MiB", 1 << 20), ("1GiB", 1 << 30), ("0.5KiB", 512), (7, 7)],
)
def test_sizes(text: str | int, size: int) -> None:
    assert Size().read(text) == size


@given(st.integers(1, 86_400_000))
def test_durations_are_shown_as_they_read(milliseconds: int) -> None:
    kind = Duration()
    seconds = kind.read(f"{milliseconds}ms")
    assert seconds == milliseconds / 1000
    assert kind.read(kind.show(seconds)) == seconds


@given(st.sampled_from(["ms", "s", "m", "h"]), st.decimals("0.1", "20", places=4))
def test_durations_with_fractions_are_shown_as_they_read(unit: str, number: Decimal) -> None:
    kind = Duration(0.00001)
    seconds = kind.read(f"{number}{unit}")
    assert kind.read(kind.show(seconds)) == seconds


@given(st.integers(0, 1 << 30))
def test_sizes_are_shown_as_they_read(size: int) -> None:
    assert Size().read(Size().show(size)) == Size().read(size) == size


@given(st.integers(0, 10_000))
def test_a_percent_is_as_many_buckets_as_it_says(buckets: int) -> None:
    kind = Percent()
    text = str(Decimal(buckets) / 100)
    for given_percent in (text, float(text), kind.read(text), kind.show(kind.read(text))):
        assert threshold_of(kind.read(given_percent)) == buckets


@given(st.integers(0, 10_000), st.integers(1, 9))
def test_a_third_decimal_is_never_rounded_away(buckets: int, thousandth: int) -> None:
    text = f"{buckets // 100}.{buckets % 100:02}{thousandth}"
    with pytest.raises(ValueError, match=r"two decimals|from 0 to 100"):
        Percent().read(text)
    with pytest.raises(ValueError, match=r"two decimals|from 0 to 100"):
        Percent().read(float(text))


@given(st.floats(0, 1))
def test_shares_are_shown_as_they_read(share: float) -> None:
    document = read_document(f"share: {SHARE.show(share)}", "a")
    assert SHARE.read(document.tree["share"]) == share


KINDS: list[Kind[Any]] = [
    Duration(),
    Size(),
    Percent(),
    SHARE,
    Number(0, 9),
    Host(),
    Url(),
    Network(),
    StateUrl(),
    Key(),
    Key(in_route=True),
    Method(),
    PathTemplate(),
    Trigger(),
]
ANYTHING = st.one_of(
    st.text(),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.lists(st.text(), max_size=2),
    st.dictionaries(st.text(), st.text(), max_size=2),
    st.sampled_from(["http://", "redis://", "file:", "header:", "path:", "unix:/", "/{", "[", "10."]).flatmap(
        lambda start: st.text().map(lambda rest: start + rest)
    ),
)


def refusal(kind: Kind[Any], anything: object) -> str:
    """The sentence with which a value is refused; empty if it is read."""
    try:
        value = kind.read(anything)
    except ValueError as error:
        return str(error)
    # A state's URL is shown without its password; numbers and statuses are shown as YAML, which is read elsewhere.
    assert isinstance(kind, StateUrl | Number | Trigger) or kind.read(kind.show(value)) == value
    return ""


@given(st.sampled_from(KINDS), ANYTHING)
def test_whatever_is_given_is_read_or_refused_with_a_sentence(kind: Kind[Any], anything: object) -> None:
    sentence = refusal(kind, anything)
    assert "\n" not in sentence
    assert len(sentence) > 10 or not sentence


SEGMENT = st.text("abcXYZ019-._~%!$&'()+,;=:@", min_size=1, max_size=6)
PARAMETER = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True)


@given(st.lists(st.one_of(SEGMENT, PARAMETER.map(lambda name: f"{{{name}}}")), max_size=5, unique=True), st.booleans())
def test_a_template_matches_the_paths_it_says(segments: list[str], is_open: bool) -> None:
    template = PathTemplate().read("/" + "/".join([*segments, *["*"] * is_open]))
    path = template.removesuffix("*")
    values = {name: f"v{index}" for index, name in enumerate(template_parameters(template))}
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", value)
    pattern = compile_template(template)
    found = pattern.fullmatch(path.encode())
    assert found is not None
    assert found.groupdict() == {name: value.encode() for name, value in values.items()}
    assert (pattern.fullmatch(path.encode() + b"rest/and more") is not None) == is_open or segments[-1:] == [
        f"{{{name}}}" for name in values
    ][-1:]


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    document = read_document(text, "a")
    assert isinstance(document.tree, dict)
    assert all(fault.source == "a" and fault.message for fault in document.faults)


TREE = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=20,
)


@given(st.sampled_from(["rollout", "listen", "backends", "nobody"]), TREE)
def test_no_tree_breaks_the_parser(section: str, tree: object) -> None:
    text = json.dumps({section: tree})
    try:
        config = parse(text, "a", {})
    except ConfigError as error:
        faults = error.faults
    else:
        assert parse(text, "a", {}) == config
        return
    assert faults
    assert all(fault.message and fault.line == 1 and "\n" not in str(fault) for fault in faults)
