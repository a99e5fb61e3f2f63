"""Two endpoints of one backend, one of which its probes find down: from the prober to the workers."""

from __future__ import annotations

import socketserver
import threading
from pathlib import Path

from tests.process.running import Handler, ask, backend, read_head, says, splitter, wait_until


def ill(name: bytes, well: threading.Event) -> Handler:
    """Answers every request with its name, but its health page with 503 until it is well."""

    def handle(connection: socketserver.StreamRequestHandler) -> None:
        while head := read_head(connection):
            status = b"503 Ill" if head.startswith(b"GET /health") and not well.is_set() else b"200 OK"
            connection.wfile.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(name), name))

    return handle


def test_an_endpoint_that_is_down_gets_nothing_until_it_is_back(tmp_path: Path) -> None:
    well = threading.Event()
    config = (
        "rollout: {percent: 100}\naccess_log: {sample: 0}\nlisten: {workers: 2}\n"
        "backends: {domain: {health: {interval: 100ms, healthy_after: 2}}}\n"
    )
    with backend(says(b"one")) as one, backend(ill(b"two", well)) as two, backend(says(b"legacy")) as legacy:
        urls = {
            "DOMAIN_URL": f"http://127.0.0.1:{one},http://127.0.0.1:{two}",
            "LEGACY_URL": f"http://127.0.0.1:{legacy}",
        }
        with splitter(tmp_path, config, **urls) as running:
            assert {ask(running.port)[2] for _ in range(20)} == {b"one"}
            problems = ask(running.admin_port, "/api/v1/monitoring/health")[2]
            assert f"domain at http://127.0.0.1:{two}/health is down: answered 503".encode() in problems
            well.set()
            wait_until(lambda: {ask(running.port)[2] for _ in range(20)} == {b"one", b"two"})
