"""Alerts and dashboards: are they right, and are they where somebody would see them?

Owns: what is asked of promtool, Prometheus and Grafana. Must not know: what the rules and panels say, but for the document's
three limits.
Invariant: a file that is right is not a rule that is loaded: each is a line of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from tools.readiness.findings import Finding, failed, not_checked, ok

RULE_FILES: Final = ("rules.yml", "alerts.yml")
LIMITS: Final = {"SplitterErrorRateHigh": "> 0.05", "SplitterSuccessRateLow": "< 0.95", "SplitterDomainSlow": "> 1.5"}
"""Error rate above 5 %, success rate below 95 %, response time up by more than half."""

LIMITS_SET: Final = "alerts for error rate > 5 %, success rate < 95 %, response time + 50 %"
RULES_VALID: Final = "the alert rules are valid (promtool)"
RULES_LOADED: Final = "Prometheus has loaded the alert rules"
SCRAPED: Final = "Prometheus scrapes the splitter"
DASHBOARDS_CURRENT: Final = "the dashboards are what their source says"
DASHBOARDS_LOADED: Final = "Grafana has the dashboards"
TIMEOUT_S: Final = 10.0
_NO_PROMETHEUS: Final = ("no Prometheus was named", "--prometheus http://127.0.0.1:9090 (docs/monitoring.md starts one)")


class NoAnswerError(Exception):
    """What was asked gave nothing of use; the message says what it did."""


def alerts(root: Path, prometheus: str | None) -> Iterator[Finding]:
    """The files, by their text and by promtool; what Prometheus runs, if one was named."""
    files = [root / "config" / "prometheus" / name for name in RULE_FILES]
    missing = [str(file.relative_to(root)) for file in files if not file.exists()]
    if missing:
        yield failed(LIMITS_SET, f"there is no {', '.join(missing)}")
        return
    rules = _rules_of(files)
    unset = [name for name, limit in LIMITS.items() if limit not in "".join(rules.get(name, ()))]
    yield failed(LIMITS_SET, f"not so: {', '.join(unset)}") if unset else ok(LIMITS_SET, "config/prometheus/alerts.yml")
    yield _valid(files)
    if prometheus is None:
        yield not_checked(RULES_LOADED, *_NO_PROMETHEUS)
        yield not_checked(SCRAPED, *_NO_PROMETHEUS)
        return
    yield _loaded(rules, prometheus)
    yield _scraped(prometheus)


def _rules_of(files: list[Path]) -> dict[str, list[str]]:
    """Expressions by name, of alerts and of what is recorded for them; of several by one name, all."""
    found: dict[str, list[str]] = {}
    for file in files:
        for group in yaml.safe_load(file.read_text("utf-8"))["groups"]:
            for rule in group["rules"]:
                found.setdefault(rule.get("alert") or rule["record"], []).append(rule["expr"])
    return found


def _valid(files: list[Path]) -> Finding:
    promtool = shutil.which("promtool")
    if promtool is None:
        return not_checked(RULES_VALID, "promtool is not installed", "apt-get install prometheus brings it")
    done = subprocess.run([promtool, "check", "rules", *files], capture_output=True, text=True, check=False, timeout=60)
    found = re.findall(r"(\d+) rules found", done.stdout)
    if done.returncode != 0:
        return failed(RULES_VALID, _one_line(done.stdout + done.stderr))
    return ok(RULES_VALID, f"{sum(map(int, found))} rules")


def _loaded(rules: dict[str, list[str]], prometheus: str) -> Finding:
    try:
        groups = get_json(f"{prometheus.rstrip('/')}/api/v1/rules")["data"]["groups"]
        running: dict[str, list[str]] = {}
        ill = []
        for rule in (rule for group in groups for rule in group["rules"]):
            running.setdefault(rule["name"], []).append(rule["query"])
            if rule["health"] == "err":
                ill.append(f"{rule['name']} ({rule.get('lastError', '')})")
    except (NoAnswerError, KeyError, TypeError) as error:
        return failed(RULES_LOADED, f"{prometheus}: {_reason(error)}")
    reload = f"curl -X POST {prometheus.rstrip('/')}/-/reload, or restart it with config/prometheus/local.yml"
    missing = sorted(rules.keys() - running.keys())
    if missing:
        return failed(RULES_LOADED, f"{len(missing)} are missing: {', '.join(missing[:4])}", reload)
    old = sorted(name for name, expressions in rules.items() if not _same(prometheus, expressions, running[name]))
    if old:
        return failed(RULES_LOADED, f"it runs others than the files have: {', '.join(old[:4])}", reload)
    if ill:
        return failed(RULES_LOADED, f"they can't be evaluated: {', '.join(ill[:3])}")
    return ok(RULES_LOADED, f"{len(rules)}, as in config/prometheus")


def _same(prometheus: str, written: list[str], running: list[str]) -> bool:
    """Whether they are the same expressions: Prometheus shows them in a form of its own, and is asked for it."""
    if len(written) != len(running):
        return False
    return all(
        "".join(one.split()) == "".join(other.split()) or _formatted(prometheus, one) == _formatted(prometheus, other)
        for one, other in zip(written, running, strict=True)
    )


def _formatted(prometheus: str, expression: str) -> str:
    """As Prometheus writes it; unchanged if it can't say."""
    query = urllib.parse.urlencode({"query": expression})
    try:
        return str(get_json(f"{prometheus.rstrip('/')}/api/v1/format_query?{query}")["data"])
    except (NoAnswerError, KeyError, TypeError):
        return expression


