"""docs/immediate_next_steps.md, done as it says, against the whole service."""

from __future__ import annotations

import json
import re
from pathlib import Path

from splitter.config import parse
from tests.process.page_commands import Block, Reader, blocks
from tests.process.readiness_rig import place
from tests.process.running import ROOT, ask

PAGE = ROOT / "docs" / "immediate_next_steps.md"


def commands_in_the_table() -> list[str]:
    """What it offers to type, each once, in its order."""
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    typed = [command for row in rows for command in re.findall(r"`((?:splitter|tools/)[^`]*)`", row.partition(" | ")[2])]
    return list(dict.fromkeys(typed))


def test_the_page_as_it_says(tmp_path: Path) -> None:
    with place(tmp_path) as service:
        ports = {8000: service.running.port, 8090: service.running.admin_port}
        reader = Reader(ROOT, ports, {**service.environment})
        tried = 0
        for block in blocks(PAGE):
            match block.mark:
                case "tried":
                    reader.run(block)
                    tried += 1
                case mark:
                    assert mark == "config"
                    parse(block.text, str(PAGE), {})
        status = json.loads(ask(service.running.admin_port, "/api/v1/rollout")[2])
        assert tried >= 9
        assert (status["percent"]["value"], status["plan"]["phase"]) == (10, "running")
        offered = commands_in_the_table()
        assert len(offered) == 7
        for command in offered:
            asking = command.startswith("tools/rollout_start.sh")
            reader.run(Block("tried", f"$ {command}{' --quick --yes' if asking else ''}\n"))
        status = json.loads(ask(service.running.admin_port, "/api/v1/rollout")[2])
    assert status["percent"]["value"] == 25, "the last one was one step by hand"
