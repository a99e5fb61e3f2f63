"""The proxies that are compared, and the backends behind them: how each is configured, started, checked and stopped.

A new peer is a class here, a line in PEERS and a file in configs/. Must not know: how it is loaded and measured.
Invariants: every peer does the same work, and `check` proves it before a number is taken; ports are free ones of this
moment, files are below `work`, and everything started ends with the ExitStack it was started in.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import os
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools import children, ports

CONFIGS = Path(__file__).with_name("configs")
USERS = 1000
_START_TIMEOUT_S = 20.0
_GRACE_S = 10.0
_STICKY_USERS = 50


class PeerError(Exception):
    """A peer is missing, does not start, or does not do the work; the message says which and how."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one peer works: its directory and port, the admin port if it has one, and the backends' ports."""

    work: Path
    proxy: int
    admin: int
    legacy: int
    domain: int


class Peer(ABC):
    """A proxy: what it is called, and the command that runs it in the foreground."""

    name: str
    splits_by_user = True
    """Whether it can keep a user on one side without a cookie."""
    makes_request_ids = True
    share_tolerance = 0.06  # four standard deviations of 1,000 fair coins

    @abstractmethod
    def version(self) -> str:
        """As it says itself. Raises PeerError if it is not installed."""

    @abstractmethod
    def command(self, place: Place) -> list[str]:
        """Write the configuration below `place.work`; give the command that runs with it."""

    def environment(self, _place: Place) -> dict[str, str]:
        """What it is started with."""
        return dict(os.environ)


class Nginx(Peer):
    name = "nginx"

    def version(self) -> str:
        said = subprocess.run([nginx_program(), "-v"], capture_output=True, text=True, check=True).stderr
        return said.strip().rpartition("/")[2]

    def command(self, place: Place) -> list[str]:
        config = fill("nginx.conf", place)
        return [nginx_program(), "-p", str(place.work), "-c", str(config), "-e", "stderr"]


class Splitter(Peer):
    name = "splitter"

    def version(self) -> str:
        return f"Python {sys.version.split()[0]}"

    def command(self, place: Place) -> list[str]:
        fill("splitter.yaml", place)
        return [sys.executable, "-m", "splitter", "run"]

    def environment(self, place: Place) -> dict[str, str]:
        """Without what would override its file: a person may have it set for `make run`."""
        overriding = ("SPLITTER_", "USE_DOMAIN_SERVICE", "ROLLOUT_PERCENT", "LEGACY_URL", "DOMAIN_URL")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(overriding)}
        return kept | {"SPLITTER_CONFIG": str(place.work / "splitter.yaml")}


class Haproxy(Peer):
    name = "haproxy"

    def version(self) -> str:
        return _said("haproxy", "-v").split()[2]

    def command(self, place: Place) -> list[str]:
        return [_program("haproxy"), "-db", "-f", str(fill("haproxy.cfg", place))]


class Caddy(Peer):
    name = "caddy"
    share_tolerance = 0.15  # its rendezvous hash over two addresses that differ in a digit is uneven

    def version(self) -> str:
        return _said("caddy", "version").split()[0]

    def command(self, place: Place) -> list[str]:
        return [_program("caddy"), "run", "--adapter", "caddyfile", "--config", str(fill("Caddyfile", place))]

    def environment(self, place: Place) -> dict[str, str]:
        # One core for the proxy means one thread that runs Go code, or the scheduler's own work would be measured.
        return dict(os.environ) | {"GOMAXPROCS": "1", "HOME": str(place.work)}


class Envoy(Peer):
    name = "envoy"

    def version(self) -> str:
        return _said("envoy", "--version").rpartition("version: ")[2].split("/")[1]

    def command(self, place: Place) -> list[str]:
        config = fill("envoy.yaml", place)
        return [_program("envoy"), "-c", str(config), "--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]


class Traefik(Peer):
    name = "traefik"
    splits_by_user = False
    makes_request_ids = False

    def version(self) -> str:
        return _said("traefik", "version").split()[1]

    def command(self, place: Place) -> list[str]:
        fill("traefik-routes.yaml", place)
        return [_program("traefik"), f"--configFile={fill('traefik.yaml', place)}"]

    def environment(self, place: Place) -> dict[str, str]:
        return dict(os.environ) | {"GOMAXPROCS": "1", "HOME": str(place.work)}


class AiohttpProxy(Peer):
    name = "aiohttp"

    def version(self) -> str:
        return importlib.metadata.version("aiohttp")

    def command(self, place: Place) -> list[str]:
        ports_of_it = (str(port) for port in (place.proxy, place.legacy, place.domain))
        return [sys.executable, "-m", "tools.bench.aiohttp_proxy", *ports_of_it]

    def environment(self, _place: Place) -> dict[str, str]:
        return dict(os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2])}


PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (Splitter, Nginx, Haproxy, Caddy, Envoy, Traefik, AiohttpProxy)}