def _scraped(prometheus: str) -> Finding:
    query = urllib.parse.urlencode({"query": "splitter_build_info"})
    try:
        found = get_json(f"{prometheus.rstrip('/')}/api/v1/query?{query}")["data"]["result"]
        instances = sorted({series["metric"].get("instance", "") for series in found})
    except (NoAnswerError, KeyError, TypeError) as error:
        return failed(SCRAPED, f"{prometheus}: {_reason(error)}")
    if not instances:
        return failed(SCRAPED, "it has no series of a splitter", "scrape :8000/api/v1/monitoring/metrics")
    return ok(SCRAPED, ", ".join(instances[:4]))


def dashboards(root: Path, grafana: str | None) -> Iterator[Finding]:
    """The files, against what they are made from; what Grafana shows, if one was named."""
    folder = root / "config" / "grafana" / "dashboards"
    yield _current(folder)
    if grafana is None:
        yield not_checked(DASHBOARDS_LOADED, "no Grafana was named", "--grafana http://127.0.0.1:3000 (GRAFANA_TOKEN=...)")
        return
    yield _shown(folder, grafana.rstrip("/"))


def _current(folder: Path) -> Finding:
    try:
        from tools.dashboards.__main__ import PAGES, text_of  # noqa: PLC0415 - needs a package that only developers have
    except ImportError:
        return not_checked(DASHBOARDS_CURRENT, "what makes them is not installed", "make install")
    files = {folder / f"{page.UID}.json": text_of(page) for page in PAGES}
    missing = [file.name for file in files if not file.exists()]
    stale = [file.name for file, text in files.items() if file.exists() and file.read_text("utf-8") != text]
    if missing or stale:
        found = [*(f"{name} is missing" for name in missing), *(f"{name} is another" for name in stale)]
        return failed(DASHBOARDS_CURRENT, "; ".join(found), ".venv/bin/python -m tools.dashboards makes them")
    return ok(DASHBOARDS_CURRENT, ", ".join(sorted(file.name for file in files)))


def _shown(folder: Path, grafana: str) -> Finding:
    shown = []
    for file in sorted(folder.glob("*.json")):
        wanted = json.loads(file.read_text("utf-8"))
        try:
            found = get_json(f"{grafana}/api/dashboards/uid/{wanted['uid']}", os.environ.get("GRAFANA_TOKEN", ""))[
                "dashboard"
            ]
            same = queries(found) == queries(wanted)
        except (NoAnswerError, KeyError, TypeError) as error:
            return failed(DASHBOARDS_LOADED, f"{wanted['uid']}: {_reason(error)}", f"import {file.name}: docs/monitoring.md")
        if not same:
            return failed(DASHBOARDS_LOADED, f"{wanted['uid']}: its panels ask other things", f"import {file.name} again")
        shown.append(wanted["uid"])
    if not shown:
        return failed(DASHBOARDS_LOADED, f"there is none in {folder}")
    return ok(DASHBOARDS_LOADED, ", ".join(shown))


def queries(dashboard: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Panels by title, with what they ask: what Grafana leaves as it is when it takes up a dashboard."""
    found = []
    for panel in dashboard["panels"]:
        targets = [target.get("expr", "") for target in panel.get("targets", ())]
        found.append((panel.get("title", ""), targets))
        found += queries({"panels": panel.get("panels", ())})
    return found


def get_json(url: str, token: str = "") -> Any:
    """An answer of an HTTP API. Raises NoAnswerError."""
    if not url.startswith(("http://", "https://")):
        raise NoAnswerError("a URL such as http://127.0.0.1:9090 is needed")
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310 - the scheme was checked
            return json.loads(response.read())
    except urllib.error.HTTPError as error:
        raise NoAnswerError(f"status {error.code}") from None
    except (OSError, ValueError) as error:
        raise NoAnswerError(str(getattr(error, "reason", error))) from None


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, NoAnswerError) else "what answers there is not what was expected"


def _one_line(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())[:400]
