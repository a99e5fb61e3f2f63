"""https:// backends: whose certificate is accepted, what is shown, what happens when it does not work."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from splitter.client_tls import ClientTls, Renewed, client_context
from splitter.control.prober import Prober, ProbeSettings
from splitter.pem import TlsFileError
from splitter.proxy.dial import Endpoint
from splitter.tasks import Tasks
from tests.integration.live import GET, Reader, Writer, at, live, on_uvloop, read_head, says, serving

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"


class Authority:
    """An authority with a server's certificate, and files of both."""

    def __init__(self, folder: Path, *names: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.issuer = trustme.CA()
        self.ca = folder / "ca.pem"
        self.issuer.cert_pem.write_to_path(str(self.ca))
        self.names = names or ("127.0.0.1",)

    def server(self, *, clients: Authority | None = None) -> ssl.SSLContext:
        """A server's context; it wants a certificate of `clients`, if given."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.issuer.issue_cert(*self.names).configure_cert(context)
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            clients.issuer.configure_trust(context)
        return context

    def client_files(self, name: str = "splitter") -> tuple[Path, Path]:
        """A client's certificate and key."""
        issued = self.issuer.issue_cert(f"{name}@example.org")
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(str(cert))
        issued.private_key_pem.write_to_path(str(key))
        return cert, key


async def nobody(*_change: object) -> None:
    """Hears of no change."""


def never(fault: str) -> None:
    raise AssertionError(fault)


def over_tls(port: int, tls: ClientTls, server_name: str = "", host: str = "127.0.0.1") -> Endpoint:
    return Endpoint(host, port, tls=Renewed(tls, never), server_name=server_name)


def error_in(answer: bytes) -> tuple[str, str]:
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    return error["code"], error["message"]


@on_uvloop
async def test_a_certificate_of_the_right_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with serving(says(b"secret"), authority.server()) as port:
        async with live(over_tls(port, ClientTls(authority.ca))) as running:
            reader, writer = await running.connect()
            for _ in range(3):
                writer.write(GET)
                assert (await reader.readuntil(b"secret")).startswith(b"HTTP/1.1 200 OK\r\n")
            writer.close()
            assert running.plane.gauges().upstream == {"idle": 1, "active": 0, "connecting": 0}, "kept between requests"
            large = b"x" * 3_000_000
            answer = await running.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(large), large))
            assert answer.endswith(b"secret")


@on_uvloop
async def test_a_certificate_that_is_not_accepted_is_a_failed_connect_that_legacy_answers_for(tmp_path: Path) -> None:
    wrong, right = Authority(tmp_path / "wrong"), Authority(tmp_path / "right")
    async with serving(says(b"secret"), wrong.server()) as port, serving(says(b"legacy")) as legacy:
        domain = over_tls(port, ClientTls(right.ca))
        async with live(domain, at(legacy)) as running:
            for request in (GET, POST):
                answer = await running.ask(request)
                assert b"X-Splitter-Reason: fallback\r\n" in answer
                assert answer.endswith(b"legacy")
            assert running.plane.stats.failures == {("domain", "connect"): 2}
        async with live(domain) as running:
            code, message = error_in(await running.ask())
            assert (code, "its certificate is not accepted: " in message) == ("connect", True), message


@pytest.mark.parametrize(
    ("names", "server_name", "accepted"),
    [
        (("camera.internal",), "camera.internal", True),
        (("camera.internal",), "", False),
        (("127.0.0.1",), "camera.internal", False),
    ],
)
@on_uvloop
async def test_the_name_asked_for_and_looked_for(
    tmp_path: Path, names: tuple[str, ...], server_name: str, accepted: bool
) -> None:
    authority = Authority(tmp_path, *names)
    asked: list[str | None] = []
    context = authority.server()
    context.sni_callback = lambda _ssl, name, _context: asked.append(name)
    async with serving(says(b"secret"), context) as port:
        async with live(over_tls(port, ClientTls(authority.ca), server_name)) as running:
            answer = await running.ask()
    assert answer.endswith(b"secret") is accepted
    assert asked == [server_name or None], "an address is no name to ask for (RFC 6066 section 3)"
    if not accepted:
        assert "its certificate is not accepted: " in error_in(answer)[1]


@on_uvloop
async def test_without_verification_anybody_is_believed(tmp_path: Path) -> None:
    async with serving(says(b"secret"), Authority(tmp_path).server()) as port:
        async with live(over_tls(port, ClientTls(verify=False))) as running:
            assert (await running.ask()).endswith(b"secret")


