"""`make run`: what it starts and says, and above all that nothing is left when it ends, however it ends."""

from __future__ import annotations

import http.client
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tools import ports
from tools.bench import cpu

ROOT = Path(__file__).parents[2]
STAND_IN = Path(__file__).with_name("stand_in_service.py")
READY = "Ctrl-C stops all."


class RunAll:
    """A `tools.run_all` that was started, and the ports it was given."""

    def __init__(self, cwd: Path, *arguments: str, without: str = "", **environment: str) -> None:
        self.port, self.admin, self.legacy, self.domain = (ports.free_port() for _ in range(4))
        names = ("--port", "--admin-port", "--legacy-port", "--domain-port")
        numbers = (self.port, self.admin, self.legacy, self.domain)
        options = [text for name, port in zip(names, numbers, strict=True) for text in (name, str(port)) if name != without]
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "tools.run_all", *options, *arguments],
            cwd=cwd,
            env=clean_environment() | {"PYTHONPATH": str(ROOT)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        self.output = self.process.stdout

    def until_ready(self) -> str:
        """What it printed until all three were up."""
        lines = []
        for line in self.output:
            lines.append(line)
            if line.strip() == READY:
                return "".join(lines)
        pytest.fail(f"it ended with {self.process.wait()}: {''.join(lines)}")

    def end(self) -> tuple[int, str]:
        """Wait for its end: status, and what it printed since the last read."""
        rest = self.output.read()
        return self.process.wait(timeout=20), rest


def clean_environment() -> dict[str, str]:
    ours = ("SPLITTER_", "LEGACY_", "DOMAIN_", "USE_DOMAIN_SERVICE", "ROLLOUT_PERCENT", "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@contextmanager
def run_all(cwd: Path, *arguments: str, without: str = "", **environment: str) -> Iterator[RunAll]:
    """Started with ports of its own, but for the option `without`; killed at the end, should it still be there."""
    run = RunAll(cwd, *arguments, without=without, **environment)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.process.kill()
        run.process.wait()
        run.output.close()


@pytest.fixture
def stand_ins(tmp_path: Path) -> Path:
    """A directory in which `python -m splitter` and the backends are stand-ins."""
    for name in ("legacy_backend", "domain_backend", "splitter"):
        (tmp_path / name).mkdir()
        # What is not in the stand-in, as splitter.config, is found in the real package.
        (tmp_path / name / "__init__.py").write_text(
            "from pkgutil import extend_path\n__path__ = extend_path(__path__, __name__)\n"
        )
        shutil.copy(STAND_IN, tmp_path / name / "__main__.py")
    return tmp_path


def assert_all_end(pids: list[int], timeout_s: float = 10.0) -> None:
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            assert poll.poll(timeout_s * 1000), f"pid {pid} is still there"
        finally:
            os.close(descriptor)


def get(port: int, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


class TestStarting:
    def test_it_says_where_everything_is_and_what_to_try(self, stand_ins: Path) -> None:
        with run_all(stand_ins) as run:
            said = run.until_ready()
            assert [f"http://127.0.0.1:{port}" in said for port in (run.port, run.admin, run.legacy, run.domain)] == [
                True
            ] * 4
            assert f"curl -i -H 'X-User-Id: alice' 'http://127.0.0.1:{run.port}/api/v1/cameras'" in said
            assert "force_domain=true" in said
            assert get(run.port, "/") == get(run.legacy, "/health") == get(run.domain, "/health") == 200

    def test_backends_share_cameras_and_data(self, stand_ins: Path) -> None:
        with run_all(stand_ins, "--cameras", "mine.yaml", "--data-dir", "here") as run:
            run.until_ready()
            for name, port in (("legacy", run.legacy), ("domain", run.domain)):
                log = (stand_ins / "here" / "logs" / f"{name}.log").read_text()
                assert log.startswith(f"{name} --host 127.0.0.1 --port {port} --cameras mine.yaml --data-dir here\n")

    def test_every_taken_port_is_named_with_its_holder_and_the_way_out(self, stand_ins: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
            taken = [server.getsockname()[1] for server in (one, two)]
            with run_all(stand_ins, "--port", str(taken[0]), "--domain-port", str(taken[1])) as run:
                status, said = run.end()
        assert status == 1
        for port, what, option in ((taken[0], "splitter", "--port"), (taken[1], "domain", "--domain-port")):
            assert f"port {port} ({what}) is in use by " in said
            assert f'make run ARGS="{option} ' in said
        assert f"(pid {os.getpid()})" in said
        assert not (stand_ins / "data").exists(), "nothing was started"

    def test_one_port_for_two_is_refused(self, stand_ins: Path) -> None:
        port = str(ports.free_port())
        with run_all(stand_ins, "--legacy-port", port, "--domain-port", port) as run:
            assert run.end() == (1, run_output_for_shared(port))

    def test_a_configuration_with_faults_starts_nothing_and_names_all_of_them(self, stand_ins: Path) -> None:
        (stand_ins / "config").mkdir()
        (stand_ins / "config" / "splitter.yaml").write_text("rollout: {percent: 101}\nlistne: {}\n")
        with run_all(stand_ins) as run:
            status, said = run.end()
        assert status == 1
        assert "config/splitter.yaml:1: rollout.percent: " in said
        assert "config/splitter.yaml:2: listne: " in said
        assert not (stand_ins / "data").exists()

    def test_a_named_configuration_that_is_not_there_is_a_fault(self, stand_ins: Path) -> None:
        with run_all(stand_ins, "--config", "none.yaml") as run:
            assert run.end() == (1, "none.yaml: there is no such file\n")

    def test_a_port_that_is_none_is_bad_usage(self, stand_ins: Path) -> None:
        with run_all(stand_ins, "--port", "65536") as run:
            status, said = run.end()
        assert status == 2
        assert "'65536' is not a port (1 to 65535)" in said

    def test_the_environment_moves_a_port_and_an_option_beats_it(self, stand_ins: Path) -> None:
        port = ports.free_port()
        environment = {"SPLITTER_LISTEN": "127.0.0.1:1", "LEGACY_URL": f"http://127.0.0.1:{port}"}
        with run_all(stand_ins, without="--legacy-port", **environment) as run:
            assert f"http://127.0.0.1:{port}" in run.until_ready()
            assert get(port, "/health") == get(run.port, "/") == 200

    def test_a_backend_that_is_elsewhere_is_not_started(self, stand_ins: Path) -> None:
        (stand_ins / "config").mkdir()
        urls = '["http://10.0.0.9:80", "http://10.0.0.8"]'
        (stand_ins / "config" / "splitter.yaml").write_text(f"backends: {{domain: {{urls: {urls}}}}}\n")
        with run_all(stand_ins, without="--domain-port") as run:
            said = run.until_ready()
            assert "http://10.0.0.9:80, http://10.0.0.8:80" in said
            assert "not started here" in said
            assert not (stand_ins / "data" / "logs" / "domain.log").exists()


class TestListeners:
    """The real splitter, with whatever its configuration makes of its public side."""

    @pytest.fixture
    def with_splitter(self, stand_ins: Path) -> Path:
        shutil.rmtree(stand_ins / "splitter")
        (stand_ins / "config").mkdir()
        return stand_ins

    def test_a_socket_file(self, with_splitter: Path) -> None:
        path = with_splitter / "s.sock"
        (with_splitter / "config" / "splitter.yaml").write_text(f"listen: {{host: 'unix:{path}'}}\n")
        with run_all(with_splitter, without="--port") as run:
            said = run.until_ready()
            assert f"curl -i -H 'X-User-Id: alice' --unix-socket {path} 'http://localhost/api/v1/cameras'" in said
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")

    def test_a_port_for_a_socket_file_is_refused(self, with_splitter: Path) -> None:
        (with_splitter / "config" / "splitter.yaml").write_text("listen: {host: 'unix:/run/s.sock'}\n")
        with run_all(with_splitter) as run:
            assert run.end() == (1, "--port moves a port, but the splitter is to listen on unix:/run/s.sock\n")

    def test_tls_behind_a_load_balancer(self, with_splitter: Path) -> None:
        pair = with_splitter / "pair.pem"
        trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(pair))
        (with_splitter / "config" / "splitter.yaml").write_text(
            f"listen: {{tls: {{cert: {pair}, key: {pair}}}, proxy_protocol: [127.0.0.0/8]}}\n"
        )
        with run_all(with_splitter) as run:
            said = run.until_ready()
            assert f"curl -i -k 'https://127.0.0.1:{run.port}/api/v1/cameras?force_domain=true'" in said


def run_output_for_shared(port: str) -> str:
    free = ports.free_port_above(int(port))
    return (
        f"port {port} (domain) is also wanted for legacy\n"
        f'  choose another: make run ARGS="--domain-port {free}"   (or DOMAIN_URL=...)\n'
    )


class TestEnding:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_ends_all_with_status_0(self, stand_ins: Path, number: signal.Signals) -> None:
        with run_all(stand_ins) as run:
            run.until_ready()
            pids = cpu.tree(run.process.pid)
            assert len(pids) == 4
            run.process.send_signal(number)
            assert run.end() == (0, "")
            assert_all_end(pids, timeout_s=0)

    def test_when_it_is_killed_the_kernel_ends_the_others(self, stand_ins: Path) -> None:
        with run_all(stand_ins) as run:
            run.until_ready()
            pids = cpu.tree(run.process.pid)
            run.process.kill()
            assert_all_end(pids)

    def test_workers_that_the_splitter_leaves_behind_are_ended(self, stand_ins: Path) -> None:
        with run_all(stand_ins, STAND_IN_FAULT="splitter:worker") as run:
            run.until_ready()
            pids = cpu.tree(run.process.pid)
            assert len(pids) == 5
            run.process.send_signal(signal.SIGINT)
            assert run.end()[0] == 0
            assert_all_end(pids)

    def test_a_second_signal_does_not_wait_for_who_is_deaf(self, stand_ins: Path) -> None:
        with run_all(stand_ins, STAND_IN_FAULT="splitter:deaf") as run:
            run.until_ready()
            pids = cpu.tree(run.process.pid)
            run.process.send_signal(signal.SIGINT)
            assert run.output.readline() == "splitter finishes what it is doing (Ctrl-C again: at once)\n"
            run.process.send_signal(signal.SIGINT)
            assert run.end()[0] == 0
            assert_all_end(pids, timeout_s=0)

    def test_one_that_dies_takes_all_with_it_and_is_named_with_its_last_words(self, stand_ins: Path) -> None:
        with run_all(stand_ins) as run:
            run.until_ready()
            pids = cpu.tree(run.process.pid)
            domain = next(pid for pid in pids if b"domain_backend" in Path(f"/proc/{pid}/cmdline").read_bytes())
            os.kill(domain, signal.SIGKILL)
            status, said = run.end()
            assert status == 1
            assert said.startswith("domain was killed by SIGKILL\n  the end of data/logs/domain.log:\n  domain --host")
            assert_all_end(pids, timeout_s=0)

    def test_one_that_does_not_start_is_named_with_what_it_said(self, stand_ins: Path) -> None:
        with run_all(stand_ins, STAND_IN_FAULT="legacy:exit") as run:
            status, said = run.end()
        assert status == 1
        assert said == ("legacy ended with status 1\n  the end of data/logs/legacy.log:\n  there is no cameras.yaml here\n")

    def test_the_log_of_the_run_before_is_kept(self, stand_ins: Path) -> None:
        for _ in range(2):
            with run_all(stand_ins, STAND_IN_FAULT="legacy:exit") as run:
                run.end()
        logs = stand_ins / "data" / "logs"
        assert (logs / "legacy.log.1").read_text() == (logs / "legacy.log").read_text() == "there is no cameras.yaml here\n"
