"""Where the three processes of `make run` listen: options, environment, configuration file, default, in this order.

Owns: what options mean. Must not know: how file and environment are read; `splitter.config` does that.
Invariant: what is worked out here is what the splitter itself will see, for options become environment, which it gets.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from splitter.config import CONFIG_VARIABLE, BackendUrl, TcpAddress, UnixAddress, load

Address = TcpAddress | UnixAddress

DEFAULT_CONFIG = Path("config/splitter.yaml")


class AddressError(Exception):
    """An address that `make run` can't use; the message names where it was given."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An address to listen on, who wants it, and how a person moves it."""

    what: str
    address: TcpAddress
    option: str
    variable: str


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the three are. `legacy` and `domain` are None when they run elsewhere, and `urls` says where.

    `scheme` is what the splitter speaks to clients; `environment` is what the options change: to be added to the
    splitter's.
    """

    splitter: Address
    scheme: str
    admin: Address
    legacy: TcpAddress | None
    domain: TcpAddress | None
    urls: Mapping[str, str]
    environment: Mapping[str, str]

    def to_listen_on(self) -> list[Wanted]:
        """The ports; of a socket file the splitter itself says what is wrong."""
        wanted = []
        if isinstance(self.splitter, TcpAddress):
            wanted.append(Wanted("splitter", self.splitter, "--port", "SPLITTER_LISTEN"))
        if isinstance(self.admin, TcpAddress):
            wanted.append(Wanted("admin and console", self.admin, "--admin-port", "SPLITTER_ADMIN_LISTEN"))
        if self.legacy is not None:
            wanted.append(Wanted("legacy", self.legacy, "--legacy-port", "LEGACY_URL"))
        if self.domain is not None:
            wanted.append(Wanted("domain", self.domain, "--domain-port", "DOMAIN_URL"))
        return wanted


def addresses_in_force(options: argparse.Namespace, environment: Mapping[str, str]) -> Addresses:
    """Raises ConfigError for a configuration that the splitter would refuse, AddressError for what only we can't do."""
    path = _config_file(options, environment)
    config = load(path, environment)
    changed = {} if path is None else {CONFIG_VARIABLE: str(path)}
    if options.port is not None:
        changed["SPLITTER_LISTEN"] = _with_port(config.listen.address, options.port, "--port")
    if options.admin_port is not None:
        changed["SPLITTER_ADMIN_LISTEN"] = _with_port(config.admin.address, options.admin_port, "--admin-port")
    for name, port in (("LEGACY_URL", options.legacy_port), ("DOMAIN_URL", options.domain_port)):
        if port is not None:
            changed[name] = f"http://127.0.0.1:{port}"
    config = load(path, {**environment, **changed})
    urls = {"legacy": config.backends.legacy.urls, "domain": config.backends.domain.urls}
    return Addresses(
        splitter=config.listen.address,
        scheme="http" if config.listen.tls is None else "https",
        admin=config.admin.address,
        legacy=_ours(urls["legacy"]),
        domain=_ours(urls["domain"]),
        urls={name: ", ".join(map(str, given)) for name, given in urls.items()},
        environment=changed,
    )


def reachable(address: Address, scheme: str = "http") -> str:
    """The URL by which a client on this machine reaches what listens there; of a socket file, its address."""
    if isinstance(address, UnixAddress):
        return str(address)
    if not address.is_any:
        return f"{scheme}://{address}"
    return f"{scheme}://{TcpAddress('::1' if ip_address(address.host).version == 6 else '127.0.0.1', address.port)}"


def curl(address: Address, scheme: str, path: str) -> str:
    """What to give to curl for a path of what listens there."""
    if isinstance(address, UnixAddress):
        return f"--unix-socket {address.path} '{scheme}://localhost{path}'"
    return f"'{reachable(address, scheme)}{path}'"


def _config_file(options: argparse.Namespace, environment: Mapping[str, str]) -> Path | None:
    """What was named, there or not; else the usual file, if it is there."""
    if options.config is not None:
        return Path(options.config)
    if environment.get(CONFIG_VARIABLE):
        return Path(environment[CONFIG_VARIABLE])
    return DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None


def _with_port(address: Address, port: int, option: str) -> str:
    if isinstance(address, UnixAddress):
        raise AddressError(f"{option} moves a port, but the splitter is to listen on {address}")
    return str(TcpAddress(address.host, port))


def _ours(urls: tuple[BackendUrl, ...]) -> TcpAddress | None:
    """The address to start a backend on; None if there are several or it is on another machine."""
    address = TcpAddress(urls[0].host, urls[0].port)
    return address if len(urls) == 1 and urls[0].scheme == "http" and address.is_loopback else None
