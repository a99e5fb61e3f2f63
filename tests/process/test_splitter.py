"""The splitter as a process: what a user sees of it."""

from __future__ import annotations

import json
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from splitter.routing import bucket_of
from tests.process.running import ROOT, Splitter, ask, backend, read_head, says, splitter, wait_until
from tools.ports import free_port

MIB = 1 << 20


@pytest.fixture
def sides() -> Iterator[tuple[int, int]]:
    with backend(says(b"legacy")) as legacy, backend(says(b"domain")) as domain:
        yield legacy, domain


def urls(sides: tuple[int, int]) -> dict[str, str]:
    return {"LEGACY_URL": f"http://127.0.0.1:{sides[0]}", "DOMAIN_URL": f"http://127.0.0.1:{sides[1]}"}


def test_two_thousand_users_ten_percent_on_domain_each_always_on_one_side(tmp_path: Path, sides: tuple[int, int]) -> None:
    with splitter(tmp_path, "rollout: {percent: 10}\naccess_log: {sample: 0}\n", **urls(sides)) as running:
        found: list[set[bytes]] = [set() for _ in range(2000)]
        with socket.create_connection(("127.0.0.1", running.port)) as client:
            file = client.makefile("rb")
            for _ in range(2):
                for user in range(2000):
                    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-User-Id: user-%d\r\n\r\n" % user)
                    while file.readline() != b"\r\n":
                        pass
                    found[user].add(file.read(6))
        assert all(len(answers) == 1 for answers in found)
        on_domain = [user for user, answers in enumerate(found) if answers == {b"domain"}]
        assert on_domain == [user for user in range(2000) if bucket_of(b"user-%d" % user) < 1000]
        assert 180 <= len(on_domain) <= 220


def test_environment_beats_the_file(tmp_path: Path, sides: tuple[int, int]) -> None:
    for variables, body, reason in (
        ({"ROLLOUT_PERCENT": "100"}, b"domain", "bucket"),
        ({"ROLLOUT_PERCENT": "100", "USE_DOMAIN_SERVICE": "false"}, b"legacy", "disabled"),
    ):
        with splitter(tmp_path, "rollout: {percent: 0}\n", **urls(sides), **variables) as running:
            status, headers, got = ask(running.port, "/?force_domain=1" if reason == "disabled" else "/")
            assert (status, got, headers["x-splitter-reason"]) == (200, body, reason)


def test_saving_the_file_and_sighup_reload_it(tmp_path: Path, sides: tuple[int, int]) -> None:
    with splitter(tmp_path, "rollout: {percent: 0}\n", **urls(sides)) as running:
        file = tmp_path / "splitter.yaml"
        assert ask(running.port)[2] == b"legacy"
        file.write_text("rollout: {percent: 100}\n")
        wait_until(lambda: ask(running.port)[2] == b"domain")
        file.write_text("rollout: {percent: 101}\n")

        def health(port: int = running.admin_port) -> dict[str, object]:
            found: dict[str, object] = json.loads(ask(port, "/api/v1/monitoring/health")[2])
            return found

        wait_until(lambda: health()["status"] == "degraded")
        assert "rollout.percent" in str(health()["problems"])
        assert health(running.port)["problems"] == ["the last reload of the configuration failed"]
        assert ask(running.port)[2] == b"domain", "a faulty file changes nothing"
        file.write_text("rollout: {percent: 0}\n")
        running.process.send_signal(signal.SIGHUP)
        wait_until(lambda: ask(running.port)[2] == b"legacy" and health()["status"] == "ok")


def test_metrics_count_what_was_asked(tmp_path: Path, sides: tuple[int, int]) -> None:
    with splitter(tmp_path, "rollout: {percent: 100}\n", **urls(sides)) as running:
        for _ in range(3):
            ask(running.port, method="POST")
        ask(running.port, "/?force_domain=maybe")
        page = ask(running.port, "/api/v1/monitoring/metrics")[2].decode()
        line = 'splitter_requests_total{backend="domain",code="200",method="POST",reason="bucket",route="default"} 3.0'
        assert line in page.splitlines()
        assert "splitter_force_ignored_total 1.0" in page.splitlines()
        assert 'splitter_rollout_percent{route="default"} 100.0' in page.splitlines()
        assert 'splitter_backend_up{backend="domain"} 1.0' in page.splitlines()
        assert ask(running.admin_port, "/api/v1/monitoring/metrics")[0] == 200


def test_an_unreachable_domain_is_left_out_and_said(tmp_path: Path, sides: tuple[int, int]) -> None:
    dead = free_port()
    with splitter(tmp_path, "rollout: {percent: 100}\n", **urls((sides[0], dead))) as running:
        status, headers, body = ask(running.port)
        assert (status, body, headers["x-splitter-reason"]) == (200, b"legacy", "unhealthy")
        status, _, health = ask(running.port, "/api/v1/monitoring/health")
        assert (status, json.loads(health)["status"]) == (200, "degraded")
        assert json.loads(health)["problems"] == ["domain is down"]
        assert str(dead).encode() not in health, "where the backends are is for operators"
        assert str(dead).encode() in ask(running.admin_port, "/api/v1/monitoring/health")[2]
        assert ask(running.port, "/api/v1/rollout", headers={"X-User-Id": "u"})[2] == b"legacy"
        assert ask(running.port, "/api/v1/monitoring/health/ready")[0] == 200


