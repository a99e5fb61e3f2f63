"""The document's tools, as a person runs them, against real processes: when all is well, and when something is broken."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import pytest

from tests.process.readiness_rig import SHIPPED, Place, outcomes, place
from tests.process.running import ROOT, ask, wait_until
from tools.readiness import check, compared, live, papers, rehearsal, watching

SCRIPTS = (
    "verify_new_endpoints.sh", "functionality_comparison_test.sh", "rollout_preparation_check.sh", "rollout_start.sh",
)  # fmt: skip
ON_A_COPY = {
    rehearsal.FALLBACK, rehearsal.SHARE, rehearsal.FORCED, rehearsal.MECHANISM, rehearsal.SPEED, rehearsal.SCRIPT,
}  # fmt: skip
ELSEWHERE = {watching.RULES_LOADED, watching.SCRAPED, watching.DASHBOARDS_LOADED}
"""What needs a Prometheus or a Grafana."""


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("well")) as found:
        yield found


@pytest.fixture(autouse=True)
def _unplanted(well: Place) -> None:
    well.plant()


# --- all of them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_tells_the_exit_statuses(well: Place, script: str) -> None:
    done = well.call(script, "--help")
    assert done.returncode == 0, done.stderr
    assert f"usage: tools/{script}" in done.stdout
    assert re.search(r"Exit status: 0 .*; 1 .*; 2 bad usage", " ".join(done.stdout.split()))


@pytest.mark.parametrize(
    ("script", "words", "told"),
    [
        ("verify_new_endpoints.sh", ["--url", "nonsense"], "--via must be a URL"),
        ("verify_new_endpoints.sh", ["--sideways"], "unrecognized arguments"),
        ("functionality_comparison_test.sh", ["--control", "http://127.0.0.1:1"], "give --control URL and --candidate URL"),
        ("functionality_comparison_test.sh", ["--requests", "none.yaml"], "none.yaml"),
        ("rollout_preparation_check.sh", ["--admin", "ftp://x"], "is no admin address"),
        ("rollout_preparation_check.sh", ["--config", "none.yaml"], "none.yaml: there is no such file"),
        ("rollout_start.sh", ["101", "--yes"], 'must be a percent from 0 to 100, not "101"'),
        ("rollout_start.sh", ["2.345", "--yes"], "has at most two decimals"),
        ("rollout_start.sh", [], "the following arguments are required: PERCENT"),
        ("rollout_start.sh", ["10"], "there is nobody to ask here: --yes goes on without asking"),
    ],
)
def test_bad_usage(well: Place, script: str, words: list[str], told: str) -> None:
    done = well.call(script, *words)
    assert done.returncode == 2
    assert told in done.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed: tools/test_packages.sh")
def test_the_scripts_are_good_shell() -> None:
    scripts = sorted((ROOT / "tools").glob("*.sh"))
    assert {script.name for script in scripts} >= set(SCRIPTS)
    done = subprocess.run(["shellcheck", "--severity=warning", *scripts], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


# --- tools/verify_new_endpoints.sh, tools/functionality_comparison_test.sh ------------------------------------------


def test_thirteen_endpoints_and_nothing_left_behind(well: Place) -> None:
    before = ask(well.running.port, "/api/v1/cameras?force_domain=false")[2]
    done = well.call("verify_new_endpoints.sh")
    assert done.returncode == 0, done.stdout
    good = re.findall(r"^ok +((?:GET|POST|PUT) \S+): alike on both sides", done.stdout, re.MULTILINE)
    assert tuple(good) == compared.THIRTEEN
    assert done.stdout.splitlines()[-1] == "13 of 13 endpoints are good on both sides"
    assert ask(well.running.port, "/api/v1/cameras?force_domain=false")[2] == before


def test_the_endpoint_that_differs_is_named(well: Place) -> None:
    well.plant("reorder=logs")
    done = well.call("verify_new_endpoints.sh", "--json")
    assert done.returncode == 1
    items = [item for group in json.loads(done.stdout)["groups"] for item in group["items"]]
    assert [item["what"] for item in items if item["outcome"] != "ok"] == ["GET /api/v1/cameras/{camera_id}/logs"]
    assert "$.logs: order" in next(item["detail"] for item in items if item["outcome"] == "FAILED")


def test_a_splitter_that_is_not_there_is_told_once_for_each(well: Place) -> None:
    done = well.call("verify_new_endpoints.sh", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stdout.count("FAILED ") == 13
    assert "Connection refused" in done.stdout


def test_reports_of_a_comparison(well: Place, tmp_path: Path) -> None:
    done = well.call("functionality_comparison_test.sh", "--reports", str(tmp_path / "new"), "--repeat", "2")
    assert done.returncode == 0, done.stdout
    assert "domain and legacy answer alike" in done.stdout
    files = done.stdout.splitlines()[-1].removeprefix("reports: ").split(", ")
    assert [Path(file).name for file in files] == ["report.html", "report.xml", "report.json"]
    assert ElementTree.parse(files[1]).getroot()[0].get("failures") == "0"
    well.plant("stringify=fps")
    done = well.call("functionality_comparison_test.sh", "--reports", str(tmp_path / "new"), "--repeat", "2")
    assert done.returncode == 1
    assert json.loads(Path(files[2]).read_text())["verdict"] == "mismatch"
    assert "domain differs from legacy" in done.stdout


def test_reports_left_over_are_not_taken_for_new_ones(well: Place, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("of yesterday")
    done = well.call("functionality_comparison_test.sh", "--reports", str(tmp_path), "--requests", "/none.yaml")
    assert done.returncode == 2
    assert not (tmp_path / "report.html").exists()
    assert "reports:" not in done.stdout


# --- tools/rollout_preparation_check.sh -----------------------------------------------------------------------------


@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed: tools/test_packages.sh installs it")
def test_everything_is_measured(well: Place) -> None:
    """All of it, rehearsals too."""
    before = well.running.events("rolled_back")
    status, items, document = well.items()
    promtool = set() if shutil.which("promtool") else {watching.RULES_VALID}
    assert outcomes(items, "FAILED") == set(), items
    assert status == 0
    assert outcomes(items, "not checked") == ELSEWHERE | {check.UNIT_TESTS} | promtool
    assert all(items[what]["why" if "why" in items[what] else "detail"] and items[what]["todo"] for what in ELSEWHERE)
    assert document["ready"] is True
    assert document["percent"] == 100 * len(outcomes(items, "ok")) // len(items)
    assert [group["name"] for group in document["groups"]] == [
        "Code integration", "Unit tests", "Integration tests", "Functional comparison", "Switches", "Rollback",
        "Monitoring endpoints", "Monitoring configuration", "Rollout configuration",
    ]  # fmt: skip
    assert re.search(r"\d+ ms at most in 10 rollbacks, nothing reached domain", items[rehearsal.SPEED]["detail"])
    assert well.running.events("rolled_back") == before, "the running splitter was not rolled back"


def test_the_table_in_the_end(well: Place) -> None:
    done = well.call("rollout_preparation_check.sh", "--quick")
    assert done.returncode == 0, done.stdout
    assert re.search(r"^Switches +2 of 4 +2 +50 %$", done.stdout, re.MULTILINE)
    total = re.search(r"^total +(\d+) of (\d+) +(\d+) +(\d+) %$", done.stdout, re.MULTILINE)
    assert total is not None
    good, of, unchecked, percent = map(int, total.groups())
    assert (good + unchecked, percent) == (of, 100 * good // of)
    assert done.stdout.splitlines()[-1] == f"nothing failed, {unchecked} not checked: {percent} % complete"
    assert "--quick leaves out what needs a private copy" in done.stdout


def test_a_planted_difference(well: Place) -> None:
    well.plant("rename=state:status")
    status, items, document = well.items("--quick")
    assert status == 1
    assert outcomes(items, "FAILED") == {check.ANSWERS, "11 camera operations work on both sides"}
    assert "renamed" in items[check.ANSWERS]["detail"]
    assert document["verdict"].startswith("NOT READY: 2 failed")
    well.plant("error=1:503")
    status, items, _ = well.items("--quick")
    assert status == 1
    assert {check.STATUSES, "2 alert rule writes work on both sides"} <= outcomes(items, "FAILED")


def test_domain_is_down(tmp_path: Path) -> None:
    probed = SHIPPED.replace(
        'domain: {urls: ["http://127.0.0.1:8002"]}', "domain: {health: {interval: 200ms, timeout: 100ms}}"
    )
    with place(tmp_path, probed) as broken:
        broken.domain_life.close()
        wait_until(lambda: b"degraded" in ask(broken.running.port, live.HEALTH)[2])
        status, items, _ = broken.items("--quick")
    assert status == 1
    found = outcomes(items, "FAILED")
    assert {
        live.HEALTH,
        live.SERVED,
        check.INTEGRATED,
        check.STATUSES,
        check.ANSWERS,
        "force_domain=true goes to domain",
    } <= found
    assert "domain is down" in items[live.HEALTH]["detail"]
    assert re.search(r"it went to legacy \((fallback|unhealthy)\)", items["force_domain=true goes to domain"]["detail"])
    assert "force_domain=false goes to legacy" not in found


def test_rolled_back_and_without_a_plan(tmp_path: Path) -> None:
    config = re.sub(r"\n  plan:\n(    - .*\n)+", "\n", SHIPPED).replace("action: rollback ", "action: alert ")
    with place(tmp_path, config) as broken:
        rollback = [sys.executable, "-m", "splitter", "rollback", "--reason", "to see"]
        subprocess.run(rollback, env={**broken.environment, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
        (tmp_path / "none.yaml").write_text("cameras: [{id: a, active: false}]\n")
        status, items, _ = broken.items("--quick", "--cameras", "none.yaml")
        started = broken.call("rollout_start.sh", "30", "--quick", "--yes")
        forced = broken.call("rollout_start.sh", "30", "--quick", "--yes", "--force")
    assert status == 1
    assert {papers.PLAN, papers.TIMETABLE, papers.GUARDRAILS, papers.CAMERAS, live.IN_FORCE} <= outcomes(items, "FAILED")
    assert "rolled back by cli:" in items[live.IN_FORCE]["detail"]
    assert "to see" in items[live.IN_FORCE]["detail"]
    assert "there is no plan" in items[papers.TIMETABLE]["detail"]
    assert started.returncode == 1
    assert "not started: mend what failed, or start all the same with --force" in started.stderr
    assert forced.returncode == 1, "a percent that moves nobody is no start"
    assert "the percent is set, but nothing goes to domain: rolled back by" in forced.stderr


def test_nobody_is_there(well: Place) -> None:
    nobody = {"SPLITTER_ADMIN": "127.0.0.1:9", "SPLITTER_LISTEN": "127.0.0.1:9"}
    status, items, _ = well.items("--quick", **nobody)
    assert status == 1
    assert {live.IN_FORCE, live.HEALTH, live.METRICS, live.SERVED, check.INTEGRATED} <= outcomes(items, "FAILED")
    assert "nothing listens there" in items[live.IN_FORCE]["detail"]
    started = well.call("rollout_start.sh", "30", "--quick", "--yes", "--force", **nobody)
    assert (started.returncode, "NOT DONE" in started.stderr) == (1, True)


def checkout(folder: Path) -> Path:
    """This checkout, whose files in `config` can be changed."""
    folder.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in {"config", ".git", ".venv"}:
            (folder / entry.name).symlink_to(entry)
    shutil.copytree(ROOT / "config", folder / "config")
    return folder


def test_a_stale_dashboard_and_rules_that_say_something_else(well: Place, tmp_path: Path) -> None:
    root = checkout(tmp_path / "checkout")
    dashboard = root / "config" / "grafana" / "dashboards" / "splitter-rollout.json"
    dashboard.write_text(dashboard.read_text().replace("sum", "avg", 1))
    alerts = root / "config" / "prometheus" / "alerts.yml"
    alerts.write_text(alerts.read_text().replace("ratio_rate5m > 0.05", "ratio_rate5m >> 0.5", 1))
    done = subprocess.run(
        [sys.executable, "-m", "tools.readiness.check", "--quick", "--json"], capture_output=True, text=True, check=False,
        env={**well.environment, "PYTHONPATH": str(root)}, cwd=well.folder, timeout=60,
    )  # fmt: skip
    items = {item["what"]: item for group in json.loads(done.stdout)["groups"] for item in group["items"]}
    assert done.returncode == 1
    assert items[watching.DASHBOARDS_CURRENT]["detail"] == "splitter-rollout.json is another"
    assert "SplitterErrorRateHigh" in items[watching.LIMITS_SET]["detail"]
    if shutil.which("promtool"):
        assert items[watching.RULES_VALID]["outcome"] == "FAILED"
    assert outcomes(items, "FAILED") <= {watching.DASHBOARDS_CURRENT, watching.LIMITS_SET, watching.RULES_VALID}


class Grafana(BaseHTTPRequestHandler):
    """The one answer of Grafana's API that is asked for; Grafana itself is no Debian package."""

    dashboards: ClassVar[dict[str, Any]] = {}

    def do_GET(self) -> None:
        found = self.dashboards.get(self.path.removeprefix("/api/dashboards/uid/"))
        authorized = self.headers.get("Authorization") == "Bearer glsa_x"
        self.send_response(401 if not authorized else 404 if found is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"dashboard": found, "meta": {}}).encode())

    def log_message(self, *_: object) -> None:
        pass


