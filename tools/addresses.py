"""Where the three processes of `make run` listen: options, environment, configuration file, default, in this order.

Owns: that order, for the few keys it concerns. Must not know: the rest of the configuration; the splitter checks it.
Invariant: what is worked out here is what the splitter will do itself: only options are turned into environment, the
rest it reads from the same places.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
_DEFAULT_PORTS = {"http": 80, "https": 443}


class AddressError(Exception):
    """An address that nobody can listen on; the message names where it was given."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host, as given, and a TCP port."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """How a client on this machine reaches it."""
        host = _ANY.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An address to listen on, who wants it, and how a person moves it."""

    what: str
    address: Address
    option: str
    variable: str


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the three are. `legacy` and `domain` are None when they run elsewhere, and `urls` says where.

    `environment` is what the options change: to be added to the splitter's.
    """

    splitter: Address
    admin: Address
    legacy: Address | None
    domain: Address | None
    urls: Mapping[str, str]
    environment: Mapping[str, str]

    def to_listen_on(self) -> list[Wanted]:
        wanted = [
            Wanted("splitter", self.splitter, "--port", "SPLITTER_LISTEN"),
            Wanted("admin and console", self.admin, "--admin-port", "SPLITTER_ADMIN_LISTEN"),
        ]
        if self.legacy is not None:
            wanted.append(Wanted("legacy", self.legacy, "--legacy-port", "LEGACY_URL"))
        if self.domain is not None:
            wanted.append(Wanted("domain", self.domain, "--domain-port", "DOMAIN_URL"))
        return wanted


def addresses_in_force(options: argparse.Namespace, environment: Mapping[str, str]) -> Addresses:
    """Raises AddressError for an address that can't be read."""
    file = _read(options.config)
    changed: dict[str, str] = {}
    splitter = _listen("SPLITTER_LISTEN", environment, file, ("listen",), Address("0.0.0.0", 8000))
    admin = _listen("SPLITTER_ADMIN_LISTEN", environment, file, ("admin",), Address("127.0.0.1", 8090))
    if options.port is not None:
        splitter = Address(splitter.host, options.port)
        changed["SPLITTER_LISTEN"] = str(splitter)
    if options.admin_port is not None:
        admin = Address(admin.host, options.admin_port)
        changed["SPLITTER_ADMIN_LISTEN"] = str(admin)
    urls = {}
    for name, port, default_port in (("legacy", options.legacy_port, 8001), ("domain", options.domain_port, 8002)):
        variable = f"{name.upper()}_URL"
        if port is not None:
            changed[variable] = f"http://127.0.0.1:{port}"
        urls[name] = (
            changed.get(variable) or environment.get(variable) or _urls(file, name) or f"http://127.0.0.1:{default_port}"
        )
    legacy, domain = (_own(f"{name.upper()}_URL", urls[name]) for name in ("legacy", "domain"))
    return Addresses(splitter, admin, legacy, domain, urls, changed)


def _read(path: Path) -> object:
    """The file as YAML gives it, None where there is none; what is wrong with it, the splitter says better."""
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def _value(file: object, *keys: str) -> object:
    for key in keys:
        file = file.get(key) if isinstance(file, dict) else None
    return file


def _listen(variable: str, environment: Mapping[str, str], file: object, keys: tuple[str, ...], default: Address) -> Address:
    given = environment.get(variable)
    if given:
        host, colon, port = given.rpartition(":")
        if given.startswith("unix:") or not colon or not port.isdecimal():
            raise AddressError(f"{variable}={given}: here a host:port is wanted (`splitter run` also takes unix:/path)")
        return Address(host.strip("[]"), int(port))
    host_in_file, port_in_file = _value(file, *keys, "host"), _value(file, *keys, "port")
    host = host_in_file if isinstance(host_in_file, str) else default.host
    return Address(host.strip("[]"), port_in_file if isinstance(port_in_file, int) else default.port)


def _urls(file: object, name: str) -> str | None:
    urls = _value(file, "backends", name, "urls")
    return ",".join(map(str, urls)) if isinstance(urls, list) and urls else None


def _own(variable: str, url: str) -> Address | None:
    """The address to start a backend on; None if the URL is not of this machine or there are several."""
    if "," in url:
        return None
    parts = urlsplit(url.strip())
    try:
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 80)
    except ValueError as error:
        raise AddressError(f"{variable}={url}: {error}") from error
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise AddressError(f"{variable}={url}: not a URL like http://127.0.0.1:8001")
    return Address(parts.hostname, port) if parts.hostname in _LOOPBACK and parts.scheme == "http" else None
