"""Where clients may come from: IPv6, socket files, load balancers that speak the PROXY protocol. Real sockets."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import socketserver
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from splitter.proxy_protocol import SIGNATURE_2
from tests.process.running import ROOT, Splitter, ask, backend, read_head, splitter, wait_until
from tests.process.tls_client import TlsClient
from tools.children import end_group
from tools.ports import free_port

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
FOUR = bytes([192, 0, 2, 7, 198, 51, 100, 2]) + b"\x9c\x40\x01\xbb"
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.2 40000 443\r\n"


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE_2 + bytes([0x20 | command, family]) + len(body).to_bytes(2, "big") + body


def tells_its_head(connection: socketserver.StreamRequestHandler) -> None:
    while head := read_head(connection):
        connection.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(head), head))


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    with backend(tells_its_head) as port:
        yield {"LEGACY_URL": f"http://127.0.0.1:{port}", "DOMAIN_URL": f"http://127.0.0.1:{port}"}


def read_answer(client: socket.socket) -> bytes:
    """Head and body of one answer, fewer bytes when the connection ends before."""
    client.settimeout(10)
    data = b""
    while b"\r\n\r\n" not in data or len(data) < data.index(b"\r\n\r\n") + 4 + int(
        data.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
    ):
        more = client.recv(65536)
        if not more:
            break
        data += more
    return data


def ask_unix(path: Path, request: bytes = GET) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(request)
        return read_answer(client)


def events(running: Splitter, event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in running.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


# --- IPv6 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("host", "clients"), [("::1", {"::1"}), ("::", {"::1", "127.0.0.1"})])
def test_ipv6(tmp_path: Path, urls: dict[str, str], host: str, clients: set[str]) -> None:
    try:
        port = free_port("::1")
    except OSError as error:
        pytest.skip(f"cannot run on CI: this machine has no IPv6 ({error})")
    config = "rollout: {percent: 100, key: [client_ip]}\n"
    with splitter(tmp_path, config, **urls, SPLITTER_LISTEN=f"[{host}]:{port}") as running:
        for client in clients:
            with socket.create_connection((client, port)) as connection:
                connection.sendall(GET)
                answer = read_answer(connection)
                assert b"X-Splitter-Reason: bucket\r\n" in answer
                assert b"X-Forwarded-For: %b\r\n" % client.encode() in answer, "IPv4 stays IPv4"
        wait_until(lambda: {line["client"] for line in events(running, "request")} == clients)
        (serving,) = events(running, "serving")
        assert serving["listen"] == f"[{host}]:{port}"
        assert running.stop() == 0


def test_an_address_that_is_not_of_this_machine_is_said_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "splitter", "run"],
        capture_output=True,
        text=True,
        timeout=20,
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(ROOT),
            "SPLITTER_LISTEN": "[2001:db8::1]:8000",
            "SPLITTER_ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
        },
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "[2001:db8::1]:8000" in done.stderr


# --- socket files ---------------------------------------------------------------------------------------------------


def test_a_socket_file_from_start_to_stop(tmp_path: Path, urls: dict[str, str]) -> None:
    public, admin = tmp_path / "public.sock", tmp_path / "admin.sock"
    config = 'listen: {socket_mode: "0660"}\nrollout: {percent: 0}\n'
    with unix_splitter(tmp_path, config, urls, public, admin) as process:
        assert [stat.S_IMODE(path.stat().st_mode) for path in (public, admin)] == [0o660, 0o600]
        answer = ask_unix(public)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"X-Forwarded-For" not in answer
        assert b"X-Forwarded-Proto: http\r\n" in answer
        health = json.loads(
            ask_unix(public, b"GET /api/v1/monitoring/health HTTP/1.1\r\nHost: a\r\n\r\n").split(b"\r\n\r\n")[1]
        )
        assert health["status"] == "ok"
        assert b'"percent"' in ask_unix(admin, b"GET /api/v1/rollout HTTP/1.1\r\nHost: a\r\n\r\n")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert not public.exists()
        assert not admin.exists()


def test_the_file_of_a_killed_process_is_replaced_a_living_ones_is_not(tmp_path: Path, urls: dict[str, str]) -> None:
    public, admin = tmp_path / "public.sock", tmp_path / "admin.sock"
    with unix_splitter(tmp_path, "{}\n", urls, public, admin) as first:
        end_group(first.pid)  # workers outlive their supervisor
        first.wait(10)

        def refuses() -> bool:
            try:
                ask_unix(public)
            except ConnectionRefusedError:
                return True
            except ConnectionResetError:
                return False
            return False

        wait_until(refuses)
        assert public.is_socket(), "nobody was there to remove it"
        with unix_splitter(tmp_path, "{}\n", urls, public, admin):
            assert ask_unix(public).startswith(b"HTTP/1.1 200 OK\r\n")
            second = subprocess.run(
                [sys.executable, "-m", "splitter", "run"],
                capture_output=True,
                text=True,
                timeout=20,
                cwd=tmp_path,
                env={
                    "PYTHONPATH": str(ROOT),
                    **urls,
                    "SPLITTER_LISTEN": f"unix:{public}",
                    "SPLITTER_ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
                },
                check=False,
            )
            assert second.returncode == 1
            assert f"unix:{public} is in use" in second.stderr
            assert ask_unix(public).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("data")
    done = subprocess.run(
        [sys.executable, "-m", "splitter", "run"],
        capture_output=True,
        text=True,
        timeout=20,
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(ROOT),
            "SPLITTER_LISTEN": f"unix:{precious}",
            "SPLITTER_ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
        },
        check=False,
    )
    assert done.returncode == 1
    assert "it is no socket" in done.stderr
    assert precious.read_text() == "data"


def test_a_trusted_socket_file_is_believed(tmp_path: Path, urls: dict[str, str]) -> None:
    public, admin = tmp_path / "public.sock", tmp_path / "admin.sock"
    config = 'listen: {trusted_proxies: ["unix:"]}\nrollout: {percent: 100, key: [client_ip]}\n'
    with unix_splitter(tmp_path, config, urls, public, admin):
        request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n\r\n"
        answer = ask_unix(public, request)
        assert b"X-Splitter-Reason: bucket\r\n" in answer
        assert b"X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n" in answer


@contextlib.contextmanager
def unix_splitter(
    folder: Path, config: str, urls: dict[str, str], public: Path, admin: Path, first: bytes = b""
) -> Iterator[subprocess.Popen[bytes]]:
    """A splitter with both its addresses socket files; `first` begins every connection."""
    file = folder / "splitter.yaml"
    file.write_text(config)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "splitter", "run", "--config", str(file)],
            stdout=log,
            stderr=log,
            cwd=folder,
            env={
                "PYTHONPATH": str(ROOT),
                **urls,
                "SPLITTER_LISTEN": f"unix:{public}",
                "SPLITTER_ADMIN_LISTEN": f"unix:{admin}",
            },
            start_new_session=True,
        )
    try:

        def ready() -> bool:
            assert process.poll() is None, (folder / "log").read_text()
            with contextlib.suppress(OSError):
                return b" 200 OK" in ask_unix(
                    public, first + b"GET /api/v1/monitoring/health/ready HTTP/1.1\r\nHost: a\r\n\r\n"
                )
            return False

        wait_until(ready)
        yield process
    finally:
        end_group(process.pid)
        process.wait()


# --- PROXY protocol -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def behind_a_balancer(tmp_path_factory: pytest.TempPathFactory, urls: dict[str, str]) -> Iterator[Splitter]:
    config = """\
