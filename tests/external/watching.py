"""Real Prometheus and Alertmanager that watch a splitter under test, with this repository's own configuration.

Owns: copies of `config/prometheus` and `config/alertmanager` in which only waiting is shorter and addresses are a test's
own; starting and stopping both. Must not know: what a test looks for.
Invariant: every expression, label and sentence of rules and alerts is the one that is shipped.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.process.running import ROOT, answering, ask, wait_until
from tools.ports import free_port

EVERY = "1s"


@dataclass
class Prometheus:
    """One that scrapes the splitter under test every second."""

    port: int

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query. Raises AssertionError with what Prometheus says when it can't be asked."""
        return self._ask("query", query=expression)

    def query_range(self, expression: str, start_s: float, end_s: float, step_s: float) -> list[dict[str, Any]]:
        """The series of a range query, as a panel asks it."""
        return self._ask("query_range", query=expression, start=f"{start_s}", end=f"{end_s}", step=f"{step_s}")

    def label_values(self, label: str, match: str) -> list[str]:
        found = self._get(f"/api/v1/label/{label}/values?{urllib.parse.urlencode({'match[]': match})}")
        return [str(value) for value in found]

    def exemplars(self, expression: str, start_s: float, end_s: float) -> list[dict[str, Any]]:
        return self._ask("query_exemplars", query=expression, start=f"{start_s}", end=f"{end_s}")

    def _ask(self, what: str, **parameters: str) -> list[dict[str, Any]]:
        data = self._get(f"/api/v1/{what}?{urllib.parse.urlencode(parameters)}")
        result = data["result"] if isinstance(data, dict) else data
        assert isinstance(result, list)
        return result

    def _get(self, path: str) -> Any:
        status, _, body = ask(self.port, path)
        answer = json.loads(body)
        assert status == 200, answer
        return answer["data"]


def _shorter(folder: Path, splitter_port: int, alertmanager_port: int) -> Path:
    """A copy of the configuration for a test."""
    source = ROOT / "config" / "prometheus"
    config = yaml.safe_load((source / "local.yml").read_text("utf-8"))
    config["global"] = {"scrape_interval": EVERY, "evaluation_interval": EVERY}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{splitter_port}"]}]
    config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{alertmanager_port}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
    for name in ("rules.yml", "alerts.yml"):
        text = (source / name).read_text("utf-8")
        waiting = re.compile(r"^( +)(for|interval): \d+[smh]$", re.MULTILINE)
        (folder / name).write_text(waiting.sub(rf"\1\2: {EVERY}", text), "utf-8")
    return folder / "prometheus.yml"


@contextlib.contextmanager
def prometheus(folder: Path, splitter_port: int, alertmanager_port: int = 9) -> Iterator[Prometheus]:
    """A Prometheus that has scraped the splitter once."""
    folder.mkdir()
    port = free_port()
    command = [
        "prometheus", f"--config.file={_shorter(folder, splitter_port, alertmanager_port)}",
        f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage", "--log.level=warn",
    ]  # fmt: skip
    found = Prometheus(port)
    with answering(command, folder / "prometheus.log", port, "/-/ready"):
        wait_until(lambda: any(series["value"][1] == "1" for series in found.query('up{job="splitter"}')))
        yield found


@contextlib.contextmanager
def alertmanager(folder: Path, hook_port: int) -> Iterator[int]:
    """An Alertmanager that tells every receiver's alerts to `hook_port`, at `/RECEIVER`; yields its port."""
    folder.mkdir()
    port = free_port()
    config = yaml.safe_load((ROOT / "config" / "alertmanager" / "alertmanager.yml").read_text("utf-8"))
    config["route"] |= {"group_wait": "0s", "group_interval": EVERY}
    for receiver in config["receivers"]:
        receiver["webhook_configs"] = [{"url": f"http://127.0.0.1:{hook_port}/{receiver['name']}", "send_resolved": True}]
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config), "utf-8")
    command = [
        "prometheus-alertmanager", f"--config.file={folder / 'alertmanager.yml'}", f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    with answering(command, folder / "alertmanager.log", port, "/-/ready"):
        yield port


class Hook:
    """Somebody who is told of alerts."""

    def __init__(self) -> None:
        self.port = 0
        self.told: list[tuple[str, dict[str, Any]]] = []
        """Receiver and alert, in the order they came."""

    def alerts(self, receiver: str, name: str, status: str = "firing") -> list[dict[str, Any]]:
        return [
            alert for heard_by, alert in list(self.told)
            if heard_by == receiver and alert["labels"]["alertname"] == name and alert["status"] == status
        ]  # fmt: skip


@contextlib.contextmanager
def hook() -> Iterator[Hook]:
    """A receiver of webhooks."""
    heard = Hook()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.told += [(self.path.removeprefix("/"), alert) for alert in message["alerts"]]
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        heard.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield heard
        finally:
            server.shutdown()
            thread.join()


def put(port: int, path: str, body: object) -> None:
    """A PUT of JSON that has to succeed."""
    status, _, answer = ask(port, path, "PUT", json.dumps(body).encode(), {"Content-Type": "application/json"})
    assert status == 200, answer
