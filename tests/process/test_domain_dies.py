"""Domain is killed under load and comes back: its clients do not notice."""

from __future__ import annotations

import http.client
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.process.running import ask, splitter, wait_until
from tests.process.service import camera_backend


def test_no_client_of_a_safe_method_sees_domain_die(tmp_path: Path) -> None:
    enough = threading.Event()
    answers: list[tuple[int, str]] = []

    def client(name: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
        number = 0
        while not enough.is_set():
            number += 1
            headers = {"X-User-Id": f"{name}-{number}"}
            connection.request("GET", "/api/v1/cameras/entrance/status", headers=headers)
            response = connection.getresponse()
            response.read()
            answers.append((response.status, response.getheader("X-Splitter-Reason") or ""))
        connection.close()

    with ExitStack() as stack:
        legacy = stack.enter_context(camera_backend("legacy", tmp_path))
        domain_life = ExitStack()
        domain = domain_life.enter_context(camera_backend("domain", tmp_path))
        config = "access_log: {sample: 0}\nbackends: {domain: {eject: {for: 500ms}, health: {interval: 200ms}}}\n"
        urls = {"LEGACY_URL": f"http://127.0.0.1:{legacy}", "DOMAIN_URL": f"http://127.0.0.1:{domain}"}
        running = stack.enter_context(splitter(tmp_path, config, ROLLOUT_PERCENT="50", **urls))
        pool = stack.enter_context(ThreadPoolExecutor(8))
        stack.callback(enough.set)
        clients = [pool.submit(client, name) for name in range(8)]

        wait_until(lambda: len(answers) > 300)
        domain_life.close()  # kill -9
        wait_until(lambda: any(reason == "unhealthy" for _, reason in answers))
        killed_at = len(answers)
        wait_until(lambda: len(answers) > killed_at + 300)
        enough.set()
        for done in clients:
            done.result(20)
        assert {status for status, _ in answers} == {200}
        assert "fallback" in {reason for _, reason in answers}
        health = ask(running.admin_port, "/api/v1/monitoring/health")
        assert health[0] == 200