listen: {proxy_protocol: [127.0.0.1], trusted_proxies: [203.0.113.0/24]}
rollout: {percent: 100, key: [client_ip]}
limits: {header_timeout: 1s}
"""
    with splitter(tmp_path_factory.mktemp("proxy"), config, **urls) as running:
        yield running


def ask_raw(port: int, *pieces: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.sendall(piece)
        try:
            return read_answer(client)
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (V1, b"192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n", b"2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", b"127.0.0.1"),
        (v2(1, 0x11, FOUR), b"192.0.2.7"),
        (v2(1, 0x11, FOUR + b"\x04\x00\x01x" * 20), b"192.0.2.7"),
        (v2(1, 0x21, bytes.fromhex("20010db8000000000000000000000007") * 2 + b"\0\1\0\2"), b"2001:db8::7"),
        (v2(1, 0x31, b"/run/x".ljust(216, b"\0")), b"127.0.0.1"),
        (v2(0, 0x00, b""), b"127.0.0.1"),
    ],
    ids=["v1", "v1 IPv6", "v1 UNKNOWN", "v2", "v2 TLVs", "v2 IPv6", "v2 UNIX", "v2 LOCAL"],
)
def test_the_header_says_who_the_client_is(behind_a_balancer: Splitter, header: bytes, client: bytes) -> None:
    port = behind_a_balancer.port
    for pieces in ((header + GET,), (header, GET), tuple(bytes([byte]) for byte in header + GET)):
        answer = ask_raw(port, *pieces)
        assert b"X-Splitter-Reason: bucket\r\n" in answer
        assert b"X-Forwarded-For: %b\r\n" % client in answer
    wait_until(lambda: client.decode() in {line["client"] for line in events(behind_a_balancer, "request")})


def test_the_client_it_names_may_be_a_trusted_proxy_itself(behind_a_balancer: Splitter) -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n"
    answer = ask_raw(behind_a_balancer.port, b"PROXY TCP4 203.0.113.5 198.51.100.2 1 2\r\n" + request)
    assert b"X-Forwarded-For: 198.51.100.7, 203.0.113.5\r\n" in answer
    answer = ask_raw(behind_a_balancer.port, V1 + request)
    assert b"X-Forwarded-For: 192.0.2.7\r\n" in answer


@pytest.mark.parametrize("first", [GET, b"PROXY TCP4 nonsense\r\n" + GET, v2(3, 0x11, FOUR) + GET, b"\x16\x03\x01"])
def test_without_a_good_header_a_balancer_gets_nothing(behind_a_balancer: Splitter, first: bytes) -> None:
    before = len(events(behind_a_balancer, "refused"))
    assert ask_raw(behind_a_balancer.port, first) == b""
    wait_until(lambda: len(events(behind_a_balancer, "refused")) == before + 1)
    assert str(events(behind_a_balancer, "refused")[-1]["error"]).startswith("proxy_header: ")


def test_the_header_has_only_so_long(behind_a_balancer: Splitter) -> None:
    began_s = time.monotonic()
    assert ask_raw(behind_a_balancer.port, V1[:10]) == b""
    assert 0.8 < time.monotonic() - began_s < 3


def test_a_health_check_of_the_balancer_that_says_nothing_is_nothing(behind_a_balancer: Splitter) -> None:
    before = behind_a_balancer.log.read_text()
    socket.create_connection(("127.0.0.1", behind_a_balancer.port)).close()
    wait_until(
        lambda: (
            b'splitter_connections{side="downstream",state="open"} 0.0'
            in ask(behind_a_balancer.admin_port, "/api/v1/monitoring/metrics")[2]
        )
    )
    assert behind_a_balancer.log.read_text() == before


def test_of_anybody_else_the_header_is_no_header(tmp_path: Path, urls: dict[str, str]) -> None:
    config = "listen: {proxy_protocol: [192.0.2.0/24]}\nrollout: {percent: 0}\n"
    with splitter(tmp_path, config, **urls) as running:
        for header in (V1, v2(1, 0x11, FOUR)):
            assert ask_raw(running.port, header + GET).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"X-Forwarded-For: 127.0.0.1\r\n" in ask_raw(running.port, GET)
        # Waiting connections of balancers are let go by a stop.
    config = "listen: {proxy_protocol: [127.0.0.0/8]}\n"
    with splitter(tmp_path, config, **urls) as running, socket.create_connection(("127.0.0.1", running.port)) as waiting:
        waiting.sendall(V1[:5])
        wait_until(
            lambda: (
                b'splitter_connections{side="downstream",state="open"} 1.0'
                in ask(running.admin_port, "/api/v1/monitoring/metrics")[2]
            )
        )
        assert running.stop() == 0
        assert waiting.recv(1) == b""


def test_over_a_socket_file_and_before_tls(tmp_path: Path, urls: dict[str, str]) -> None:
    ca = trustme.CA()
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "pair.pem"))
    context = ssl.create_default_context()
    ca.configure_trust(context)
    config = f"""\