def _program(name: str) -> str:
    """Where a peer's program is: beside this Python (pip brought it), else on the path (Debian did). Raises PeerError."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name, path="/usr/sbin:/usr/bin")
    found = found or shutil.which(name)
    if found is None:
        raise PeerError(f"{name} is not installed: make bench installs it, or see CONTRIBUTING.md")
    return found


def _said(name: str, option: str) -> str:
    done = subprocess.run([_program(name), option], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


@dataclass(frozen=True, slots=True)
class Running:
    """A started peer."""

    peer: Peer
    place: Place
    pid: int
    log: Path


def nginx_program() -> str:
    # Debian installs it where only root's PATH leads.
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise PeerError("nginx is not installed: run tools/test_packages.sh")
    return found


def fill(template: str, place: Place) -> Path:
    """Write a file of configs/ with its @NAMES@ filled in; give its path. Raises PeerError if one is left."""
    text = (CONFIGS / template).read_text()
    for name, value in (
        ("WORK", str(place.work)),
        ("PROXY", str(place.proxy)),
        ("ADMIN", str(place.admin)),
        ("LEGACY", str(place.legacy)),
        ("DOMAIN", str(place.domain)),
        # nginx's workers would become another user and could not read our directory; only root may name a user.
        ("USER", "user root;" if os.geteuid() == 0 else ""),
    ):
        text = text.replace(f"@{name}@", value)
    left = [word for word in text.split() if word.startswith("@") and word.endswith("@")]
    if left:
        raise PeerError(f"{template}: nothing to fill in for {', '.join(left)}")
    path = place.work / template
    path.write_text(text)
    return path


def start_backends(stack: ExitStack, work: Path, blob_bytes: int, cpus: Collection[int]) -> tuple[int, int]:
    """Start both backends, with a file of `blob_bytes` at /blob; give the ports of legacy and domain."""
    place = Place(work, 0, 0, ports.free_port(), ports.free_port())
    blob = work / "www" / "blob"
    blob.parent.mkdir()
    blob.write_bytes(b"x" * blob_bytes)
    config = fill("backends.nginx.conf", place)
    command = [nginx_program(), "-p", str(work), "-c", str(config), "-e", "stderr"]
    _start(stack, "backends", command, dict(os.environ), work, cpus, place.legacy)
    return place.legacy, place.domain


def start(stack: ExitStack, peer: Peer, backends: tuple[int, int], work: Path, cpus: Collection[int]) -> Running:
    """Start a peer on `cpus` and return when it forwards. Raises PeerError."""
    work.mkdir()
    place = Place(work, ports.free_port(), ports.free_port(), *backends)
    pid = _start(stack, peer.name, peer.command(place), peer.environment(place), work, cpus, place.proxy)
    return Running(peer, place, pid, work / f"{peer.name}.log")


def _start(
    stack: ExitStack,
    name: str,
    command: list[str],
    environment: dict[str, str],
    work: Path,
    cpus: Collection[int],
    port: int,
) -> int:
    log = work / f"{name}.log"
    child = children.start(command, log, environment, cpus, work)
    stack.callback(_stop, child)
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while not _answers(port):
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


def _answers(port: int) -> bool:
    try:
        with _connection(port) as connection:
            connection.request("GET", "/")
            return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False


@contextmanager
def _connection(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        yield connection
    finally:
        connection.close()


def check(running: Running) -> None:
    """That this peer splits by user, half and half and always the same way, and says what a proxy has to say.

    Raises PeerError.
    """
    name = running.peer.name
    with _connection(running.place.proxy) as connection:
        sides = {f"user-{number}": _side(connection, f"user-{number}") for number in range(1, USERS + 1)}
        again = {user: _side(connection, user) for user in list(sides)[:_STICKY_USERS]}
        connection.request("GET", "/echo", headers={"Host": "cameras.example", "X-User-Id": "user-1"})
        echo = connection.getresponse().read().decode()
    share = sum(side == "domain" for side in sides.values()) / USERS
    if abs(share - 0.5) > running.peer.share_tolerance:
        raise PeerError(f"{name} sends {share:.0%} of the users to domain, not half of them")
    moved = [user for user, side in again.items() if side != sides[user]]
    if moved and running.peer.splits_by_user:
        raise PeerError(f"{name} sent {moved} to one side first and to the other then")
    fields = ("Host", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Request-Id", "Via")
    sent = dict(zip(fields, echo.split("|"), strict=True))
    wanted = {
        "Host": "cameras.example",
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "cameras.example",
    }
    has_id = bool(sent["X-Request-Id"]) or not running.peer.makes_request_ids
    if sent != sent | wanted or not has_id or not sent["Via"]:
        raise PeerError(f"{name} forwards other headers than the work asks for: {sent}")


def _side(connection: http.client.HTTPConnection, user: str) -> str:
    connection.request("GET", "/api/v1/cameras", headers={"X-User-Id": user})
    response = connection.getresponse()
    response.read()
    if response.status != http.HTTPStatus.OK:
        raise PeerError(f"status {response.status} for {user}")
    return response.headers["X-Bench-Backend"]
