"""TLS on the public port, with real sockets: everything that works without it works with it."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.process.running import Splitter, ask, backend, read_head, splitter, wait_until
from tests.process.tls_client import End, TlsClient

MIB = 1 << 20
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CA = trustme.CA()


def write_pair(folder: Path, cert: trustme.LeafCert) -> None:
    """Put a pair in place as renewals do: each file is replaced, none is written into."""
    for name, blob in (("cert.pem", cert.cert_chain_pems[0]), ("key.pem", cert.private_key_pem)):
        blob.write_to_path(str(folder / f"{name}.new"))
        (folder / f"{name}.new").rename(folder / name)


def tls_config(folder: Path, more: str = "") -> str:
    return f"listen: {{tls: {{cert: {folder}/cert.pem, key: {folder}/key.pem{more}}}}}\nrollout: {{percent: 0}}\n"


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


CONTEXT = client_context()


class Service:
    """A backend that does what the path says, and remembers."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.ended = threading.Event()
        self.release = threading.Event()

    def __call__(self, connection: socketserver.StreamRequestHandler) -> None:
        while head := read_head(connection):
            if not head.startswith(b"GET /health"):
                self.seen.append(head)
            if not self._answer(head.split(b" ")[1], head, connection):
                return

    def _answer(self, path: bytes, head: bytes, connection: socketserver.StreamRequestHandler) -> bool:
        out = connection.wfile
        if path == b"/echo":
            body = self._body(head, connection)
            out.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        elif path.startswith(b"/large/"):
            out.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (int(path[7:]) * MIB))
            for number in range(int(path[7:])):
                out.write(bytes([number & 0xFF]) * MIB)
        elif path == b"/cut":
            out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            return False
        elif path == b"/early":
            out.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        elif path == b"/until-close":
            out.write(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * MIB)
            return False
        elif path == b"/slow":
            self.release.wait(10)
            out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")
        elif path == b"/tunnel":
            out.write(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello ")
            self._tunnel(connection)
            return False
        else:
            out.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))
        return True

    def _body(self, head: bytes, connection: socketserver.StreamRequestHandler) -> bytes:
        if b"chunked" not in head:
            return connection.rfile.read(int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]))
        body = b""
        while size := int(connection.rfile.readline(), 16):
            body += connection.rfile.read(size)
            connection.rfile.readline()
        connection.rfile.readline()
        return body

    def _tunnel(self, connection: socketserver.StreamRequestHandler) -> None:
        """Echo; `bye` ends this direction first, an end of the other one is answered."""
        raw = connection.connection
        raw.settimeout(10)
        with contextlib.suppress(OSError):
            while data := raw.recv(1 << 16):
                if data == b"bye":
                    raw.shutdown(socket.SHUT_WR)
                    self.seen.append(b"after bye: " + raw.recv(100))
                else:
                    raw.sendall(data)
            raw.sendall(b"goodbye")
        self.ended.set()


@pytest.fixture(scope="module")
def service() -> Service:
    return Service()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, service: Service) -> Iterator[Splitter]:
    folder = tmp_path_factory.mktemp("tls")
    write_pair(folder, CA.issue_cert("localhost", "127.0.0.1"))
    config = tls_config(folder) + "limits: {header_timeout: 1s}\n"
    with backend(service) as port:
        url = f"http://127.0.0.1:{port}"
        with splitter(folder, config, LEGACY_URL=url, DOMAIN_URL=url) as started:
            yield started


# --- requests and responses -----------------------------------------------------------------------------------------


def test_a_verified_request_and_what_the_backend_hears_of_it(running: Splitter, service: Service) -> None:
    with TlsClient(running.port, CONTEXT) as client:
        assert (client.tls.version(), client.tls.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
        client.send(GET)
        assert client.read_response()[1] == b"/"
        assert b"\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a\r\n" in service.seen[-1]


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_pipelined_requests_in_any_pieces(running: Splitter, size: int) -> None:
    with TlsClient(running.port, CONTEXT, size=size) as client:
        requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(20))
        client.send(requests)
        for number in range(20):
            assert client.read_response()[1] == b"/%d" % number
        for byte in GET:
            client.send(bytes([byte]))  # a record for each
        assert client.read_response()[1] == b"/"