listen: {{tls: {{cert: {tmp_path}/pair.pem, key: {tmp_path}/pair.pem}}, proxy_protocol: [127.0.0.1]}}
rollout: {{percent: 0}}
"""
    with splitter(tmp_path, config, **urls) as running:
        for header in (V1, v2(1, 0x11, FOUR)):
            with TlsClient(running.port, context, first=header) as client:
                client.send(GET)
                assert b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n" in client.read_response()[1]
        # Header and hello in one packet: what is read behind the header belongs to the handshake.
        with TlsClient(running.port, context, handshake=False) as client:
            with pytest.raises(ssl.SSLWantReadError):
                client.tls.do_handshake()
            client.socket.sendall(V1 + client._out.read())
            client._shake_hands()
            client.send(GET)
            assert b"X-Forwarded-For: 192.0.2.7\r\n" in client.read_response()[1]
    public, admin = tmp_path / "public.sock", tmp_path / "admin.sock"
    config = 'listen: {proxy_protocol: ["unix:"]}\nrollout: {percent: 0}\n'
    with unix_splitter(tmp_path, config, urls, public, admin, first=b"PROXY UNKNOWN\r\n"):
        assert b"X-Forwarded-For: 192.0.2.7\r\n" in ask_unix(public, V1 + GET)
