"""docs/state.md says what is true: its example is a record, its sentences are those that health says."""

from __future__ import annotations

import re
from pathlib import Path

from splitter.control.file_store import DISK_S
from splitter.control.keeper import EMPTY_S
from splitter.control.redis_store import CALL_S, REREAD_S
from splitter.state import EVENTS_KEPT, from_json

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "state.md").read_text("utf-8")


def test_the_example_is_a_record() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    record = from_json(example.encode())
    assert (record.version, len(record.events)) == (2, 2)
    assert record.latch is not None


def test_the_sentences_of_health_are_those_of_the_code() -> None:
    code = (ROOT / "splitter" / "control" / "status.py").read_text("utf-8")
    sentences = set(re.findall(r"`((?:the|nothing|an) [a-z ,]+)`", PAGE))
    assert len(sentences) == 5
    for sentence in sentences:
        assert f'"{sentence}"' in code


def test_the_times_are_those_of_the_code() -> None:
    assert (DISK_S, CALL_S, REREAD_S, EMPTY_S, EVENTS_KEPT) == (2.0, 0.25, 1.0, 2.0, 200)
    for text in ("after 2 s or 0.25 s", "again every second", "after 2 s: the configuration", "the last 200"):
        assert text in PAGE
