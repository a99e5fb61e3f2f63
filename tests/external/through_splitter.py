"""A pytest plugin: makes pytest-httpbin's servers be reached through a splitter, `https` included.

Owns: that. It runs in the environment of somebody else's tests, which know nothing of it; SPLITTER_PYTHON and SPLITTER_ROOT
say what to start. Must not know: what those tests check.
Invariant: with it, nothing answers those tests but a splitter.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from pytest_httpbin import serve

START_S = 20.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Server(serve.Server):  # type: ignore[misc] # its package has no types, and is not there when ours are checked
    """The plain server it was, and in front of it a splitter, whose address it gives as its own."""

    listen = "{}"
    port: int

    def start(self) -> None:
        super().start()
        backend = f"http://127.0.0.1:{self.port}"
        self.port, admin_port = free_port(), free_port()
        self._folder = tempfile.TemporaryDirectory()
        config = Path(self._folder.name) / "splitter.yaml"
        config.write_text(f"listen: {self.listen}\n")
        with (Path(self._folder.name) / "log").open("wb") as log:
            self._splitter = subprocess.Popen(
                [os.environ["SPLITTER_PYTHON"], "-m", "splitter", "run", "--config", str(config)],
                env={
                    "PYTHONPATH": os.environ["SPLITTER_ROOT"],
                    "LEGACY_URL": backend,
                    "DOMAIN_URL": backend,
                    "SPLITTER_LISTEN": f"127.0.0.1:{self.port}",
                    "SPLITTER_ADMIN_LISTEN": f"127.0.0.1:{admin_port}",
                },
                stdout=log,
                stderr=log,
            )
        until_s = time.monotonic() + START_S
        while self._state(admin_port) != "serving":
            assert time.monotonic() < until_s, (Path(self._folder.name) / "log").read_text()
            time.sleep(0.05)

    @staticmethod
    def _state(admin_port: int) -> Any:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/api/v1/monitoring/health") as page:
                return json.load(page)["state"]
        except OSError:
            return None

    def stop(self) -> None:
        self._splitter.terminate()
        self._splitter.wait()
        self._folder.cleanup()
        super().stop()


class SecureServer(Server):
    """TLS ends at the splitter, with the certificate those tests trust."""

    listen = f"{{tls: {{cert: {serve.CERT_DIR}/server.pem, key: {serve.CERT_DIR}/server.key}}}}"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.protocol = "https"


serve.Server = Server
serve.SecureServer = SecureServer
