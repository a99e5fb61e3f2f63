"""A Redis of a test's own: Debian's redis-server on a free port, with nothing on disk.

Owns: starting, stopping, freezing it. Must not know: who uses it.
Invariant: whatever happens in the test, it is gone afterwards.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.children import end_group, start
from tools.ports import obstacle

_START_S = 10.0


class RedisServer:
    """`url` is what `state.url` takes. After `kill`, `start` brings it back on the same port, empty."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = _port()
        self.url = f"redis://127.0.0.1:{self.port}/0?name=cameras"
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        log = self._folder / "redis.log"
        process = start([*command, *self._options], log, {"PATH": os.environ["PATH"]}, cwd=self._folder)
        self._process = process
        until_s = time.monotonic() + _START_S
        while True:
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as client:
                client.sendall(b"PING\r\n")
                if client.recv(64):  # PONG, or that it wants a password: it answers
                    return
            assert time.monotonic() < until_s, log.read_text()
            time.sleep(0.01)

    def kill(self) -> None:
        """With SIGKILL, as when the machine goes; everything in it is lost."""
        if self._process is not None:
            end_group(self._process.pid)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It takes connections and bytes, and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


def _port() -> int:
    """A free one that the kernel gives to nobody else while this Redis is away, not even to those who try to reach it."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    quiet = [port for port in range(10_000, 65_000) if not first <= port <= last]
    return next(port for port in random.sample(quiet, 100) if obstacle("127.0.0.1", port) is None)


@contextlib.contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[RedisServer]:
    """A running one. Skips the test where Debian's package is missing."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server: tools/test_packages.sh")
    server = RedisServer(folder, *options)
    server.start()
    try:
        yield server
    finally:
        server.kill()
