"""Panels and alerts show what was done: a plan that is frozen, taken back and resumed, a mirror that finds differences.

From the series of a real splitter; those that the rules' own tests make up stand for these.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.external.test_alert_arrives import clients
from tests.external.test_dashboards import PAGES, PANELS, asked, values
from tests.external.watching import Hook, Prometheus, alertmanager, hook, prometheus, put
from tests.process.running import Splitter, backend, read_head, splitter, wait_until
from tests.process.service import camera_backend
from tests.process.test_plan import press

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("prometheus-alertmanager") is None,
    reason="prometheus is not installed: tools/test_packages.sh installs it",
)

CONFIG = """
rollout:
  percent: 10
  plan:
    - {percent: 25, hold: 2s}
    - {percent: 60, hold: 1h}
    - {percent: 100}
guardrails: {action: ACTION, window: 3s, every: 250ms, min_requests: 50, latency_min_requests: 50, latency_margin: 5s}
mirror: {percent: 100, max_in_flight: 256}
hooks: [{url: "HOOK"}]
backends: {domain: {eject: {consecutive_failures: 1000}}}
fallback: {budget: 1}
access_log: {sample: 0}
"""
PHASES = PANELS["splitter-rollout: Phase of the plan"]["fieldConfig"]["defaults"]["mappings"][0]["options"]


@dataclass
class Stage:
    """What takes part."""

    running: Splitter
    watching: Prometheus
    heard: Hook
    file: Path
    config: str
    domain: int

    def configure(self, action: str) -> None:
        self.file.write_text(self.config.replace("ACTION", action))

    def panel(self, title: str, target: int = 0) -> list[dict[str, Any]]:
        """What its query gives over the last half minute, or now."""
        found = PANELS[f"splitter-rollout: {title}"]["targets"][target]
        return asked(self.watching, found["expr"], instant=found.get("instant", False))

    def last(self, title: str, label: str = "", target: int = 0) -> dict[str, float]:
        """The newest value of each series, by a label."""
        return {one["metric"].get(label, ""): values([one])[-1] for one in self.panel(title, target)}

    def phase(self) -> str:
        """As the panel calls it."""
        (number,) = self.last("Phase of the plan", "instance").values()
        return str(PHASES[f"{number:g}"]["text"])

    def firing(self, name: str) -> list[dict[str, str]]:
        found = self.watching.query(f'ALERTS{{alertname="{name}", alertstate="firing"}}')
        return [one["metric"] for one in found]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    def refuses(connection: Any) -> None:
        head = read_head(connection).decode().lower()
        connection.rfile.read(int(head.partition("content-length: ")[2].split("\r\n")[0]))
        connection.wfile.write(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with (
        camera_backend("legacy", tmp_path) as legacy,
        camera_backend("domain", tmp_path, "--allow-faults") as domain,
        backend(refuses) as gone,
        hook() as heard,
        alertmanager(tmp_path / "alertmanager", heard.port) as alerting,
    ):
        config = CONFIG.replace("HOOK", f"http://127.0.0.1:{gone}/chat")
        environ = {"LEGACY_URL": f"http://127.0.0.1:{legacy}", "DOMAIN_URL": f"http://127.0.0.1:{domain}"}
        with (
            splitter(tmp_path, config.replace("ACTION", "freeze"), SPLITTER_WORKERS="2", **environ) as running,
            prometheus(tmp_path / "prometheus", running.port, alerting) as watching,
            clients(running.port),
        ):
            yield Stage(running, watching, heard, tmp_path / "splitter.yaml", config, domain)


def test_panels_and_alerts_show_what_is_done(stage: Stage) -> None:
    put(stage.domain, "/fault", {"faults": ["stringify=fps"]})
    assert stage.phase() == "idle"
    assert stage.last("Plan") == {"": 0}
    assert stage.last("Plan", target=1) == {"": 3}
    _the_plan_goes_on(stage)
    _a_guardrail_freezes_it(stage)
    _a_guardrail_rolls_back(stage)
    _a_person_resumes(stage)
    _the_hook_was_not_told(stage)


def _the_plan_goes_on(stage: Stage) -> None:
    press(stage.running, "plan/start", reason="a test")
    wait_until(lambda: stage.last("Plan") == {"": 2}, 40)
    assert stage.phase() == "running"
    assert stage.last("Percent", "route") == {"default": 60}
    assert 3500 < stage.last("Plan", target=2)[""] <= 3600
    wait_until(lambda: stage.last("Guardrails", "rule")["error_rate"] == 1, 40)
    wait_until(lambda: stage.last("Mirror", "outcome")["mismatch"] > 0)
    # Each answer has the planted difference, but for those from before it was planted.
    wait_until(lambda: stage.last("Mirror", "outcome")["match"] == 0, 60)
    limits = stage.last("Guardrails' figures", "rule", 1)
    assert (limits["error_rate"], limits["success_rate"], limits["latency_p95_ratio"]) == (0.05, 0.95, 1.5)
    assert math.isnan(limits["mix_drift"]), "it is off"
    wait_until(lambda: stage.last("Guardrails' figures", "rule")["error_rate"] == 0)
    for name in ("SplitterPlanStuck", "SplitterGuardrailFailing", "SplitterRollbackActive"):
        assert not stage.firing(name)


def _a_guardrail_freezes_it(stage: Stage) -> None:
    put(stage.domain, "/fault", {"faults": ["error=0.5:503"]})
    wait_until(lambda: stage.phase() == "frozen", 40)
    assert stage.last("Plan") == {"": 2}
    wait_until(lambda: stage.last("Guardrails", "rule")["error_rate"] == -1)
    wait_until(lambda: stage.last("Guardrails' figures", "rule")["error_rate"] > 0.2)
    wait_until(lambda: bool(stage.heard.alerts("morning", "SplitterPlanStuck")), 40)
    (stuck, *_) = stage.heard.alerts("morning", "SplitterPlanStuck")
    assert stuck["annotations"]["summary"] == "The plan does not go on from stage 2 (frozen)"
    assert stuck["labels"]["instance"] == f"127.0.0.1:{stage.running.port}"
    wait_until(lambda: bool(stage.heard.alerts("morning", "SplitterGuardrailFailing")), 40)
    (failing, *_) = stage.heard.alerts("morning", "SplitterGuardrailFailing")
    assert failing["annotations"]["summary"].startswith("Guardrail error_rate fails: 0.")
    assert failing["annotations"]["summary"].endswith(", limit 0.05")
    assert not stage.firing("SplitterRollbackActive")


def _a_guardrail_rolls_back(stage: Stage) -> None:
    stage.configure("rollback")
    wait_until(lambda: stage.phase() == "rolled_back", 40)
    assert stage.last("Rolled back") == {"": 1}
    assert stage.last("Plan") == {"": 0}
    assert {by: count for by, count in stage.last("Rollbacks", "by").items() if count} == {"guardrail": 1}
    assert 0 < stage.last("Time to roll back")[""] < 1
    wait_until(lambda: bool(stage.heard.alerts("morning", "SplitterRollbackActive")), 40)
    (back, *_) = stage.heard.alerts("morning", "SplitterRollbackActive")
    assert back["annotations"]["summary"] == "Rolled back: everybody is on legacy, ordered by guardrail"
    wait_until(lambda: not stage.firing("SplitterPlanStuck"))
    wait_until(lambda: not stage.firing("SplitterGuardrailFailing"))


def _a_person_resumes(stage: Stage) -> None:
    put(stage.domain, "/fault", {"faults": []})
    press(stage.running, "resume", from_stage=2, reason="mended")
    wait_until(lambda: stage.phase() == "running")
    assert stage.last("Rolled back") == {"": 0}
    assert stage.last("Plan") == {"": 2}
    wait_until(lambda: stage.last("Guardrails", "rule")["error_rate"] == 1, 40)
    wait_until(lambda: not stage.firing("SplitterRollbackActive"))
    marks = {mark["name"]: mark["expr"] for mark in PAGES["splitter-rollout"]["annotations"]["list"]}

    def marked(name: str, label: str) -> set[str]:
        return {one["metric"].get(label, "") for one in asked(stage.watching, marks[name], instant=False)}

    assert marked("Plan", "stage") <= {"1", "2"}, "its end is no stage"
    assert "2" in marked("Plan", "stage")
    assert marked("Rollback", "by") == {"guardrail"}
    assert marked("Resume", "by") == {""}


def _the_hook_was_not_told(stage: Stage) -> None:
    outcomes = stage.last("Hooks", "outcome")
    assert outcomes["failed"] > 0
    assert outcomes["delivered"] == 0
    wait_until(lambda: bool(stage.heard.alerts("morning", "SplitterHooksNotTold")), 40)
    (told, *_) = stage.heard.alerts("morning", "SplitterHooksNotTold")
    assert f"127.0.0.1:{stage.running.port} could not tell hooks " in told["annotations"]["summary"]
    assert "failed " in told["annotations"]["description"]
    assert json.dumps(told).count("%!") == 0, "Go's templates say so where a value has another type"
