"""What the readiness tools are run against: all three processes, with the shipped configuration or another.

Owns: starting them, planting differences, calling the scripts as a person does. Must not know: what a test checks.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.process.running import ROOT, Splitter, ask, splitter
from tests.process.service import camera_backend

SHIPPED = (ROOT / "config" / "splitter.yaml").read_text("utf-8")


@dataclass
class Place:
    """A running service, and how the tools find it."""

    folder: Path
    domain: int
    running: Splitter
    domain_life: ExitStack = field(default_factory=ExitStack)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "SPLITTER_LISTEN": f"127.0.0.1:{self.running.port}",
            "SPLITTER_ADMIN": f"127.0.0.1:{self.running.admin_port}",
            "SPLITTER_CONFIG": str(self.folder / "splitter.yaml"),
            "TZ": "UTC",
        }

    def call(self, script: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`tools/SCRIPT WORDS`, from a folder that says nothing."""
        return subprocess.run(
            [str(ROOT / "tools" / script), *words], capture_output=True, text=True, timeout=240, check=False,
            env={**self.environment, **environment}, cwd=self.folder, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def plant(self, *faults: str) -> None:
        """Make domain wrong in these ways, and in no others."""
        assert ask(self.domain, "/fault", "PUT", json.dumps({"faults": faults}).encode())[0] == 200

    def items(self, *words: str, **environment: str) -> tuple[int, dict[str, dict[str, str]], dict[str, Any]]:
        """Exit status, the items by what they are about, and all of the JSON of the check."""
        done = self.call("rollout_preparation_check.sh", "--json", *words, **environment)
        assert done.stdout, done.stderr
        document = json.loads(done.stdout)
        return done.returncode, {item["what"]: item for group in document["groups"] for item in group["items"]}, document


def outcomes(items: dict[str, dict[str, str]], outcome: str) -> set[str]:
    """What had that outcome."""
    return {what for what, item in items.items() if item["outcome"] == outcome}


@contextlib.contextmanager
def place(folder: Path, config: str = SHIPPED) -> Iterator[Place]:
    """All three, ready; domain can be told to fail, or ended by closing `domain_life`."""
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        legacy = stack.enter_context(camera_backend("legacy", folder))
        domain_life = stack.enter_context(ExitStack())
        domain = domain_life.enter_context(camera_backend("domain", folder, "--allow-faults"))
        urls = {"LEGACY_URL": f"http://127.0.0.1:{legacy}", "DOMAIN_URL": f"http://127.0.0.1:{domain}"}
        running = stack.enter_context(splitter(folder, config, **urls))
        yield Place(folder, domain, running, domain_life)
