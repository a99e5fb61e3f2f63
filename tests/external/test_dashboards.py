"""The dashboards: up to date, understood by Grafana's own model, and full of data when a real splitter was scraped."""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from PIL import Image

from tests.external.test_alerts import samples
from tests.external.watching import Prometheus, prometheus, put
from tests.process.running import ROOT, Splitter, ask, splitter, wait_until
from tests.process.service import camera_backend
from tools.dashboards import __main__ as dashboards
from tools.dashboards import preview
from tools.dashboards.asking import Span
from tools.pictures import __main__ as pictures
from tools.ports import free_port

GRAFANA = ROOT / "config" / "grafana"
PAGES = {page.UID: json.loads(dashboards.file_of(page).read_text("utf-8")) for page in dashboards.PAGES}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

Panel = dict[str, Any]


def panels_of(page: Panel) -> list[Panel]:
    return [panel for panel in page["panels"] if panel["type"] != "row"]


PANELS = {f"{uid}: {panel['title']}": panel for uid, page in PAGES.items() for panel in panels_of(page)}


def expressions() -> Iterator[tuple[str, str]]:
    """Where each query stands, and the query."""
    for where, panel in PANELS.items():
        for target in panel["targets"]:
            yield where, target["expr"]
    for mark in PAGES["splitter-rollout"]["annotations"]["list"]:
        yield f"mark: {mark['name']}", mark["expr"]


# --- as files --------------------------------------------------------------------------------------------------------


def test_the_files_are_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dashboards.main(["--check"]) == 0
    monkeypatch.setattr(dashboards, "FOLDER", tmp_path)
    assert dashboards.main(["--check"]) == 1
    assert dashboards.main([]) == 0
    assert {path.stem: json.loads(path.read_text("utf-8")) for path in tmp_path.iterdir()} == PAGES


@pytest.mark.parametrize("uid", PAGES)
def test_grafanas_model_knows_every_key(uid: str) -> None:
    """A key that the model lacks vanishes on the way through it. It has no titles of marks; Grafana does."""
    register_default_plugins()
    page = json.loads(json.dumps(PAGES[uid]))
    for mark in page["annotations"]["list"]:
        assert mark.pop("titleFormat")
    assert json.loads(json.dumps(Dashboard.from_json(page), cls=JSONEncoder)) == page


@pytest.mark.parametrize("uid", PAGES)
def test_panels_are_side_by_side(uid: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PAGES[uid]["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in PAGES[uid]["panels"]}) == len(PAGES[uid]["panels"])
    bottom = max(y for _, y in taken) + 1
    assert len(taken) == 24 * bottom, "there are holes between them"


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_a_panel_says_what_to_see_and_asks_the_prometheus_that_was_chosen(panel: Panel) -> None:
    assert panel["description"].endswith(".")
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        for selector in re.findall(r"\{(job[^}]*|[^}{]*job=~[^}]*)\}", target["expr"]):
            assert 'job=~"$job"' in selector


def test_the_documents_three_are_there() -> None:
    titles = {title for panel in PANELS.values() if (title := panel["title"])}
    assert {"Error rate", "Durations of legacy", "Durations of domain", "Share of domain"} <= titles
    assert [panel["type"] for panel in PANELS.values() if panel["title"].startswith("Durations of")] == ["heatmap"] * 2


def test_queries_use_only_metrics_that_exist() -> None:
    for where, expression in expressions():
        for name in re.findall(r"\b(?:splitter|process)_[a-z_]+", re.sub(r'"[^"]*"', "", expression)):
            assert name in samples(), f"{name} in {where}"


def test_grafana_is_told_where_everything_is() -> None:
    source = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text("utf-8"))["datasources"][
        0
    ]
    provider = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "splitter.yml").read_text("utf-8"))["providers"][0]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]["grafana"]["volumes"]
    scraping = yaml.safe_load((ROOT / "config" / "prometheus" / "prometheus.yml").read_text("utf-8"))["global"]
    assert source["type"] == "prometheus"
    assert source["jsonData"]["timeInterval"] == scraping["scrape_interval"]
    assert f"./config/grafana/dashboards:{provider['options']['path']}:ro" in compose
    assert "./config/grafana/provisioning:/etc/grafana/provisioning:ro" in compose
    assert {path.stem for path in (GRAFANA / "dashboards").iterdir()} == set(PAGES)


# --- against a Prometheus that scraped a splitter ---------------------------------------------------------------------