@on_uvloop
async def test_the_systems_authorities_know_nothing_of_ours(tmp_path: Path) -> None:
    async with serving(says(b"secret"), Authority(tmp_path).server()) as port:
        async with live(over_tls(port, ClientTls())) as running:
            assert error_in(await running.ask())[0] == "connect"


@on_uvloop
async def test_a_certificate_of_ours_is_shown(tmp_path: Path) -> None:
    authority, clients = Authority(tmp_path), Authority(tmp_path / "clients")
    cert, key = clients.client_files()
    both = tmp_path / "both.pem"
    both.write_bytes(cert.read_bytes() + key.read_bytes())
    async with serving(says(b"secret"), authority.server(clients=clients)) as port:
        for tls in (ClientTls(authority.ca, cert, key), ClientTls(authority.ca, both)):
            async with live(over_tls(port, tls)) as running:
                assert (await running.ask()).endswith(b"secret")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@on_uvloop
async def test_a_backend_that_refuses_our_certificate_was_not_reached(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """In TLS 1.3 that is heard only when the request is on its way: it still reaches legacy, whatever its method."""
    authority, clients = Authority(tmp_path), Authority(tmp_path / "clients")
    context = authority.server(clients=clients)
    context.maximum_version = version
    cert, key = Authority(tmp_path / "other").client_files()
    with listening_with_alerts(context) as port:
        await _refused(port, authority, ClientTls(authority.ca, cert, key))


@contextlib.contextmanager
def listening_with_alerts(context: ssl.SSLContext) -> Iterator[int]:
    """A server that says why it refuses a handshake; those of asyncio and uvloop hang up without an alert."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secret:
                    secret.recv(1)
                    raise AssertionError("nobody was to get that far")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


async def _refused(port: int, authority: Authority, shown: ClientTls) -> None:
    async with serving(says(b"legacy")) as legacy:
        for tls in (ClientTls(authority.ca), shown):
            async with live(over_tls(port, tls), at(legacy)) as running:
                answer = await running.ask(POST)
                assert answer.endswith(b"legacy")
                assert b"X-Splitter-Reason: fallback\r\n" in answer
                assert running.plane.stats.failures == {("domain", "connect"): 1}
            async with live(over_tls(port, tls)) as running:
                code, message = error_in(await running.ask(POST))
                assert (code, "refused the TLS handshake" in message) == ("connect", True), message


@on_uvloop
async def test_a_backend_that_hangs_up_on_us_is_told_so(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = authority.server(clients=authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(says(b"secret"), context) as port:
        async with live(over_tls(port, ClientTls(authority.ca))) as running:
            code, message = error_in(await running.ask())
            assert (code, message) == ("connect", "could not connect: the backend closed the connection without a word")


@on_uvloop
async def test_a_backend_that_speaks_no_tls_is_told_apart(tmp_path: Path) -> None:
    async def plain(reader: Reader, writer: Writer) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async with serving(plain) as port:
        async with live(over_tls(port, ClientTls(Authority(tmp_path).ca))) as running:
            assert error_in(await running.ask()) == ("connect", "could not connect: it does not speak TLS")


@on_uvloop
async def test_a_tunnel_to_a_backend_over_tls(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def switches(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        writer.write((await reader.readexactly(5)).upper())
        await writer.drain()

    authority = Authority(tmp_path)
    async with serving(switches, authority.server()) as port:
        async with live(over_tls(port, ClientTls(authority.ca))) as running:
            reader, writer = await running.connect()
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.read() == b"HELLO"
            assert running.plane.gauges().tunnels == 0
            writer.close()
    assert caplog.records == []


@on_uvloop
async def test_files_that_change_are_read_again_for_new_connections(tmp_path: Path) -> None:
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    ca, faults = tmp_path / "ca.pem", list[str]()
    ca.write_bytes(old.ca.read_bytes())
    renewed = Renewed(ClientTls(ca), faults.append)
    async with serving(says(b"old"), old.server()) as old_port, serving(says(b"new"), new.server()) as new_port:
        endpoints = tuple(Endpoint("127.0.0.1", port, tls=renewed) for port in (old_port, new_port))
        async with live(endpoints) as running:
            for _ in range(4):
                assert (await running.ask()).endswith(b"old")
            replace(ca, new.ca.read_bytes())
            answers = [await running.ask() for _ in range(6)]
            assert {answer[-3:] for answer in answers} == {b"old", b"new"}, "those that are kept stay"
            context = renewed.context()
            replace(ca, b"nonsense")
            assert renewed.context() is context, "the last good one"
            assert faults == [f"ca holds no certificate in PEM form: {ca}"]
            assert renewed.context() is context
            assert len(faults) == 1, "said once"
            ca.unlink()
            assert renewed.context() is context
            assert "there is no such file" in faults[1]


def replace(path: Path, content: bytes) -> None:
    """As certificate managers do it."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(path)


@on_uvloop
async def test_probes_use_the_same_tls(tmp_path: Path) -> None:
    authority, clients = Authority(tmp_path, "camera.internal"), Authority(tmp_path / "clients")
    cert, key = clients.client_files()
    errors: list[BaseException] = []
    async with serving(says(b"well"), authority.server(clients=clients)) as port:
        url = f"https://127.0.0.1:{port}"

        def settings(name: str, tls: ClientTls, server_name: str | None) -> ProbeSettings:
            return ProbeSettings(name, url, f"{url}/health", 60, 5, 1, 1, Renewed(tls, never), server_name)

        async def nobody(_name: str, _up: bool, _down: frozenset[str]) -> None:
            """Nobody is to be told."""

        tasks = Tasks(lambda _name, error: errors.append(error))
        prober = Prober(
            (
                settings("well", ClientTls(authority.ca, cert, key), "camera.internal"),
                settings("unnamed", ClientTls(authority.ca, cert, key), None),
                settings("unknown", ClientTls(clients.ca, cert, key), "camera.internal"),
                settings("unshown", ClientTls(authority.ca), "camera.internal"),
            ),
            nobody,
        )
        await prober.run(tasks)
        await asyncio.sleep(0)  # the rounds begin, so that closing them closes their session
        await tasks.close()
    assert prober.up() == {"well": True, "unnamed": False, "unknown": False, "unshown": False}
    faults = {endpoint.settings.backend: endpoint.fault for endpoint in prober.endpoints}
    assert faults["well"] == ""
    assert all("its certificate is not accepted" in faults[name] for name in ("unnamed", "unknown")), faults
    assert faults["unshown"], "it hears of that when it reads"
    assert not errors


# --- files ----------------------------------------------------------------------------------------------------------


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.client_files()
    _, other_key = authority.client_files("other")
    locked, empty, garbled = tmp_path / "locked.key", tmp_path / "empty", tmp_path / "garbled"
    locked.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIC\n-----END ENCRYPTED PRIVATE KEY-----\n")
    empty.touch()
    garbled.write_text("-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n")
    nowhere = tmp_path / "nowhere"
    for tls, role, message in (
        (ClientTls(nowhere), "ca", f"there is no such file: {nowhere}"),
        (ClientTls(tmp_path), "ca", f"can't be read: {tmp_path} (Is a directory)"),
        (ClientTls(empty), "ca", f"holds no certificate in PEM form: {empty}"),
        (ClientTls(garbled), "ca", f"holds a certificate that can't be used: {garbled} "),
        (ClientTls(None, nowhere, key), "cert", f"there is no such file: {nowhere}"),
        (ClientTls(None, key, key), "cert", f"holds no certificate in PEM form: {key}"),
        (ClientTls(None, cert, nowhere), "key", f"there is no such file: {nowhere}"),
        (ClientTls(None, cert, cert), "key", f"holds no private key in PEM form: {cert}"),
        (ClientTls(None, cert), "cert", f"holds no private key in PEM form: {cert}; name the file that has it as `key`"),
        (ClientTls(None, cert, other_key), "key", f"is not the key of the certificate in {cert}: {other_key}"),
        (ClientTls(None, cert, locked), "key", "holds a key locked with a passphrase, which nobody is there to type: "),
        (ClientTls(None, garbled, key), "cert", f"can't be used with its key: {garbled} "),
    ):
        with pytest.raises(TlsFileError) as refused:
            client_context(tls)
        assert (refused.value.role, str(refused.value)[: len(message)]) == (role, message)


async def test_the_same_on_asyncios_own_loop(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with serving(says(b"secret"), authority.server()) as port:
        async with live(over_tls(port, ClientTls(authority.ca))) as running:
            async with asyncio.timeout(10):
                assert (await running.ask()).endswith(b"secret")
