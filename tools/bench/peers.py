"""Proxies and backends as running processes: started, checked, stopped.

Must not know: which proxies there are, how they are loaded and measured.
Invariants: `check` proves that a peer does the work before a number is taken; ports are free ones of this moment, files
are below `work`, and everything started ends with the ExitStack it was started in.
"""

from __future__ import annotations

import http.client
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools import children, ports
from tools.bench.proxies import Peer, program
from tools.bench.templates import PeerError, Place, fill, make_certificate
from tools.bench.work import PLAIN, WORKS, Setup

USERS = 1000
_START_TIMEOUT_S = 20.0
_GRACE_S = 10.0
_STICKY_USERS = 50


@dataclass(frozen=True, slots=True)
class Running:
    """A started peer."""

    peer: Peer
    place: Place
    pid: int
    log: Path


@dataclass(frozen=True, slots=True)
class Backends:
    """Ports of legacy and domain, over HTTP and as WebSocket servers that echo."""

    http: tuple[int, int]
    echo: tuple[int, int]


def start_backends(stack: ExitStack, work: Path, cpus: Collection[int]) -> Backends:
    """Start the backends, with a file for every size that some work asks for."""
    http_place = Place(work, 0, 0, ports.free_port(), ports.free_port())
    echo_ports = ports.free_port(), ports.free_port()
    www = work / "www"
    www.mkdir()
    for size_bytes in {one.answer_bytes for one in WORKS.values()} - {0}:
        (www / f"blob-{size_bytes}").write_bytes(b"x" * size_bytes)
    config = fill("backends.nginx.conf", http_place)
    command = [program("nginx"), "-p", str(work), "-c", str(config), "-e", "stderr"]
    _start(stack, "backends", command, dict(os.environ), http_place, cpus, http_place.legacy)
    environment = dict(os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "tools.bench.echo", *map(str, echo_ports)]
    _start(stack, "echo", command, environment, http_place, cpus, echo_ports[0])
    return Backends((http_place.legacy, http_place.domain), echo_ports)


def start(
    stack: ExitStack, peer: Peer, backends: Backends, work: Path, cpus: Collection[int], setup: Setup = PLAIN
) -> Running:
    """Start a peer on `cpus` and return when it forwards. Raises PeerError."""
    work.mkdir()
    place = Place(work, ports.free_port(), ports.free_port(), *(backends.echo if setup.echo else backends.http), setup)
    if setup.tls:
        make_certificate(place)
    pid = _start(stack, peer.name, peer.command(place), peer.environment(place), place, cpus, place.proxy)
    return Running(peer, place, pid, work / f"{peer.name}.log")


def _start(
    stack: ExitStack,
    name: str,
    command: list[str],
    environment: dict[str, str],
    place: Place,
    cpus: Collection[int],
    port: int,
) -> int:
    log = place.work / f"{name}.log"
    child = children.start(command, log, environment, cpus, place.work)
    stack.callback(_stop, child)
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while not _answers(port, place.setup):
        if child.poll() is not None or time.monotonic() > deadline_s:
            what = "does not answer" if child.returncode is None else f"ended with status {child.returncode}"
            raise PeerError(f"{name} {what}: {' '.join(command)}\n{log.read_text()[-2000:]}")
        time.sleep(0.05)
    return child.pid


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        print(f"{child.args!r} did not end within {_GRACE_S:g} s of SIGTERM: killed", file=sys.stderr)
    finally:
        children.end_group(child.pid)
        child.wait()


def _answers(port: int, setup: Setup) -> bool:
    try:
        with _connection(port, setup) as connection:
            connection.request("GET", "/")
            return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False


@contextmanager
def _connection(port: int, setup: Setup) -> Iterator[http.client.HTTPConnection]:
    if setup.tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # it is the one made a moment ago
        connection: http.client.HTTPConnection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        yield connection
    finally:
        connection.close()


def check(running: Running) -> None:
    """That this peer splits by user, half and half and always the same way, and says what a proxy has to say.

    Raises PeerError.
    """
    peer, place = running.peer, running.place
    if place.setup.echo:
        return  # its load checks every message
    with _connection(place.proxy, place.setup) as connection:
        sides = {f"user-{number}": _side(connection, f"user-{number}") for number in range(1, USERS + 1)}
        again = {user: _side(connection, user) for user in list(sides)[:_STICKY_USERS]}
        connection.request("GET", "/echo", headers={"Host": "cameras.example", "X-User-Id": "user-1"})
        echo = connection.getresponse().read().decode()
    share = sum(side == "domain" for side in sides.values()) / USERS
    if abs(share - 0.5) > peer.share_tolerance:
        raise PeerError(f"{peer.name} sends {share:.0%} of the users to domain, not half of them")
    moved = [user for user, side in again.items() if side != sides[user]]
    if moved and peer.splits_by_user:
        raise PeerError(f"{peer.name} sent {moved} to one side first and to the other then")
    fields = ("Host", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Request-Id", "Via")
    sent = dict(zip(fields, echo.split("|"), strict=True))
    wanted = {
        "Host": "cameras.example",
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Proto": "https" if place.setup.tls else "http",
        "X-Forwarded-Host": "cameras.example",
    }
    has_id = bool(sent["X-Request-Id"]) or not peer.makes_request_ids
    if sent != sent | wanted or not has_id or not sent["Via"]:
        raise PeerError(f"{peer.name} forwards other headers than the work asks for: {sent}")


def _side(connection: http.client.HTTPConnection, user: str) -> str:
    connection.request("GET", "/api/v1/cameras", headers={"X-User-Id": user})
    response = connection.getresponse()
    response.read()
    if response.status != http.HTTPStatus.OK:
        raise PeerError(f"status {response.status} for {user}")
    return response.headers["X-Bench-Backend"]