def test_no_backend_at_all(tmp_path: Path) -> None:
    with splitter(tmp_path, **urls((free_port(), free_port()))) as running:
        assert ask(running.port, "/api/v1/monitoring/health")[0] == 503
        assert ask(running.port, "/api/v1/monitoring/health/ready")[0] == 503
        assert ask(running.port, "/api/v1/monitoring/health/live")[0] == 200
        status, headers, body = ask(running.port)
        error = json.loads(body)["error"]
        assert (status, headers["content-type"], error["code"]) == (502, "application/json", "connect")
        assert error["request_id"]


def test_a_slow_backend_is_a_504(tmp_path: Path) -> None:
    release = threading.Event()

    def slow(connection: socketserver.StreamRequestHandler) -> None:
        while head := read_head(connection):
            if not head.startswith(b"GET /health"):
                release.wait(20)
            connection.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with backend(slow) as port:
        config = "rollout: {percent: 0}\nbackends: {legacy: {response_timeout: 300ms}}\n"
        with splitter(tmp_path, config, **urls((port, port))) as running:
            status, headers, body = ask(running.port, "/x")
            release.set()
            assert (status, json.loads(body)["error"]["code"]) == (504, "timeout")
            assert headers["x-splitter-backend"] == "legacy"


def test_a_client_that_leaves_is_noticed_by_the_backend(tmp_path: Path) -> None:
    gone = threading.Event()

    def watching(connection: socketserver.StreamRequestHandler) -> None:
        while head := read_head(connection):
            if head.startswith(b"GET /wait"):
                if connection.connection.recv(1) == b"":
                    gone.set()
                return
            connection.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with backend(watching) as port, splitter(tmp_path, "rollout: {percent: 0}\n", **urls((port, port))) as running:
        client = socket.create_connection(("127.0.0.1", running.port))
        client.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: b'state="active"} 1.0' in ask(running.admin_port, "/api/v1/monitoring/metrics")[2])
        client.close()
        assert gone.wait(5)
        wait_until(lambda: b'code="499"' in ask(running.admin_port, "/api/v1/monitoring/metrics")[2])


def test_a_gibibyte_down_and_200_mib_up_in_little_memory(tmp_path: Path) -> None:
    block = bytes(MIB)

    def large(connection: socketserver.StreamRequestHandler) -> None:
        while head := read_head(connection):
            if head.startswith(b"GET /large"):
                connection.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1024 * MIB))
                for _ in range(1024):
                    connection.wfile.write(block)
                continue
            received = 0
            if head.startswith(b"POST"):
                while received < 200 * MIB:
                    received += len(connection.rfile.read(MIB))
            connection.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n%09d" % received)

    with backend(large) as port, splitter(tmp_path, "rollout: {percent: 0}\n", **urls((port, port))) as running:
        ask(running.port, "/small")
        before_bytes = running.rss_bytes
        peaks = [_download(running), _upload(running)]
        assert max(peaks) - before_bytes < 32 * MIB


def _download(running: Splitter) -> int:
    peak, received = 0, 0
    with socket.create_connection(("127.0.0.1", running.port)) as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        while data := client.recv(MIB):
            received += len(data)
            if received % (64 * MIB) < MIB:
                peak = max(peak, running.rss_bytes)
    assert received > 1024 * MIB
    return peak


def _upload(running: Splitter) -> int:
    block, peak = bytes(MIB), 0
    with socket.create_connection(("127.0.0.1", running.port)) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (200 * MIB))
        for _ in range(200):
            client.sendall(block)
            peak = max(peak, running.rss_bytes)
        assert b"\r\n\r\n%09d" % (200 * MIB) in client.recv(4096)
    return peak


def test_sigterm_lets_a_request_end(tmp_path: Path) -> None:
    arrived, release = threading.Event(), threading.Event()

    def slow(connection: socketserver.StreamRequestHandler) -> None:
        while head := read_head(connection):
            if head.startswith(b"GET /slow"):
                arrived.set()
                release.wait(20)
            connection.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")

    with backend(slow) as port, splitter(tmp_path, "rollout: {percent: 0}\n", **urls((port, port))) as running:
        answers: list[tuple[int, dict[str, str], bytes]] = []
        thread = threading.Thread(target=lambda: answers.append(ask(running.port, "/slow")))
        thread.start()
        assert arrived.wait(10)
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in running.log.read_text())
        with pytest.raises(ConnectionRefusedError):
            ask(running.port, "/new")
        release.set()
        thread.join(10)
        assert answers[0][0] == 200
        assert answers[0][1]["connection"] == "close"
        assert running.process.wait(10) == 0


def test_a_port_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "splitter", "run"],
            capture_output=True,
            text=True,
            timeout=20,
            cwd=tmp_path,
            env={
                "PYTHONPATH": str(ROOT),
                "SPLITTER_LISTEN": f"127.0.0.1:{port}",
                "SPLITTER_ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
            },
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"127.0.0.1:{port} is in use" in done.stderr


def test_a_log_line_for_each_request_without_its_secrets(tmp_path: Path, sides: tuple[int, int]) -> None:
    with splitter(tmp_path, "rollout: {percent: 0}\n", **urls(sides)) as running:
        secrets = {"Cookie": "session_id=crumb", "Authorization": "Bearer bear", "X-Request-Id": "id-1"}
        ask(running.port, "/path%0a?token=query", headers=secrets)
        with socket.create_connection(("127.0.0.1", running.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 400 ")
        running.stop()
        text = running.log.read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        (request,) = [line for line in lines if line["event"] == "request"]
        assert request["path"] == "/path%0a"
        assert (request["status"], request["backend"], request["request_id"]) == (200, "legacy", "id-1")
        (refused,) = [line for line in lines if line["event"] == "refused"]
        assert refused["status"] == 400
        assert not [secret for secret in ("crumb", "bear", "query") if secret in text]
