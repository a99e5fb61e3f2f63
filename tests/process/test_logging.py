"""The log of a running splitter: what is in it, and that an output nobody can write to stops no traffic."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import socketserver
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.process.running import ROOT, Splitter, ask, backend, read_head, says, splitter, wait_until
from tools.ports import free_port

METRICS = "/api/v1/monitoring/metrics"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ESCAPE = re.compile(r"\x1b\[[\d;]*m")


@pytest.fixture
def legacy() -> Iterator[str]:
    with backend(says(b"legacy")) as port:
        yield f"http://127.0.0.1:{port}"


def lost_lines(running: Splitter, why: str) -> float:
    page = ask(running.admin_port, METRICS)[2].decode()
    found = re.search(rf'^splitter_log_lines_lost_total{{why="{why}"}} (\S+)$', page, re.MULTILINE)
    assert found
    return float(found[1])


def ask_many(running: Splitter, count: int) -> float:
    """So many requests with a long path, answered one by one on one connection; how long that took."""
    request = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 2000)
    began_s = time.monotonic()
    with socket.create_connection(("127.0.0.1", running.port), timeout=5) as client, client.makefile("rb") as answers:
        for _ in range(count):
            client.sendall(request)
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
            while answers.readline() != b"\r\n":
                pass
            assert answers.read(6) == b"legacy"
    return time.monotonic() - began_s


@contextmanager
def unread_pipe(folder: Path) -> Iterator[Path]:
    """A pipe that somebody has open and nobody reads."""
    place = folder / "pipe"
    os.mkfifo(place)
    reader = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield place
    finally:
        os.close(reader)


def test_a_pipe_nobody_reads_stops_nothing(tmp_path: Path, legacy: str) -> None:
    with (
        unread_pipe(tmp_path) as place,
        splitter(tmp_path, "rollout: {percent: 0}\n", place, LEGACY_URL=legacy) as running,
    ):
        ask_many(running, 100)  # the pipe is full now
        before_bytes = running.rss_bytes
        assert ask_many(running, 5000) < 20
        assert lost_lines(running, "unread") > 1000
        assert running.rss_bytes - before_bytes < 16 << 20
        began_s = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began_s < 5


def test_a_full_disk_stops_nothing(tmp_path: Path, legacy: str) -> None:
    config = "rollout: {percent: 0}\n"
    with splitter(tmp_path, config, Path("/dev/full"), LEGACY_URL=legacy) as running:
        ask_many(running, 200)
        wait_until(lambda: lost_lines(running, "failed") >= 200)
        assert running.stop() == 0


def test_no_output_at_all_stops_nothing(tmp_path: Path, legacy: str) -> None:
    """Started with its standard output closed: the next descriptor that is opened gets its number, and must stay clean."""
    config, prefix = "rollout: {percent: 0}\n", ["sh", "-c", 'exec "$@" >&-', "sh"]
    with splitter(tmp_path, config, None, prefix, LEGACY_URL=legacy) as running:
        ask_many(running, 200)
        assert running.stop() == 0
        assert running.log.read_text() == ""


def test_a_failure_of_domain_is_a_line_and_a_storm_of_them_is_not_one_of_lines(tmp_path: Path, legacy: str) -> None:
    def hangs_up(connection: socketserver.StreamRequestHandler) -> None:
        if read_head(connection).startswith(b"GET /health"):
            connection.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with backend(hangs_up) as port:
        urls = {"LEGACY_URL": legacy, "DOMAIN_URL": f"http://127.0.0.1:{port}"}
        config = (
            "listen: {workers: 1}\nrollout: {percent: 100}\naccess_log: {sample: 0}\nfallback: {budget: 1}\n"
            "backends: {domain: {eject: {consecutive_failures: 40, for: 10m}}}\n"
        )
        with splitter(tmp_path, config, **urls) as running:
            for _ in range(60):  # what the budget is a share of
                assert ask(running.port, "/?force_domain=false")[0] == 200
            headers = {"X-Request-Id": "id-1", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "Cookie": "secret"}
            assert ask(running.port, "/a?secret", headers=headers)[2] == b"legacy"
            for _ in range(50):
                assert ask(running.port)[0] == 200
            time.sleep(1.3)  # a second after the first of them the sum is told
            running.stop()
            text = running.log.read_text()
            lines = [json.loads(line) for line in text.splitlines()]
        failures = [line for line in lines if line["event"] == "backend_failure"]
        first = failures[0]
        assert (first["level"], first["backend"], first["kind"], first["reason"]) == ("warning", "domain", "reset", "bucket")
        assert (first["request_id"], first["trace_id"], first["path"]) == ("id-1", TRACE, "/a")
        assert first["upstream"] == f"127.0.0.1:{port}"
        assert first["route"] == "default"
        assert first["duration_ms"] > 0
        assert "secret" not in text
        suppressed = sum(line["lines"] for line in lines if line["event"] == "suppressed")
        assert 10 <= len(failures) < 40
        assert len(failures) + suppressed == 40
        (out,) = [line for line in lines if line["event"] == "endpoint_out"]
        assert (out["backend"], out["upstream"]) == ("domain", f"127.0.0.1:{port}")


def test_on_a_terminal_lines_are_for_people(tmp_path: Path, legacy: str) -> None:
    port = free_port()
    master, slave = pty.openpty()
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LEGACY_URL": legacy, "ROLLOUT_PERCENT": "0", "TERM": "xterm",
        "SPLITTER_LISTEN": f"127.0.0.1:{port}", "SPLITTER_ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
    }  # fmt: skip
    command = [sys.executable, "-m", "splitter", "run"]
    process = subprocess.Popen(command, stdout=slave, stderr=slave, stdin=slave, env=environment, cwd=tmp_path)
    os.close(slave)
    text = b""
    try:
        while b"serving" not in text:
            text += os.read(master, 4096)
        hostile = b"GET /\x1b[2J HTTP/1.1\r\nHost: a\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /%1b[2J HTTP/1.1\r\nHost: a\r\n\r\n" + hostile)
            while b"400 " not in client.recv(4096):
                pass
        process.send_signal(signal.SIGTERM)
        while b"stopped" not in text:
            text += os.read(master, 4096)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)
    shown = ESCAPE.sub("", text.decode())
    assert shown != text.decode(), "no colours"
    assert re.search(r"^\d\d:\d\d:\d\d\.\d{3} \[info +\] request .*path=/%1b\[2J .*status=200", shown, re.MULTILINE)
    assert re.search(r"^\d\d:\d\d:\d\d\.\d{3} \[info +\] refused .*status=400", shown, re.MULTILINE)
    assert "\x1b" not in shown