def test_a_mebibyte_and_more_on_one_connection(running: Splitter) -> None:
    with TlsClient(running.port, CONTEXT) as client:
        for size in (1, 5, 1):
            client.send(b"GET /large/%d HTTP/1.1\r\nHost: a\r\n\r\n" % size)
            _, body = client.read_response()
            assert [body[number * MIB : (number + 1) * MIB].strip(bytes([number])) for number in range(size)] == [b""] * size
            assert len(body) == size * MIB


@pytest.mark.parametrize("framing", ["sized", "chunked"])
def test_an_upload(running: Splitter, framing: str) -> None:
    body = os.urandom(3 * MIB)
    with TlsClient(running.port, CONTEXT) as client:
        if framing == "sized":
            client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        else:
            client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            for start in range(0, len(body), 100_000):
                piece = body[start : start + 100_000]
                client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            client.send(b"0\r\n\r\n")
        assert client.read_response()[1] == body
        client.send(GET)
        assert client.read_response()[1] == b"/"


def test_an_answer_before_the_upload_is_finished_arrives_whole(running: Splitter) -> None:
    with TlsClient(running.port, CONTEXT) as client:
        client.send(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (100 * MIB))
        with contextlib.suppress(OSError):  # the other side may close before all of it is sent
            for _ in range(8):
                client.send(bytes(MIB // 8))
        head, body = client.read_response()
        assert (head.split(b"\r\n")[0], body) == (b"HTTP/1.1 413 Too Large", b"no")
        assert b"\r\nConnection: close\r\n" in head
        client.read_all()
        assert client.end is End.CLOSE_NOTIFY


def test_the_end_of_a_body_without_a_length_can_be_told(running: Splitter) -> None:
    with TlsClient(running.port, CONTEXT) as client:
        client.send(b"GET /until-close HTTP/1.0\r\n\r\n")
        head, _, body = client.read_all().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert len(body) == MIB
        assert client.end is End.CLOSE_NOTIFY


def test_a_response_that_is_cut_looks_cut(running: Splitter) -> None:
    with TlsClient(running.port, CONTEXT) as client:
        client.send(b"GET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.read_all().endswith(b"half")
        assert client.end is End.RESET


def test_a_slow_reader_gets_all_of_the_last_response_in_bounded_memory(running: Splitter) -> None:
    size = 24
    before_bytes = running.rss_bytes
    with TlsClient(running.port, CONTEXT) as client:
        client.send(b"GET /large/%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % size)
        head = client.read_until(b"\r\n\r\n")
        assert b"\r\nConnection: close\r\n" in head
        time.sleep(0.5)  # it reads nothing: what it does not take must stay with the backend
        assert running.rss_bytes - before_bytes < 12 * MIB
        received = 0
        for _ in range(24):
            received += len(client.read(MIB))
            time.sleep(0.02)
        received += len(client.read_all())
        assert received == size * MIB
        assert client.end is End.CLOSE_NOTIFY


def test_a_client_that_takes_its_time_with_the_end_is_not_cut(running: Splitter) -> None:
    """The last bytes wait in three buffers, for longer than a closed connection lingers to hear the client out."""
    with TlsClient(running.port, CONTEXT) as client:
        client.send(b"GET /large/12 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        client.read_until(b"\r\n\r\n")
        client.read(8 * MIB)  # the rest fits into the kernel's buffers and the splitter's
        time.sleep(6)
        assert len(client.read_all()) == 4 * MIB
        assert client.end is End.CLOSE_NOTIFY


def test_a_connection_that_carried_a_large_body_holds_little_afterwards(running: Splitter) -> None:
    with contextlib.ExitStack() as clients:

        def served() -> None:
            client = clients.enter_context(TlsClient(running.port, CONTEXT))
            client.send(b"GET /large/1 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert len(client.read_response()[1]) == MIB

        for _ in range(10):
            served()
        before_bytes = running.rss_bytes
        for _ in range(80):
            served()
        assert (running.rss_bytes - before_bytes) / 80 < 128 * 1024


# --- tunnels --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def tunnel(running: Splitter, service: Service) -> Iterator[TlsClient]:
    service.ended.clear()
    with TlsClient(running.port, CONTEXT) as client:
        client.send(b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly")
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 Switching\r\n")
        assert client.read(11) == b"hello early"
        yield client


def test_a_tunnel_carries_both_ways(running: Splitter, service: Service) -> None:
    data = os.urandom(2 * MIB)
    with tunnel(running, service) as client:
        sender = threading.Thread(target=client.socket.sendall, args=(_encrypted(client, data),))
        sender.start()
        assert client.read(len(data)) == data
        sender.join()


def _encrypted(client: TlsClient, data: bytes) -> bytes:
    view, out = memoryview(data), b""
    while view:
        view = view[client.tls.write(view[: 1 << 14]) :]
        out += client._out.read()
    return out


def test_a_client_that_ends_its_direction_still_hears_the_other(running: Splitter, service: Service) -> None:
    with tunnel(running, service) as client:
        client.half_close()
        assert client.read_all() == b"goodbye"
        assert client.end is End.CLOSE_NOTIFY
        assert service.ended.wait(5)


def test_a_backend_that_ends_its_direction_still_hears_the_other(running: Splitter, service: Service) -> None:
    with tunnel(running, service) as client:
        client.send(b"bye")
        assert client.read_all() == b""
        assert client.end is End.CLOSE_NOTIFY
        client.send(b"still here")
        wait_until(lambda: b"after bye: still here" in service.seen)


@pytest.mark.parametrize("how", ["without close_notify", "reset"])
def test_a_tunnel_that_is_cut_ends_at_the_backend_too(running: Splitter, service: Service, how: str) -> None:
    with tunnel(running, service) as client:
        if how == "reset":
            client.reset()
        else:
            client.socket.shutdown(socket.SHUT_WR)
        assert service.ended.wait(5)


# --- handshakes -----------------------------------------------------------------------------------------------------


def refused_lines(running: Splitter) -> list[str]:
    lines = [json.loads(line) for line in running.log.read_text().splitlines()]
    return [line["error"] for line in lines if line["event"] == "refused"]


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], ids=["silent", "half a hello"])
def test_a_handshake_has_only_so_long(running: Splitter, first: bytes) -> None:
    with TlsClient(running.port, CONTEXT, first=first, handshake=False) as client:
        began_s = time.monotonic()
        assert client.socket.recv(100) == b""
        assert 0.8 < time.monotonic() - began_s < 3


def test_a_head_has_only_so_long_after_the_handshake(running: Splitter) -> None:
    with TlsClient(running.port, CONTEXT) as client:
        client.send(b"GET / HTTP/1.1\r\n")
        assert client.read_all().startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert client.end is End.CLOSE_NOTIFY


def test_plain_http_is_told_what_this_port_speaks(running: Splitter) -> None:
    status, headers, body = ask(running.port)
    assert (status, headers["connection"]) == (400, "close")
    assert json.loads(body)["error"]["code"] == "plain_http"
    wait_until(lambda: "plain_http: this port speaks TLS: use https://" in refused_lines(running))


def test_what_is_no_tls_is_refused_and_logged(running: Splitter) -> None:
    with TlsClient(running.port, CONTEXT, first=b"\x80" * 100, handshake=False) as client:
        assert client.socket.recv(100) in (b"", b"\x15\x03\x01\x00\x02\x02\x46")  # an alert, if any
    wait_until(lambda: any(line.startswith("tls: the TLS handshake failed: ") for line in refused_lines(running)))
    with TlsClient(running.port, CONTEXT) as client:
        client.send(GET)
        client.read_response()
        client.socket.sendall(b"\x80" * 100)
        with pytest.raises(ssl.SSLError, match="ALERT"):
            client.read_all()


def test_a_client_that_leaves_in_mid_handshake_is_forgotten(running: Splitter) -> None:
    for how in ("close", "reset"):
        client = TlsClient(running.port, CONTEXT, first=b"\x16\x03\x01", handshake=False)
        client.socket.close() if how == "close" else client.reset()
    wait_until(
        lambda: (
            b'splitter_connections{side="downstream",state="open"} 0.0'
            in ask(running.admin_port, "/api/v1/monitoring/metrics")[2]
        )
    )


@pytest.mark.parametrize(
    ("least", "most", "works"),
    [("1.2", ssl.TLSVersion.TLSv1_2, True), ("1.3", ssl.TLSVersion.TLSv1_2, False), ("1.3", ssl.TLSVersion.TLSv1_3, True)],
)
def test_versions(tmp_path: Path, least: str, most: ssl.TLSVersion, works: bool) -> None:
    write_pair(tmp_path, CA.issue_cert("localhost"))
    context = client_context()
    context.maximum_version = most
    with backend(Service()) as port:
        url = f"http://127.0.0.1:{port}"
        config = tls_config(tmp_path, f", min_version: {least}")
        with splitter(tmp_path, config, LEGACY_URL=url, DOMAIN_URL=url) as running:
            if not works:
                with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
                    TlsClient(running.port, context)
                return
            with TlsClient(running.port, context) as client:
                client.send(GET)
                assert client.read_response()[1] == b"/"
                client.half_close()
                client.read_all()
                assert client.end is End.CLOSE_NOTIFY


def test_clients_need_a_certificate_where_it_is_asked_for(tmp_path: Path) -> None:
    write_pair(tmp_path, CA.issue_cert("localhost"))
    client_ca, other_ca = trustme.CA(), trustme.CA()
    client_ca.cert_pem.write_to_path(str(tmp_path / "clients.pem"))
    with backend(Service()) as port:
        url = f"http://127.0.0.1:{port}"
        config = tls_config(tmp_path, f", client_ca: {tmp_path}/clients.pem")
        with splitter(tmp_path, config, LEGACY_URL=url, DOMAIN_URL=url) as running:
            for ca, answer in ((client_ca, b"/"), (other_ca, b""), (None, b"")):
                context = client_context()
                if ca is not None:
                    ca.issue_cert("client@example.org").configure_cert(context)
                with TlsClient(running.port, context) as client:
                    # With TLS 1.3 a client is through before its certificate is judged: it hears of it when it reads.
                    got = b""
                    with contextlib.suppress(ssl.SSLError, OSError):
                        client.send(GET)
                        got = client.read_response()[1]
                    assert got == answer
            wait_until(lambda: len([line for line in refused_lines(running) if line.startswith("tls: ")]) == 2)


# --- renewal --------------------------------------------------------------------------------------------------------


def serial(port: int) -> int:
    with TlsClient(port, CONTEXT) as client:
        return int(str((client.tls.getpeercert() or {})["serialNumber"]), 16)


def problems(port: int, *, tls: bool = False) -> list[str]:
    if not tls:
        return list(json.loads(ask(port, "/api/v1/monitoring/health")[2])["problems"])
    with TlsClient(port, CONTEXT) as client:
        client.send(b"GET /api/v1/monitoring/health HTTP/1.1\r\nHost: a\r\n\r\n")
        return list(json.loads(client.read_response()[1])["problems"])


def test_a_renewed_certificate_is_taken_up_and_a_broken_one_is_not(tmp_path: Path) -> None:
    write_pair(tmp_path, CA.issue_cert("localhost"))
    with backend(Service()) as port:
        url = f"http://127.0.0.1:{port}"
        with splitter(tmp_path, tls_config(tmp_path), LEGACY_URL=url, DOMAIN_URL=url) as running:
            first = serial(running.port)
            with TlsClient(running.port, CONTEXT) as kept:
                kept.send(GET)
                assert kept.read_response()[1] == b"/"

                write_pair(tmp_path, CA.issue_cert("localhost"))
                wait_until(lambda: serial(running.port) != first)
                second = serial(running.port)
                wait_until(lambda: problems(running.admin_port) == [])

                (tmp_path / "key.pem").write_text("no key\n")
                wait_until(lambda: problems(running.admin_port) != [])
                (told,) = problems(running.admin_port)
                assert told == (
                    f"the last reload of the certificate failed: key: holds no private key in PEM form: {tmp_path}/key.pem"
                )
                assert problems(running.port, tls=True) == ["the last reload of the certificate failed"]
                assert serial(running.port) == second

                write_pair(tmp_path, CA.issue_cert("localhost"))
                wait_until(lambda: problems(running.admin_port) == [])
                assert serial(running.port) not in (first, second)

                kept.send(GET)
                assert kept.read_response()[1] == b"/", "a connection survives every renewal"
            events = [json.loads(line)["event"] for line in running.log.read_text().splitlines()]
            assert {"certificate_reloaded", "certificate_reload_failed"} <= set(events)


def test_a_renewal_behind_symlinks_is_seen_and_sighup_reads_again(tmp_path: Path) -> None:
    """As certbot and Kubernetes do it: the path stays, what it points to changes in another folder."""
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        write_pair(tmp_path / str(number), CA.issue_cert("localhost"))
    (tmp_path / "live").symlink_to("1")
    with backend(Service()) as port:
        url = f"http://127.0.0.1:{port}"
        with splitter(tmp_path, tls_config(tmp_path / "live"), LEGACY_URL=url, DOMAIN_URL=url) as running:
            first = serial(running.port)
            (tmp_path / "next").symlink_to("2")
            (tmp_path / "next").rename(tmp_path / "live")
            wait_until(lambda: serial(running.port) != first)
            before = running.log.read_text().count("certificate_reloaded")
            running.process.send_signal(signal.SIGHUP)
            wait_until(lambda: running.log.read_text().count("certificate_reloaded") > before)


def test_an_expired_certificate_is_shown_in_health(tmp_path: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    write_pair(tmp_path, CA.issue_cert("localhost", not_before=now - 2 * day, not_after=now - day))
    with backend(Service()) as port:
        url = f"http://127.0.0.1:{port}"
        with splitter(tmp_path, tls_config(tmp_path), LEGACY_URL=url, DOMAIN_URL=url) as running:
            (told,) = problems(running.admin_port)
            assert told.startswith("the certificate has expired on ")


# --- stopping -------------------------------------------------------------------------------------------------------


def test_a_stop_lets_requests_end_and_says_goodbye(tmp_path: Path) -> None:
    write_pair(tmp_path, CA.issue_cert("localhost"))
    service = Service()
    with backend(service) as port:
        url = f"http://127.0.0.1:{port}"
        with splitter(tmp_path, tls_config(tmp_path), LEGACY_URL=url, DOMAIN_URL=url) as running:
            idle, busy = TlsClient(running.port, CONTEXT), TlsClient(running.port, CONTEXT)
            half = TlsClient(running.port, CONTEXT, first=b"\x16\x03\x01", handshake=False)
            with idle, busy, half:
                idle.send(GET)
                idle.read_response()
                busy.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
                wait_until(lambda: any(head.startswith(b"GET /slow") for head in service.seen))
                running.process.send_signal(signal.SIGTERM)
                assert idle.read_all() == b""
                assert idle.end is End.CLOSE_NOTIFY
                assert half.socket.recv(1) == b""
                service.release.set()
                head, body = busy.read_response()
                assert (b"\r\nConnection: close\r\n" in head, body) == (True, b"slow")
                assert running.process.wait(10) == 0
