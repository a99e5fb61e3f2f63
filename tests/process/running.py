"""Real processes for tests: a splitter of this checkout, and backends made of a few lines.

Owns: starting, waiting until they answer, stopping. Must not know: what a test checks.
Invariant: whatever happens in the test, every process started here is gone afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.bench.cpu import tree, usage
from tools.children import end_group, start
from tools.ports import free_port

ROOT = Path(__file__).parents[2]
START_S = 20.0


@dataclass
class Splitter:
    """A splitter under test. `port` is its public one."""

    process: subprocess.Popen[bytes]
    port: int
    admin_port: int
    log: Path

    @property
    def rss_bytes(self) -> int:
        """Of the supervisor and its workers."""
        return usage(self.process.pid).rss_bytes

    @property
    def workers(self) -> set[int]:
        """The worker processes there are now."""
        return set(tree(self.process.pid)) - {self.process.pid}

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of that event."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n"))
        return [line for line in lines if line["event"] == name]

    def metric(self, start: str) -> float:
        """The sum of the series whose line begins so."""
        page = ask(self.admin_port, "/api/v1/monitoring/metrics")[2].decode()
        return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(start))

    @property
    def cpu_s(self) -> float:
        """User and system time of the supervisor and its workers so far."""
        return sum(usage(self.process.pid).cpu_s.values())

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)


def ask(
    port: int,
    path: str = "/",
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    timeout_s: float = 10,
) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own: status, headers by lower-case name, body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def wait_until(check: Callable[[], bool], timeout_s: float = START_S) -> None:
    """Ask again and again: another process has no event to await."""
    until_s = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < until_s, "it did not come about in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(check: Callable[[], bool | list[Any]], timeout_s: float = 30) -> None:
    """Wait without keeping the load from running."""
    async with asyncio.timeout(timeout_s):
        while not await asyncio.to_thread(check):
            await asyncio.sleep(0.02)


def replaced(running: Splitter, gone: set[int], count: int = 2) -> bool:
    """Whether there are so many workers, and none of those."""
    return len(running.workers) == count and not running.workers & gone


def same_place(running: Splitter) -> dict[str, str]:
    """The environment of one that is to take its ports."""
    return {
        "SPLITTER_LISTEN": f"127.0.0.1:{running.port}",
        "SPLITTER_ADMIN_LISTEN": f"127.0.0.1:{running.admin_port}",
    }


def _port_of(environment: dict[str, str], name: str) -> int:
    digits = environment.get(name, "").rpartition(":")[2]
    return int(digits) if digits.isdigit() else free_port()


@contextlib.contextmanager
def splitter(
    folder: Path, config: str = "", output: Path | None = None, prefix: Sequence[str] = (), /, **environment: str
) -> Iterator[Splitter]:
    """A running splitter with this configuration, ready to be asked; on free ports if `environment` names no others.

    `output`: instead of a log in the folder; `prefix`: the command that is to run it.
    """
    port, admin_port = (_port_of(environment, name) for name in ("SPLITTER_LISTEN", "SPLITTER_ADMIN_LISTEN"))
    while port == admin_port:
        admin_port = free_port()
    file, log = folder / "splitter.yaml", output or folder / "splitter.log"
    file.write_text(config or "{}\n")
    process = start(
        [*prefix, sys.executable, "-m", "splitter", "run", "--config", str(file)],
        log,
        {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "SPLITTER_LISTEN": f"127.0.0.1:{port}",
            "SPLITTER_ADMIN_LISTEN": f"127.0.0.1:{admin_port}",
            **environment,
        },
        cwd=folder,
    )
    try:

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            if environment.get("SPLITTER_ADMIN_LISTEN", "").startswith("unix:"):
                return b'"event":"serving"' in log.read_bytes()
            with contextlib.suppress(OSError):  # on the admin port: the public one may speak TLS, or be a socket file
                return bool(json.loads(ask(admin_port, "/api/v1/monitoring/health")[2])["state"] == "serving")
            return False

        wait_until(ready)
        yield Splitter(process, port, admin_port, log)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        end_group(process.pid)  # also the workers of one that was killed
        process.wait()


@contextlib.contextmanager
def answering(
    command: Sequence[str],
    log: Path,
    port: int,
    path: str,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[None]:
    """Any server as a process, from when it answers `path` with 200 until the block ends."""
    process = start(command, log, environment, cwd=cwd)
    try:

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(OSError):
                return ask(port, path)[0] == 200
            return False

        wait_until(ready)
        yield
    finally:
        end_group(process.pid)
        process.wait()


Handler = Callable[[socketserver.StreamRequestHandler], None]


@contextlib.contextmanager
def backend(handle: Handler) -> Iterator[int]:
    """A backend on a thread for each connection; `handle` gets the connection's files. Yields its port."""

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True
        request_queue_size = 1024

    class Connection(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                handle(self)

    with Server(("127.0.0.1", 0), Connection) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def read_head(connection: socketserver.StreamRequestHandler) -> bytes:
    """A request's head, up to and with the empty line; empty at the end of the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = connection.rfile.readline()
        if not line:
            return b""
        head += line
    return head


def says(name: bytes, status: bytes = b"200 OK") -> Handler:
    """A backend that answers every request with its name."""

    def handle(connection: socketserver.StreamRequestHandler) -> None:
        while read_head(connection):
            connection.wfile.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(name), name))

    return handle
