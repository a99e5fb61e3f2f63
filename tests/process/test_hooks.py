"""Hooks of a real splitter: what is told when, with which secret, and who does not know it."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from splitter.control.deliveries import signature
from tests.process.running import ROOT, Splitter, ask, backend, says, splitter, wait_until

SECRET = "correct-horse"
CONFIG = """\
listen: {workers: 2}
rollout: {percent: 50}
hooks:
  - {url: "http://127.0.0.1:PORT/all?key=hidden", secret_env: HOOK_SECRET}
"""


@dataclass
class Receiver:
    """`told`: path, fields, body of each delivery, in order."""

    port: int = 0
    told: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def events(self, path: str) -> list[dict[str, Any]]:
        return [json.loads(body) for where, _, body in self.told if where == path]


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.told.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield receiver
        server.shutdown()
        thread.join()


@pytest.fixture
def urls() -> Iterator[dict[str, str]]:
    with backend(says(b"legacy")) as legacy, backend(says(b"domain")) as domain:
        yield {"LEGACY_URL": f"http://127.0.0.1:{legacy}", "DOMAIN_URL": f"http://127.0.0.1:{domain}"}


def change(running: Splitter, what: str, **body: object) -> None:
    headers = {"Content-Type": "application/json", "X-Splitter-Actor": "ann"}
    status, _, answer = ask(
        running.admin_port,
        f"/api/v1/rollout/{what}",
        "PUT" if what == "percent" else "POST",
        json.dumps(body).encode(),
        headers,
    )
    assert status == 200, answer


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def test_the_life_of_a_hook(tmp_path: Path, urls: dict[str, str]) -> None:
    with receiving() as receiver:
        config = CONFIG.replace("PORT", str(receiver.port))
        with splitter(tmp_path, config, HOOK_SECRET=SECRET, **urls) as running:
            every = "/all?key=hidden"
            wait_until(lambda: [told["what"] for told in receiver.events(every)] == ["config"])
            running.process.send_signal(signal.SIGUSR1)
            wait_until(lambda: len(receiver.events(every)) == 2)
            told = receiver.events(every)[1]
            assert (told["event"], told["who"], told["to"]) == ("rollback", "signal", "rolled back")
            assert told["summary"].startswith("nothing goes to domain: rolled back by signal")
            assert told["splitter"].endswith(f":{running.port}")
            for _, fields, body in receiver.told:
                stamp = int(fields["x-splitter-timestamp"])
                assert fields["x-splitter-signature"] == signature(SECRET.encode(), stamp, body)

            # Who faces clients does not know the secret, neither from its environment nor from the file.
            assert SECRET.encode() in environment_of(running.process.pid)
            assert all(b"HOOK_SECRET" not in environment_of(pid) for pid in running.workers)

            # Another hook by an edit, without new workers.
            before = running.workers
            more = f'  - {{url: "http://127.0.0.1:{receiver.port}/resumes", events: [resume]}}\n'
            (tmp_path / "splitter.yaml").write_text(config + more)
            wait_until(lambda: len(running.events("reloaded")) == 1)
            assert running.events("reloaded")[0]["new_workers"] is False
            change(running, "resume", reason="looked at it")
            wait_until(lambda: len(receiver.events("/resumes")) == 1)
            assert [told["what"] for told in receiver.events(every)] == ["config", "rollback", "resume"]
            assert running.workers == before
            wait_until(lambda: running.metric('splitter_hook_deliveries_total{outcome="delivered"}') == 4)
            log = running.log.read_text()
        assert SECRET not in log
        assert "hidden" not in log


def test_a_hook_that_is_gone_holds_up_neither_changes_nor_the_end(tmp_path: Path, urls: dict[str, str]) -> None:
    config = CONFIG.replace("PORT", "9").replace(", secret_env: HOOK_SECRET", "")  # nobody listens on discard
    with splitter(tmp_path, config, **urls) as running:
        change(running, "rollback", reason="errors")
        wait_until(lambda: running.metric('splitter_hook_deliveries_total{outcome="retried"}') >= 1)
        assert running.stop() == 0
        assert running.events("hook_fails")[0]["why"] == "Connection refused"
        assert running.events("hook_not_told")[0]["events"] == 2


def test_a_secret_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "splitter.yaml"
    file.write_text(CONFIG.replace("PORT", "9"))
    check = [sys.executable, "-m", "splitter", "check-config", str(file)]
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(check, env=variables, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{file}:4: hooks[0].secret_env: the environment variable HOOK_SECRET is not set\n")
    done = subprocess.run(
        check, env={**variables, "HOOK_SECRET": SECRET}, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout
    assert "hidden" not in done.stdout