CONFIG = """
rollout:
  percent: {percent}
  routes: [{{name: control, methods: [POST], path: "/api/v1/cameras/{{camera_id}}/*", percent: 50, key: ["path:camera_id"]}}]
access_log: {{sample: 0}}
fallback: {{budget: 1}}
backends: {{domain: {{eject: {{consecutive_failures: 1000}}}}}}
"""
WINDOW_S = 8
STEP_S = 2

# The guardrails' figures are NaN until there is one to judge by.
MAY_BE_NAN = re.compile(r"splitter_guardrail_(?:value|limit)")


def filled(expression: str) -> str:
    """The query as Grafana sends it, with everything chosen."""
    expression = expression.replace("$__rate_interval", f"{WINDOW_S}s")
    expression = re.sub(r'"\$(?:job|instance|route)"', '".*"', expression)
    assert "$" not in expression.replace("${1}", "").replace('"$1', ""), expression
    return expression


def visits(running: Splitter, count: int) -> None:
    """What clients do: look, start cameras, force a side, say nonsense, and belong to traces."""
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    for number in range(count):
        person = {"X-User-Id": f"user-{number % 50}", **headers}
        ask(running.port, "/api/v1/cameras", headers=person)
        ask(running.port, "/api/v1/cameras/entrance/start", "POST", headers=person)
        ask(running.port, "/api/v1/cameras?force_domain=perhaps", headers=person)
    ask(running.port, "/api/v1/cameras?force_domain=true")
    with socket.create_connection(("127.0.0.1", running.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus after some seconds of everything: traffic, failures, another percent, an alert, a rollback."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed: tools/test_packages.sh installs it")
    folder = tmp_path_factory.mktemp("watched")
    with (
        camera_backend("legacy", folder) as legacy,
        camera_backend("domain", folder, "--allow-faults") as domain,
        splitter(
            folder,
            CONFIG.format(percent=50),
            LEGACY_URL=f"http://127.0.0.1:{legacy}",
            DOMAIN_URL=f"http://127.0.0.1:{domain}",
        ) as running,
        prometheus(folder / "prometheus", running.port) as watching,
    ):
        put(domain, "/fault", {"faults": ["error=0.5:503"]})
        until_s = time.monotonic() + WINDOW_S
        while time.monotonic() < until_s:
            visits(running, 20)
        (folder / "splitter.yaml").write_text(CONFIG.format(percent=75))
        wait_until(lambda: bool(watching.query('splitter_rollout_percent{route="default"} == 75')))
        wait_until(lambda: bool(watching.query('ALERTS{alertname="SplitterErrorRateHigh", alertstate="firing"}')))
        visits(running, 20)
        time.sleep(2)  # two more scrapes
        running.process.send_signal(signal.SIGUSR1)  # roll back
        wait_until(lambda: bool(watching.query("splitter_rollback_active == 1")))
        time.sleep(2)
        yield watching


def values(series: list[dict[str, Any]]) -> list[float]:
    return [
        float(value)
        for one in series
        for _, value in (one["values"] if "values" in one else [one["value"]])
    ]  # fmt: skip


def asked(watching: Prometheus, expression: str, *, instant: bool) -> list[dict[str, Any]]:
    """What a panel gets: series over the last half minute, or what is true now."""
    query = filled(expression)
    if instant:
        return watching.query(query)
    return watching.query_range(query, time.time() - 30, time.time(), STEP_S)


@pytest.mark.parametrize("where", PANELS)
def test_every_query_of_every_panel_returns_data(watched: Prometheus, where: str) -> None:
    for target in PANELS[where]["targets"]:
        found = asked(watched, target["expr"], instant=target.get("instant", False))
        assert len(found) > 0, target["expr"]
        numbers = [value for value in values(found) if not math.isnan(value)]
        assert numbers or MAY_BE_NAN.search(target["expr"]), target["expr"]


def test_what_was_done_is_what_the_panels_show(watched: Prometheus) -> None:
    """Not only that there is data: that it is right."""

    def shown(uid: str, title: str, number: int = 0) -> list[dict[str, Any]]:
        target = PANELS[f"{uid}: {title}"]["targets"][number]
        return asked(watched, target["expr"], instant=target.get("instant", False))

    assert values(shown("splitter-rollout", "Percent asked")) == [75]
    assert values(shown("splitter-rollout", "Rolled back")) == [1]
    assert 0 < max(values(shown("splitter-rollout", "Time to roll back"))) < 1
    assert {one["metric"]["by"]: max(values([one])) for one in shown("splitter-rollout", "Rollbacks")}["signal"] == 1
    assert max(values(shown("splitter-rollout", "Error rate", 1))) > 0.2
    assert max(values(shown("splitter-rollout", "Error rate", 0))) == 0
    kinds = {one["metric"]["kind"]: max(values([one])) for one in shown("splitter-rollout", "How it fails")
             if one["metric"]["backend"] == "domain"}  # fmt: skip
    assert [kind for kind, rate in kinds.items() if rate > 0] == ["5xx"]
    routes = {one["metric"]["route"] for one in shown("splitter-rollout", "Share of domain")}
    assert routes == {"control", "default"}
    assert all(0 <= share <= 1 for share in values(shown("splitter-rollout", "Share of domain")) if not math.isnan(share))
    assert len(shown("splitter-rollout", "Durations of domain")) == 28
    assert values(shown("splitter-inside", "Splitters")) == [1]
    assert {one["metric"]["code"] for one in shown("splitter-inside", "Refused at once") if max(values([one])) > 0} == {
        "400"
    }


def test_marks_show_what_changed(watched: Prometheus) -> None:
    marks = {mark["name"]: mark for mark in PAGES["splitter-rollout"]["annotations"]["list"]}
    found = {name: asked(watched, mark["expr"], instant=False) for name, mark in marks.items()}
    assert {(one["metric"]["route"], one["metric"]["percent"]) for one in found["Percent"]} == {("default", "75")}
    assert {one["metric"]["outcome"] for one in found["Reload"]} == {"ok"}
    assert {one["metric"]["by"] for one in found["Rollback"]} == {"signal"}
    assert "SplitterErrorRateHigh" in {one["metric"]["alertname"] for one in found["Alert"]}
    for name, mark in marks.items():  # nothing of the others happened, but the series they would show are there
        for metric in re.findall(r"\b(?:splitter|process)_[a-z_]+", mark["expr"]):
            assert watched.query(metric), f"{metric} of {name}"
        labels = re.findall(r"\{\{(\w+)\}\}", mark["titleFormat"])
        for one in found[name]:
            assert set(labels) <= set(one["metric"])


def test_what_can_be_chosen_above_is_there(watched: Prometheus) -> None:
    chosen = {}
    for variable in PAGES["splitter-rollout"]["templating"]["list"]:
        if variable["type"] == "query":
            match, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr] # else it fails
            chosen[variable["name"]] = watched.label_values(label, filled(match))
    assert chosen["job"] == ["splitter"]
    assert len(chosen["instance"]) == 1
    assert chosen["route"] == ["control", "default"]


