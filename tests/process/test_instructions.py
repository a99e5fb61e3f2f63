"""The price of a request, guarded: in instructions, because time on a shared machine says little."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools.bench import callgrind, flame
from tools.bench.instructions import FEATURES, GUARDED_RATIO, TOLERANCE, ratio
from tools.bench.templates import PeerError
from tools.bench.work import WORKS

pytestmark = pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")


def test_a_small_get_costs_no_more_than_it_did(tmp_path: Path) -> None:
    ours, nginx = ratio(tmp_path)
    assert 10_000 < nginx < 100_000, "a count of something else"
    found = ours / nginx
    assert found < GUARDED_RATIO * TOLERANCE, f"{ours:,.0f} instructions, {found:.2f} times nginx: who made it dearer?"
    assert found > GUARDED_RATIO / TOLERANCE, f"{ours:,.0f} instructions, {found:.2f} times nginx: set GUARDED_RATIO anew"


def test_counting_is_reproducible_and_sees_a_feature(tmp_path: Path) -> None:
    plain, logged = FEATURES[0], FEATURES[2]
    counts = [
        callgrind.count(callgrind.CountedSplitter(), feature.setup, WORKS["small"], 200, tmp_path / str(number))
        for number, feature in enumerate((plain, plain, logged))
    ]
    assert counts[0] == pytest.approx(counts[1], rel=0.05)
    assert counts[2] > counts[0] * 1.1, "a line for each request is not free"


def test_a_dump_without_a_count_is_an_error(tmp_path: Path) -> None:
    profile = tmp_path / "callgrind.out.1"
    with pytest.raises(PeerError, match="no count"):
        callgrind.read(profile)
    profile.write_text("version: 1\nsummary: 4711\n")
    assert callgrind.read(profile) == 4711


def test_a_flame_graph_tells_shares_and_nothing_of_the_machine() -> None:
    below = "_run (<frozen runpy>:1);Runner.run (/home/ann/asyncio/runners.py:118)"
    raw = [
        f"{below};Downstream.data_received (/home/ann/x/splitter/proxy/downstream.py:3);loads (/home/ann/lib/json.py:9) 30",
        f"{below};Downstream.data_received (/home/ann/x/splitter/proxy/downstream.py:3) 10",
        f"{below} 60",
    ]
    svg = flame.draw(flame.read(raw), "one <thing>")
    assert "ann" not in svg
    assert "<title>Downstream.data_received (splitter/proxy/downstream.py) 40.0 %</title>" in svg
    assert "<title>loads (json.py) 30.0 %</title>" in svg
    assert "one &lt;thing&gt;: 100 samples" in svg
