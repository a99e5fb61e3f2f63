"""docs/metrics.md says what is true."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from splitter.metrics import FAMILIES
from splitter.metrics.families import ANSWERS, Kind, Route, requests_series
from splitter.stats import BOUNDS_S, METHODS
from tools import metrics_docs

PAGE = metrics_docs.PAGE.read_text("utf-8")


def test_the_reference_is_up_to_date() -> None:
    assert metrics_docs.main(["--check"]) == 0


def test_a_page_that_is_not_up_to_date_is_seen_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "metrics.md"
    page.write_text(PAGE.replace("### `splitter_rollback_active`", "### `splitter_rolled_back`"), "utf-8")
    monkeypatch.setattr(metrics_docs, "PAGE", page)
    assert metrics_docs.main(["--check"]) == 1
    assert "run python -m tools.metrics_docs" in capsys.readouterr().err
    assert metrics_docs.main([]) == 0
    assert page.read_text("utf-8") == PAGE


def test_every_metric_it_names_exists() -> None:
    known = {family.name for family in FAMILIES}
    for name in re.findall(r"splitter_[a-z_]+", PAGE):
        assert name.removesuffix("_bucket") in known, name


def test_the_numbers_of_series_it_names_are_right() -> None:
    every = (*METHODS.values(), "other")
    routes = (Route("default", every), Route("one", ("GET", "PUT")), Route("two", ("GET", "PUT")))
    count: Counter[str] = Counter()
    for family in FAMILIES:
        samples = len(BOUNDS_S) + 3 if family.kind is Kind.HISTOGRAM else 1
        count[family.name] = samples * len([*family.series(routes)])
    requests, durations = count["splitter_requests_total"], count["splitter_request_duration_seconds"]
    own = len([*requests_series(())])
    count["splitter_build_info"] = 1  # its only label is not known before it runs
    of_routes = requests - own + durations + count["splitter_rollout_percent"]
    assert f"{len(ANSWERS)} pairs of backend and reason × 5 codes" in PAGE
    assert f"(8 for one that takes all), and {durations // 3} for\nthe histograms" in PAGE
    assert f"{requests - own} and {durations}, and {count.total() - of_routes} that don't depend on routes" in PAGE
