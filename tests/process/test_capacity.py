"""Many connections, slow ones, and too few files: what a process bears, and what that costs it."""

from __future__ import annotations

import contextlib
import json
import resource
import select
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.running import Splitter, ask, backend, read_head, says, splitter, wait_until

KIB, MIB = 1 << 10, 1 << 20
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
QUIET = "access_log: {sample: 0}\nrollout: {percent: 0}\nlisten: {workers: 1}\n"


def legacy_at(port: int) -> dict[str, str]:
    return {"LEGACY_URL": f"http://127.0.0.1:{port}", "DOMAIN_URL": f"http://127.0.0.1:{port}"}


@pytest.fixture
def files() -> Iterator[int]:
    """As many files for the test as it may have; how many those are."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield before[1] if before[1] != resource.RLIM_INFINITY else 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Clients:
    """Connections of the test, closed together."""

    def __init__(self, port: int, receive_bytes: int = 0) -> None:
        self._port = port
        self._receive_bytes = receive_bytes
        self.sockets: list[socket.socket] = []

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.sockets:
            client.close()

    def open(self, count: int, first_bytes: bytes = b"") -> None:
        for _ in range(count):
            client = socket.socket()
            self.sockets.append(client)
            if self._receive_bytes:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_bytes)
            client.settimeout(20)
            client.connect(("127.0.0.1", self._port))
            if first_bytes:
                client.sendall(first_bytes)


def test_five_thousand_idle_connections_at_20_kib_each(tmp_path: Path, files: int) -> None:
    count = min(5000, files - 1000)
    assert count >= 500, "too few files to say anything"
    with backend(says(b"ok")) as port, splitter(tmp_path, QUIET, **legacy_at(port)) as running:
        with Clients(running.port) as warm_up:
            warm_up.open(200, GET)
            for client in warm_up.sockets:
                assert client.recv(1000).endswith(b"ok")
        before_bytes = running.rss_bytes
        with Clients(running.port) as clients:
            for _ in range(count // 100):
                clients.open(100, GET)
                for client in clients.sockets[-100:]:
                    assert client.recv(1000).endswith(b"ok")
            each_bytes = (running.rss_bytes - before_bytes) / count
            assert each_bytes <= 20 * KIB, f"{each_bytes / KIB:.1f} KiB for each of {count}"
            busy_s = running.cpu_s
            time.sleep(1)
            assert running.cpu_s - busy_s < 0.25, "nobody does anything"
            for client in clients.sockets[:: count // 50]:
                client.sendall(GET)
                assert client.recv(1000).endswith(b"ok")


# --- slow clients ---------------------------------------------------------------------------------------------------

SLOW = 200
EACH_BYTES = 640 * KIB
"""Of a connection whose client is slow: twice what is held before reading stops, and the pieces on their way."""


def test_slow_readers_cost_bounded_memory(tmp_path: Path, files: int) -> None:
    block = bytes(MIB)

    def large(connection: socketserver.StreamRequestHandler) -> None:
        while read_head(connection):
            connection.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
            for _ in range(64):
                connection.wfile.write(block)

    with backend(large) as port, splitter(tmp_path, QUIET, **legacy_at(port)) as running:
        before_bytes = running.rss_bytes
        with Clients(running.port, receive_bytes=8 * KIB) as clients:
            clients.open(SLOW, GET)
            grown_bytes = settled(running) - before_bytes
            assert grown_bytes <= SLOW * EACH_BYTES, f"{grown_bytes / SLOW / KIB:.0f} KiB for each"
            client = clients.sockets[0]
            head = client.recv(4096)
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            received = len(head.partition(b"\r\n\r\n")[2])
            while received < 2 * MIB:
                received += len(client.recv(MIB))


def test_uploads_to_a_backend_that_does_not_read_cost_bounded_memory(tmp_path: Path, files: int) -> None:
    release = threading.Event()

    def lazy(connection: socketserver.StreamRequestHandler) -> None:
        while head := read_head(connection):
            if head.startswith(b"POST"):
                connection.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * KIB)
                release.wait(60)
                return
            connection.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (64 * MIB)
    with backend(lazy) as port, splitter(tmp_path, QUIET, **legacy_at(port)) as running:
        before_bytes = running.rss_bytes
        with Clients(running.port) as clients:
            clients.open(SLOW, head)
            push(clients.sockets)
            grown_bytes = settled(running) - before_bytes
            assert grown_bytes <= SLOW * EACH_BYTES, f"{grown_bytes / SLOW / KIB:.0f} KiB for each"
            assert ask(running.port)[2] == b"ok", "others are served"
        release.set()


def push(sockets: list[socket.socket]) -> None:
    """Send until none takes any more."""
    block = bytes(256 * KIB)
    poll = select.poll()
    by_number = {client.fileno(): client for client in sockets}
    for client in sockets:
        client.setblocking(False)
        poll.register(client, select.POLLOUT)
    while ready := poll.poll(500):
        for number, _ in ready:
            with contextlib.suppress(BlockingIOError):
                by_number[number].send(block)


def settled(running: Splitter) -> int:
    """Memory, once it has stopped growing."""
    last_bytes, same = 0, 0
    while same < 5:
        now_bytes = running.rss_bytes
        same = same + 1 if now_bytes <= last_bytes + 64 * KIB else 0
        last_bytes = now_bytes
        time.sleep(0.1)
    return last_bytes


# --- too few files --------------------------------------------------------------------------------------------------


class Slow:
    """A backend whose requests last until they are let go."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def handle(self, connection: socketserver.StreamRequestHandler) -> None:
        while head := read_head(connection):
            if b" /slow " in head:
                self.release.wait(30)
            connection.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ndomain")