def test_traces_hang_on_the_histograms(watched: Prometheus) -> None:
    (heat, *_) = [panel for panel in PANELS.values() if panel["title"] == "Durations of domain"]
    expression = "splitter_request_duration_seconds_bucket"
    assert heat["targets"][0]["exemplar"] is True
    found = watched.exemplars(f'{expression}{{backend="domain"}}', time.time() - 60, time.time())
    traces = {exemplar["labels"]["trace_id"] for one in found for exemplar in one["exemplars"]}
    assert traces == {TRACE}


@pytest.mark.parametrize("uid", PAGES)
def test_a_picture_is_drawn_of_every_panel(watched: Prometheus, uid: str, tmp_path: Path) -> None:
    span = Span(time.time() - 30, time.time(), 1)
    preview.draw(dashboards.FOLDER / f"{uid}.json", f"http://127.0.0.1:{watched.port}", span, tmp_path / "all.png")
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in PAGES[uid]["panels"])
    with Image.open(tmp_path / "all.png") as whole:
        assert whole.width == 24 * 60
        assert whole.height > rows * 36
    preview.draw(dashboards.FOLDER / f"{uid}.json", f"http://127.0.0.1:{watched.port}", span, tmp_path / "now.png", ("Now",))
    with Image.open(tmp_path / "now.png") as now:
        assert now.height < 300


def test_a_picture_says_what_prometheus_complains_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = str(dashboards.FOLDER / "splitter-inside.json")
    assert preview.main([page, str(tmp_path / "a.png"), "--prometheus", f"http://127.0.0.1:{free_port()}"]) == 1
    assert "Connection refused" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_pictures_of_the_document_are_there_and_small() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text("utf-8")
    files = [ROOT / "docs" / name for name in re.findall(r"!\[[^\]]+\]\((images/[^)]+)\)", text)]
    assert {file.name for file in files} == {file.name for file in pictures.files()}
    for file in files:
        assert 10_000 < file.stat().st_size < pictures.LARGEST_BYTES
