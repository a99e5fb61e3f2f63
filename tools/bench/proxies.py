"""The proxies that are compared: what each is called, its version, and the command that runs it.

A new one is a class here, a line in PEERS and a file in configs/. Must not know: how it is loaded and measured.
Invariant: every one does the same work with the same features on, as far as it has them; what it lacks is an attribute.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final

from tools.bench.templates import PeerError, Place, fill
from tools.bench.work import Setup


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

    def can(self, _setup: Setup) -> bool:
        """Whether it can be set up like that."""
        return True


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
        root = str(Path(__file__).parents[2])
        return kept | {"SPLITTER_CONFIG": str(place.work / "splitter.yaml"), "PYTHONPATH": root}


class Nginx(Peer):
    name = "nginx"

    def version(self) -> str:
        return _said("nginx", "-v").strip().rpartition("/")[2]

    def command(self, place: Place) -> list[str]:
        config = fill("nginx.conf", place)
        return [program("nginx"), "-p", str(place.work), "-c", str(config), "-e", "stderr"]


class Haproxy(Peer):
    name = "haproxy"

    def version(self) -> str:
        return _said("haproxy", "-v").split()[2]

    def command(self, place: Place) -> list[str]:
        return [program("haproxy"), "-db", "-f", str(fill("haproxy.cfg", place))]


class _GoPeer(Peer):
    def environment(self, place: Place) -> dict[str, str]:
        # One core for the proxy means one thread that runs Go code, or the scheduler's own work would be measured.
        return dict(os.environ) | {"GOMAXPROCS": str(place.setup.workers), "HOME": str(place.work)}


class Caddy(_GoPeer):
    name = "caddy"
    share_tolerance = 0.15  # its rendezvous hash over two addresses that differ in a digit is uneven

    def version(self) -> str:
        return _said("caddy", "version").split()[0]

    def command(self, place: Place) -> list[str]:
        return [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(fill("Caddyfile", place))]


class Envoy(Peer):
    name = "envoy"

    def version(self) -> str:
        return _said("envoy", "--version").rpartition("version: ")[2].split("/")[1]

    def command(self, place: Place) -> list[str]:
        config, workers = fill("envoy.yaml", place), str(place.setup.workers)
        return [
            program("envoy"),
            "-c",
            str(config),
            "--concurrency",
            workers,
            "--log-level",
            "error",
            "--disable-hot-restart",
        ]


class Traefik(_GoPeer):
    name = "traefik"
    splits_by_user = False
    makes_request_ids = False

    def version(self) -> str:
        return _said("traefik", "version").split()[1]

    def command(self, place: Place) -> list[str]:
        fill("traefik-routes.yaml", place)
        return [program("traefik"), f"--configFile={fill('traefik.yaml', place)}"]


class AiohttpProxy(Peer):
    name = "aiohttp"

    def version(self) -> str:
        return importlib.metadata.version("aiohttp")

    def command(self, place: Place) -> list[str]:
        command = [sys.executable, "-m", "tools.bench.aiohttp_proxy", str(place.proxy), str(place.legacy), str(place.domain)]
        if place.setup.tls:
            command += ["--tls", str(place.certificate), str(place.key)]
        return [*command, "--access-log"] if place.setup.access_log else command

    def environment(self, _place: Place) -> dict[str, str]:
        return dict(os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2])}

    def can(self, setup: Setup) -> bool:
        return setup.workers == 1  # the first proxy one writes has one process


PEERS: Final[dict[str, type[Peer]]] = {
    peer.name: peer for peer in (Splitter, Nginx, Haproxy, Envoy, Traefik, Caddy, AiohttpProxy)
}


def program(name: str) -> str:
    """Where a program is: beside this Python (pip brought it), else where Debian puts it. Raises PeerError."""
    # Debian installs some where only root's PATH leads.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise PeerError(f"{name} is not installed: make bench installs it")
    return found


def _said(name: str, option: str) -> str:
    done = subprocess.run([program(name), option], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr
