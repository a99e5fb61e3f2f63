"""docs/immediate_next_steps.md, done as it says, against the whole service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from splitter.config import parse
from tests.process.page_commands import Reader, blocks
from tests.process.readiness_rig import place
from tests.process.running import ROOT, ask

PAGE = ROOT / "docs" / "immediate_next_steps.md"


@pytest.mark.timeout(200)
def test_the_page_as_it_says(tmp_path: Path) -> None:
    with place(tmp_path) as service:
        ports = {8000: service.running.port, 8090: service.running.admin_port}
        reader = Reader(ROOT, ports, {**service.environment})
        tried = 0
        for block in blocks(PAGE):
            match block.mark:
                case "tried" | "tried: plan":
                    reader.run(block)
                    tried += 1
                case mark:
                    assert mark == "config"
                    parse(block.text, str(PAGE), {})
        status = json.loads(ask(service.running.admin_port, "/api/v1/rollout")[2])
    assert tried >= 9
    assert status["percent"]["value"] == 10
    assert status["plan"]["phase"] == "running"