def test_grafana(well: Place) -> None:
    files = (ROOT / "config" / "grafana" / "dashboards").glob("*.json")
    stored = {
        document["uid"]: document | {"id": 7, "version": 3} for document in map(json.loads, map(Path.read_text, files))
    }
    Grafana.dashboards = stored
    with ThreadingHTTPServer(("127.0.0.1", 0), Grafana) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            answers = [watching._shown(ROOT / "config" / "grafana" / "dashboards", url)]
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("GRAFANA_TOKEN", "glsa_x")
                status, items, _ = well.items("--quick", "--grafana", url, GRAFANA_TOKEN="glsa_x")
                assert status == 0
                assert items[watching.DASHBOARDS_LOADED]["outcome"] == "ok"
                Grafana.dashboards = {**stored, "splitter-rollout": {"panels": [{"title": "Old", "targets": []}]}}
                answers.append(watching._shown(ROOT / "config" / "grafana" / "dashboards", url))
                Grafana.dashboards = {}
                answers.append(watching._shown(ROOT / "config" / "grafana" / "dashboards", url))
        finally:
            server.shutdown()
    assert [answer.outcome.value for answer in answers] == ["FAILED"] * 3
    for answer, told in zip(answers, ("status 401", "its panels ask other things", "status 404"), strict=True):
        assert told in answer.detail