def test_too_few_files_for_everybody(tmp_path: Path) -> None:
    slow = Slow()
    config = QUIET.replace("percent: 0", "percent: 100") + "backends: {domain: {eject: {consecutive_failures: 3}}}\n"
    with backend(slow.handle) as port, backend(says(b"legacy")) as legacy:
        urls = {"DOMAIN_URL": f"http://127.0.0.1:{port}", "LEGACY_URL": f"http://127.0.0.1:{legacy}"}
        with splitter(tmp_path, config, None, ["prlimit", "--nofile=80:80"], **urls) as running:
            assert ask(running.port)[2] == b"domain"
            with Clients(running.port) as clients:
                clients.open(120, b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
                wait_until(
                    lambda: "accept_failed" in running.log.read_text() or "connections_full" in running.log.read_text()
                )
                refused = wait_for_answers(clients.sockets)
                busy_s = running.cpu_s
                time.sleep(2)
                assert running.cpu_s - busy_s < 0.5, "it waits, it does not spin"
                assert refused, "some could not be passed on"
                for answer in refused:
                    head, _, body = answer.partition(b"\r\n\r\n")
                    assert head.startswith(b"HTTP/1.1 503 "), head
                    assert b"Retry-After: 1" in head
                    error = json.loads(body)["error"]
                    assert (error["code"], "Too many open files" in error["message"]) == ("exhausted", True)
                slow.release.set()
                served = wait_for_answers([one for one in clients.sockets if one not in ended(clients.sockets)])
                assert any(answer.endswith(b"domain") for answer in served), "those who were let in got their answers"
            wait_until(lambda: ask(running.port)[2] == b"domain")
            metrics = ask(running.admin_port, "/api/v1/monitoring/metrics")[2].decode().splitlines()
            assert 'splitter_backend_failures_total{backend="domain",kind="connect"} 0.0' in metrics, "it did nothing wrong"
            log = running.log.read_text()
            assert log.count("accept_failed") + log.count("connections_full") <= 2, "said, but not for each client"
            assert "task_failed" not in log
            assert running.stop() == 0


def wait_for_answers(sockets: list[socket.socket], quiet_s: float = 1.0) -> list[bytes]:
    """What the clients are told, until nobody is told any more."""
    poll = select.poll()
    by_number = {client.fileno(): client for client in sockets}
    for client in sockets:
        poll.register(client, select.POLLIN)
    answers = []
    while ready := poll.poll(quiet_s * 1000):
        for number, _ in ready:
            poll.unregister(number)
            with contextlib.suppress(ConnectionError):
                if answer := by_number[number].recv(4096):
                    answers.append(answer)
    return answers


def ended(sockets: list[socket.socket]) -> set[socket.socket]:
    """Those whose other end is closed."""
    poll = select.poll()
    by_number = {client.fileno(): client for client in sockets}
    for client in sockets:
        poll.register(client, select.POLLRDHUP)
    return {by_number[number] for number, _ in poll.poll(0)}
