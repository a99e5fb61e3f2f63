"""Fixtures of process tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.recording import Recorders, recording


@pytest.fixture
def recorders(tmp_path: Path) -> Iterator[Recorders]:
    """Both backends, legacy first, each remembering when requests arrive."""
    with recording(tmp_path, "legacy") as legacy, recording(tmp_path, "domain") as domain:
        yield legacy, domain
