"""The rules, the alerts and who hears of them, by Prometheus' own tools."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from splitter.metrics import FAMILIES
from splitter.metrics.families import Kind
from tests.process.running import ROOT

PROMETHEUS = ROOT / "config" / "prometheus"
ALERTMANAGER = ROOT / "config" / "alertmanager" / "alertmanager.yml"
RULES = (PROMETHEUS / "rules.yml", PROMETHEUS / "alerts.yml")
TESTS = sorted((Path(__file__).parent / "rules").glob("*.yml"))

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None or shutil.which("amtool") is None,
    reason="prometheus is not installed: tools/test_packages.sh installs it",
)


def run(*command: str | Path) -> str:
    """What the command says; it has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules_of(*files: Path) -> Iterator[dict[str, Any]]:
    for file in files:
        for group in yaml.safe_load(file.read_text("utf-8"))["groups"]:
            yield from group["rules"]


ALERTS = [rule for rule in rules_of(*RULES) if "alert" in rule]
NAMES = sorted({alert["alert"] for alert in ALERTS})


@pytest.mark.parametrize("name", ["prometheus.yml", "local.yml"])
def test_the_configurations_are_valid(name: str) -> None:
    assert "SUCCESS" in run("promtool", "check", "config", PROMETHEUS / name)


def test_they_differ_in_addresses_only() -> None:
    compose, local = (yaml.safe_load((PROMETHEUS / name).read_text("utf-8")) for name in ("prometheus.yml", "local.yml"))
    for config in (compose, local):
        del config["alerting"]["alertmanagers"][0]["static_configs"]
        job = config["scrape_configs"][0]
        for key in ("static_configs", "dns_sd_configs", "relabel_configs"):
            job.pop(key, None)
    assert compose == local


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_alerts_fire_when_they_should_and_not_otherwise(file: Path) -> None:
    assert "SUCCESS" in run("promtool", "test", "rules", file)


def test_every_alert_is_tried_with_series_that_fire_it_and_with_some_that_do_not() -> None:
    tried = [
        (trial["alertname"], bool(trial["exp_alerts"]))
        for file in TESTS
        for test in yaml.safe_load(file.read_text("utf-8"))["tests"]
        for trial in test.get("alert_rule_test", ())
    ]
    assert sorted(name for name, fires in set(tried) if fires) == NAMES
    assert sorted(name for name, fires in set(tried) if not fires) == NAMES


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_what_and_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"]["summary"]
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^## (.+)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert alert["alert"] in headings
    assert anchor == alert["alert"].lower()


def test_the_runbook_has_no_alert_that_is_gone() -> None:
    page = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    assert sorted(re.findall(r"^## (.+)$", page, re.MULTILINE)) == NAMES


def samples() -> set[str]:
    """Every name a scrape can have."""
    found = set()
    for family in FAMILIES:
        suffixes = ("_bucket", "_count", "_sum") if family.kind is Kind.HISTOGRAM else ("",)
        found |= {family.name + suffix for suffix in suffixes}
    return found


def test_rules_use_only_metrics_that_exist() -> None:
    recorded = {rule["record"] for rule in rules_of(*RULES) if "record" in rule}
    for rule in rules_of(*RULES):
        expression = re.sub(r'"[^"]*"', "", rule["expr"])
        for name in re.findall(r"\b(?:splitter|process)_[a-z_]+|\b[a-z_]+:[a-z_:0-9]+", expression):
            assert name in samples() | recorded, f"{name} in {rule.get('alert') or rule.get('record')}"


# --- who hears of it -------------------------------------------------------------------------------------------------


def test_alertmanagers_configuration_is_valid() -> None:
    assert "SUCCESS" in run("amtool", "check-config", ALERTMANAGER)


@pytest.mark.parametrize(("severity", "receiver"), [("critical", "now"), ("warning", "morning"), ("", "morning")])
def test_severity_says_who_hears_of_it(severity: str, receiver: str) -> None:
    heard = run("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", f"severity={severity}", "alertname=X")
    assert heard.strip() == receiver


def test_what_silences_what_are_alerts_that_exist() -> None:
    config = yaml.safe_load(ALERTMANAGER.read_text("utf-8"))
    named = {
        name
        for rule in config["inhibit_rules"]
        for matcher in (*rule["source_matchers"], *rule["target_matchers"])
        for name in re.findall(r"Splitter[A-Z]\w+", matcher)
    }
    assert named
    assert named <= set(NAMES)
