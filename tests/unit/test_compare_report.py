"""Reports: counts, noise by Diffy's rule, bounds, adding up, and the sentence about latency."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitter.compare import Context, Difference, Differences, Kind, Mask, Outcome, Report, is_noise
from splitter.compare.counts import SAMPLES_KEPT
from splitter.compare.latency import judge
from splitter.compare.report import ENDPOINTS_MAX, FIELDS_MAX

MASK = Mask()
CLEAN = Differences()


def differs(*paths: str, more: bool = False) -> Differences:
    return Differences(tuple(Difference(path, Kind.VALUE, 1, 2, (path[2:],)) for path in paths), more=more)


def record(
    report: Report, found: Differences, noise: Differences | None = None, endpoint: str = "GET /", at_s: float = 0
) -> Outcome:
    return report.record(endpoint, found, noise, Context("/?token=abc", "id-1", at_s), MASK)


class TestNoise:
    @pytest.mark.parametrize(
        ("differed", "noisy", "asked", "noise"),
        [
            (0, 0, 0, False),  # never asked twice: nothing is known
            (0, 0, 10, False),  # it differed in other requests only
            (10, 0, 10, False),
            (10, 10, 10, True),  # a time stamp
            (5, 6, 10, True),
            (0, 1, 10, True),
            (10, 9, 100, True),  # not 20 % apart
            (10, 6, 100, False),  # 25 %
            (3, 0, 10_000, True),  # 0.03 % of all
            (4, 0, 10_000, False),
        ],
    )
    def test_diffy_s_rule(self, differed: int, noisy: int, asked: int, noise: bool) -> None:
        assert is_noise(differed, noisy, asked) is noise

    def test_requests_that_were_asked_once_say_nothing_about_noise(self) -> None:
        report = Report()
        for number in range(40):  # a picture that always differs, asked twice every tenth time; refusals that never do
            record(report, differs("$.now"), differs("$.now") if number % 10 == 0 else None)
            record(report, CLEAN, CLEAN)
        (row,) = report.rows()
        assert row.noise

    def test_noise_of_one_kind_hides_no_other_kind(self) -> None:
        report = Report()
        value = Difference("$.since", Kind.VALUE, 1, 2)
        for _ in range(5):
            record(report, Differences((value, Difference("$.since", Kind.TYPE, 1, "2"))), Differences((value,)))
        assert [(row.kind, row.noise) for row in report.rows()] == [(Kind.TYPE, False), (Kind.VALUE, True)]


def test_outcomes() -> None:
    report = Report()
    assert record(report, CLEAN) is Outcome.MATCH
    assert record(report, Differences(ignored=2)) is Outcome.IGNORED
    assert record(report, differs("$.a"), CLEAN) is Outcome.MISMATCH
    assert record(report, differs("$.b"), differs("$.b")) is Outcome.NOISE
    assert record(report, differs("$.a", "$.b")) is Outcome.MISMATCH
    assert report.compared == 5
    assert report.asked("GET /") == 2
    assert [(row.path, row.differed, row.compared, row.noisy, row.asked, row.noise) for row in report.rows()] == [
        ("$.a", 2, 5, 0, 2, False),
        ("$.b", 2, 5, 1, 2, True),
    ]


def test_samples_are_few_new_and_masked() -> None:
    report = Report()
    for number in range(100):
        record(report, Differences((Difference("$.token", Kind.VALUE, "s3cret", "s3cret2", ("token",)),)), at_s=number)
    (row,) = report.mismatches()
    assert [sample.at_s for sample in row.samples] == [63, 31, 15]
    assert len(row.samples) == SAMPLES_KEPT
    assert row.samples[0].request == "/?token=***"
    assert "s3cret" not in json.dumps(report.to_json())


class TestBounds:
    def test_places(self) -> None:
        report = Report()
        for number in range(FIELDS_MAX + 5):
            record(report, differs(f"$.p{number}"))
        assert len(report.endpoints["GET /"].fields) == FIELDS_MAX
        assert (report.lost_differences, report.compared) == (5, FIELDS_MAX + 5)
        record(report, differs("$.p0", more=True))
        assert report.lost_differences == 6

    def test_endpoints_that_differ_take_the_place_of_those_that_don_t(self) -> None:
        report = Report()
        for number in range(ENDPOINTS_MAX + 5):
            record(report, CLEAN, endpoint=f"GET /{number}")
        assert (len(report.endpoints), report.lost_comparisons) == (ENDPOINTS_MAX, 5)
        assert record(report, differs("$.a"), endpoint="GET /bad") is Outcome.MISMATCH
        assert "GET /bad" in report.endpoints
        assert (len(report.endpoints), report.lost_comparisons) == (ENDPOINTS_MAX, 6)

    def test_all_of_them(self) -> None:
        report = Report()
        for endpoint in range(ENDPOINTS_MAX + 10):
            for path in range(30):
                record(report, differs(f"$.p{path}"), endpoint=f"GET /{endpoint}")
        fields = sum(len(counts.fields) for counts in report.endpoints.values())
        assert fields == 2000
        assert report.lost_differences > 0
        assert report.lost_comparisons == 300
        assert report.compared == (ENDPOINTS_MAX + 10) * 30


# --- adding up ------------------------------------------------------------------------------------------------------

RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["GET /a", "GET /b", "POST /c"]),
        st.lists(st.sampled_from(["$.a", "$.b", "$.c"]), unique=True),
        st.one_of(st.none(), st.lists(st.sampled_from(["$.a", "$.b"]), unique=True)),
    ),
    max_size=12,
)
Records = list[tuple[str, list[str], list[str] | None]]


def report_of(records: Records, start: int = 0) -> Report:
    report = Report()
    for number, (endpoint, paths, noise) in enumerate(records, start):
        record(report, differs(*paths), None if noise is None else differs(*noise), endpoint, number)
    return report


def sums(report: Report) -> object:
    """Everything but what depends on the order of recording: samples, and outcomes by what was known at the time."""
    document = report.to_json()
    document.pop("outcomes")
    for endpoint in document["endpoints"]:
        for field in endpoint["fields"]:
            field.pop("samples")
    return document


@given(RECORDS, RECORDS, RECORDS)
def test_reports_add_up(one: Records, two: Records, three: Records) -> None:
    parts = [report_of(one), report_of(two, len(one)), report_of(three, len(one) + len(two))]
    left, right, nested = Report(), Report(), Report()
    for part in parts:
        left.merge(part)
    for part in (parts[2], parts[0], parts[1]):
        right.merge(part)
    inner = report_of(two, len(one))
    inner.merge(parts[2])
    nested.merge(inner)
    nested.merge(parts[0])
    assert left.to_json() == right.to_json() == nested.to_json(), "samples, too, whatever the order"
    assert sums(left) == sums(report_of([*one, *two, *three]))


@given(RECORDS)
def test_a_report_survives_the_way_through_json(records: Records) -> None:
    report = report_of(records)
    again = Report.from_json(json.loads(json.dumps(report.to_json())))
    assert again.to_json() == report.to_json()
    again.merge(report)
    report.merge(report_of(records))
    assert again.to_json() == report.to_json()


class TestLatency:
    def test_without_pairs(self) -> None:
        assert judge([]) is None

    @pytest.mark.parametrize(("count", "known"), [(1, False), (5, False), (6, True)])
    def test_few_pairs(self, count: int, known: bool) -> None:
        latency = judge([(0.01, 0.02)] * count)
        assert latency is not None
        assert (latency.low is not None) is known
        assert latency.ratio == pytest.approx(2)
        if not known:
            assert latency.words("legacy", "domain").startswith(f"{count} pairs are too few")

    def test_sentences(self) -> None:
        random_ = random.Random(5)
        spread = [random_.lognormvariate(0, 0.5) for _ in range(400)]

        def words(factor: float) -> str:
            latency = judge([(0.01 * base, 0.01 * factor * base * random_.lognormvariate(0, 0.2)) for base in spread])
            assert latency is not None
            return latency.words("legacy", "domain")

        assert words(1).startswith("domain and legacy take the same time (95 % sure: ")
        assert words(1.5).startswith("domain takes 1.5")
        assert words(0.5).startswith("domain is faster: it takes 0.5")
        shaky = judge([(1, 0.5), (1, 2)] * 5)
        assert shaky is not None
        assert (
            shaky.words()
            == "no difference between candidate and control can be told from 10 pairs (95 % sure: 0.50 to 2.00 times)"
        )

    def test_the_interval_holds_the_true_ratio_as_often_as_it_says(self) -> None:
        random_ = random.Random(7)
        held = 0
        for _ in range(1000):
            latency = judge([(1, 1.3 * random_.lognormvariate(0, 0.8)) for _ in range(30)])
            assert latency is not None
            assert latency.low is not None
            assert latency.high is not None
            held += latency.low <= 1.3 <= latency.high
        assert 940 <= held <= 990

    def test_many_pairs(self) -> None:
        random_ = random.Random(3)
        latency = judge([(1, random_.lognormvariate(0, 1)) for _ in range(1001)])
        assert latency is not None
        assert latency.to_json()["pairs"] == 1001
        assert latency.low is not None
        assert 0.8 < latency.low < 1 < (latency.high or 0) < 1.25
