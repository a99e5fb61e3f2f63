"""A real Envoy with the configuration that `splitter envoy-config` prints, and backends that tell what reached them.

Owns: starting both. Must not know: what a test checks.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socketserver
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.process.running import ROOT, Handler, answering, ask, read_head
from tools.ports import free_port

ENVOY = shutil.which("envoy", path=str(Path(sys.executable).parent)) or "envoy"


def echo(name: str, *, once: bool = False) -> Handler:
    """Answers with what reached it, as JSON: `backend`, `target`, `fields` in their order, `body`.

    A request may say what is to happen instead, for one backend: `X-Do: domain=503`, `domain=reset`, `domain=sleep`.
    `once`: a connection is closed after an answer, so that none outlives the listener.
    """

    def handle(connection: socketserver.StreamRequestHandler) -> None:
        while head := read_head(connection).decode("latin-1"):
            line, *rest = head.rstrip().split("\r\n")
            method, target, _ = line.split(" ")
            fields = [field.partition(": ")[::2] for field in rest]
            values = {key.lower(): value for key, value in fields}
            body = connection.rfile.read(int(values.get("content-length", 0)))
            status = 200
            wanted, _, what = values.get("x-do", "").partition("=")
            if wanted == name and what == "reset":
                return
            if wanted == name and what == "sleep":
                time.sleep(1.5)
            elif wanted == name:
                status = int(what)
            told = {"backend": name, "method": method, "target": target, "fields": fields, "body": body.decode("latin-1")}
            answer = json.dumps(told).encode()
            connection.wfile.write(
                b"HTTP/1.1 %d Said\r\nX-Splitter-Reason: forged\r\nContent-Length: %d\r\n\r\n" % (status, len(answer))
                + (b"" if method == "HEAD" else answer)
            )
            if once:
                return

    return handle


@dataclass(frozen=True)
class Envoy:
    """One that runs. `port` is its public one."""

    port: int
    admin_port: int
    log: Path

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its access log so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def stat(self, name: str) -> int:
        """One of its counters or gauges."""
        text = ask(self.admin_port, f"/stats?filter=^{name}$")[2].decode()
        return int(text.rpartition(": ")[2])


def envoy_config(file: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`splitter envoy-config` for a configuration file."""
    return subprocess.run(
        [sys.executable, "-m", "splitter", "envoy-config", "--config", str(file), *options],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        cwd=file.parent, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@contextlib.contextmanager
def envoy(file: Path, options: Sequence[str] = (), **environment: str) -> Iterator[Envoy]:
    """A running Envoy, on free ports, with what the command prints for a configuration file."""
    port, admin_port = free_port(), free_port()
    environment = {"SPLITTER_LISTEN": f"127.0.0.1:{port}", **environment}
    printed = envoy_config(file, "--envoy-admin", f"127.0.0.1:{admin_port}", *options, **environment)
    assert printed.returncode == 0, printed.stderr
    resources = file.with_name(f"envoy-{port}.yaml")
    resources.write_text(printed.stdout)
    log = file.with_name(f"envoy-{port}.log")
    # The file is flushed every tenth of a second, and not every ten seconds, for tests that read it.
    command = [ENVOY, "-c", str(resources), "--base-id", str(port), "--concurrency", "1", "--log-level", "warning",
               "--file-flush-interval-msec", "100"]  # fmt: skip
    with answering(command, log, admin_port, "/ready", cwd=file.parent):
        yield Envoy(port, admin_port, log)