# --- tools/rollout_start.sh -----------------------------------------------------------------------------------------


def percent(there: Place) -> float:
    return float(json.loads(ask(there.running.admin_port, "/api/v1/rollout")[2])["percent"]["value"])


def test_a_start(well: Place) -> None:
    done = well.call("rollout_start.sh", "12.5", "--quick", "--yes", "--reason", "first step")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    shown = lines[lines.index("in force  10 %, from file:27") :]
    assert shown[1] == "then      12.5 %: 2.5 % of clients move to domain, nobody else moves"
    assert "route camera-control stays at 5 %" in shown[2]
    assert shown[-3] == "checked: 12.5 % of clients go to domain; of routes: 5 % of camera-control"
    assert "tools/rollback.sh" in shown[-2]
    assert percent(well) == 12.5
    events = json.loads(ask(well.running.admin_port, "/api/v1/rollout/events")[2])["events"]
    assert (events[0]["why"], events[0]["who"].partition(":")[0]) == ("first step", "cli")


@pytest.mark.parametrize(("answer", "status", "moved"), [("y", 0, True), ("n", 1, False), ("", 1, False)])
def test_a_person_is_asked(well: Place, answer: str, status: int, moved: bool) -> None:
    before = percent(well)
    wanted = before + 0.5
    main_end, process_end = pty.openpty()
    command = [str(ROOT / "tools" / "rollout_start.sh"), f"{wanted:g}", "--quick"]
    child = subprocess.Popen(
        command, stdin=process_end, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=well.environment,
        cwd=well.folder,
    )  # fmt: skip
    os.close(process_end)
    os.write(main_end, f"{answer}\n".encode())
    said, _ = child.communicate(timeout=60)
    os.close(main_end)
    assert child.returncode == status, said
    assert "go on? [y/N]" in said
    assert percent(well) == (wanted if moved else before)
    assert moved or "not started: nothing was changed" in said


def test_not_ready_is_not_started(well: Place) -> None:
    before = percent(well)
    well.plant("stringify=fps")
    done = well.call("rollout_start.sh", "50", "--quick", "--yes")
    assert (done.returncode, percent(well)) == (1, before)
    assert "not started: mend what failed, or start all the same with --force" in done.stderr
    done = well.call("rollout_start.sh", "50", "--quick", "--yes", "--force")
    assert (done.returncode, percent(well)) == (0, 50)
