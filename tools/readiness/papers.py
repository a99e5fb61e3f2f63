"""What has to be written down before anybody starts: plan, timetable, guardrails, cameras, scripts, documents.

Owns: what must be there and what it must say. Must not know: what is done with it.
Invariant: a file counts only if what it is needed for stands in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import yaml

from splitter.config import Config
from tools.readiness.findings import Finding, failed, ok

DOCUMENTS: Final = {
    "docs/rollback.md": ("the rollback is documented", ("tools/rollback.sh", "splitter rollback", "splitter resume")),
    "docs/configuration.md": ("the environment is documented", ("USE_DOMAIN_SERVICE", "ROLLOUT_PERCENT")),
    "docs/immediate_next_steps.md": (
        "the next steps are documented", ("tools/rollout_preparation_check.sh", "splitter plan start"),
    ),
}  # fmt: skip
CAMERAS: Final = "the camera configuration has cameras"
PLAN: Final = "the plan is made, and leads to 100 %"
TIMETABLE: Final = "the timetable is made"
GUARDRAILS: Final = "guardrails take back what goes wrong"


def document(root: Path, name: str) -> Finding:
    """One of DOCUMENTS."""
    what, needed = DOCUMENTS[name]
    try:
        text = (root / name).read_text("utf-8")
    except OSError as error:
        return failed(what, f"{name}: {error.strerror}")
    missing = [words for words in needed if words not in text]
    return failed(what, f"{name} says nothing of {', '.join(missing)}") if missing else ok(what, name)


def script(root: Path, name: str) -> Finding:
    """A script that can be run."""
    what = f"{name} is there"
    if not (root / name).exists():
        return failed(what, "it is not")
    return ok(what) if os.access(root / name, os.X_OK) else failed(what, "it can't be run", f"chmod +x {name}")


def cameras(file: Path) -> Iterator[Finding]:
    """The file both services read."""
    try:
        found = (yaml.safe_load(file.read_text("utf-8")) or {}).get("cameras") or []
        active = [camera["id"] for camera in found if camera.get("active", True)]
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        yield failed(CAMERAS, f"{file}: {getattr(error, 'strerror', None) or 'is no list of cameras'}", "--cameras FILE")
        return
    if active:
        yield ok(CAMERAS, f"{len(found)} in {file.name}, {len(active)} of them active")
    else:
        yield failed(CAMERAS, f"{file} has no active camera", "add some, then POST /api/v1/cameras/refresh")


def plan(config: Config, source: Path | None) -> Iterator[Finding]:
    """Stages, their times, and what watches them."""
    where = str(source or "the configuration")
    stages = config.rollout.plan
    if not stages:
        yield failed(PLAN, f"rollout.plan of {where} has no stages", "give it some: docs/rollout_plan.md")
    elif stages[-1].percent != 100:
        yield failed(PLAN, f"its last stage is {stages[-1].percent:g} %", "end with {percent: 100}: docs/rollout_plan.md")
    else:
        yield ok(PLAN, " -> ".join(f"{stage.percent:g} %" for stage in stages))
    yield _timetable(source)
    guardrails = config.guardrails
    limits = {
        "error rate above": guardrails.error_rate_max,
        "success rate below": guardrails.success_rate_min,
        "p95 in legacy's above": guardrails.latency_p95_ratio_max,
    }
    unset = [name for name, limit in limits.items() if limit is None]
    if guardrails.action == "alert":
        yield failed(
            GUARDRAILS, "guardrails.action is alert: nothing is taken back by itself", "action: rollback, or freeze"
        )
    elif unset:
        yield failed(GUARDRAILS, f"no limit for: {', '.join(unset)}", "docs/guardrails.md says which to choose")
    else:
        yield ok(GUARDRAILS, f"{guardrails.action} at {', '.join(f'{name} {limit:g}' for name, limit in limits.items())}")


def _timetable(source: Path | None) -> Finding:
    """As `splitter plan --timetable` makes it."""
    named = [] if source is None else ["--config", str(source)]
    command = [sys.executable, "-m", "splitter", "plan", "--timetable", "--format", "json", *named]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        return failed(TIMETABLE, done.stderr.strip().partition("\n")[0], "splitter plan --timetable --start WHEN prints it")
    rows = json.loads(done.stdout)
    first, last = (datetime.fromisoformat(rows[index]["starts"]) for index in (0, -1))
    return ok(TIMETABLE, f"{rows[-1]['percent']:g} % after {(last - first).total_seconds() / 86400:g} days at the earliest")
