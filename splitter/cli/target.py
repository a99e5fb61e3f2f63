"""Where the running splitter is asked: its admin address, and the token for it.

Owns: the options `--admin` and `--token`, where they come from, what an address may look like; where the public side is.
Must not know: what is asked.
Invariants: a broken configuration file stops nobody from rolling back; the schema is not imported for one address.

In this order: --admin, SPLITTER_ADMIN, SPLITTER_ADMIN_LISTEN, `admin` of the configuration file, 127.0.0.1:8090. The token:
--token, which other users of the machine can see in the list of processes, or SPLITTER_ADMIN_TOKEN, which they can't.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import click

DEFAULT_PORT: Final = 8090
DEFAULT_ADDRESS: Final = f"127.0.0.1:{DEFAULT_PORT}"
DEFAULT_LISTENER: Final = "0.0.0.0:8000"
DEFAULT_FILE: Final = Path("config/splitter.yaml")
_FROM_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses to listen on that mean all of a machine's, and how this machine reaches itself there."""

F = TypeVar("F", bound=Callable[..., Any])


class AddressError(ValueError):
    """An admin address that can't be used; the message says what it should look like."""


@dataclass(frozen=True, slots=True)
class Target:
    """One admin API. `socket_path` instead of host and port for a unix socket; `prefix` is a path before every path."""

    host: str
    port: int
    socket_path: str = ""
    secure: bool = False
    prefix: str = ""
    token: str = ""

    def __str__(self) -> str:
        if self.socket_path:
            return f"unix:{self.socket_path}"
        return f"http{'s' * self.secure}://{self.authority}{self.prefix}"

    @property
    def authority(self) -> str:
        if self.socket_path:
            return "localhost"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def admin_options(command: F) -> F:
    """The options of every command that asks a running splitter: `admin`, `token`, `as_json`."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--token", metavar="TOKEN", help="The admin token (better: SPLITTER_ADMIN_TOKEN)."),
        click.option(
            "--admin",
            metavar="URL",
            help=f"The splitter's admin API (default: SPLITTER_ADMIN, else where `run` would listen: {DEFAULT_ADDRESS}).",
        ),
    ):
        command = option(command)
    return command


def find_target(admin: str | None, token: str | None) -> Target:
    """Where to ask. Raises click.UsageError for an address of no use."""
    given_token = token or os.environ.get("SPLITTER_ADMIN_TOKEN", "").strip()
    if admin:
        return _checked("--admin", admin, given_token)
    return _found(("SPLITTER_ADMIN", "SPLITTER_ADMIN_LISTEN"), "admin", DEFAULT_ADDRESS, given_token)


def find_listener() -> Target:
    """Where clients of the same splitter talk to it. Raises click.UsageError."""
    return _found(("SPLITTER_LISTEN",), "listen", DEFAULT_LISTENER, "")


def _found(variables: tuple[str, ...], section: str, default: str, token: str) -> Target:
    for variable in variables:
        text = os.environ.get(variable, "").strip()
        if text:
            return _checked(variable, text, token)
    named = os.environ.get("SPLITTER_CONFIG", "").strip()
    path = Path(named) if named else DEFAULT_FILE
    return _checked(str(path), _in_file(path, section, default), token)


def _checked(source: str, text: str, token: str) -> Target:
    try:
        return read_target(text, token)
    except AddressError as error:
        raise click.UsageError(f"{source}: {error}") from None


def _in_file(path: Path, section: str, default: str) -> str:
    """The address in a section of a configuration file, whatever else is wrong with it; the default if it says nothing."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return default
    import yaml  # noqa: PLC0415 - only when nothing else says where

    try:
        tree = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe loaders
    except (yaml.YAMLError, ValueError, RecursionError):
        click.echo(f"{path} can't be read as YAML; asking at {default} (--admin names another)", err=True)
        return default
    given = tree.get(section) if isinstance(tree, dict) else None
    if not isinstance(given, dict):
        return default
    default_host, _, default_port = default.partition(":")
    host, port = str(given.get("host") or default_host), given.get("port") or default_port
    if host.startswith("unix:"):
        return host
    scheme = "https://" if given.get("tls") else ""
    return f"{scheme}[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{scheme}{host}:{port}"


def read_target(text: str, token: str) -> Target:
    """`URL`, `HOST:PORT` or `unix:/path` as a target. Raises AddressError."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/"):
            raise AddressError(f"a unix socket needs an absolute path, as in unix:/run/splitter.sock, not {text!r}")
        return Target("", 0, socket_path=path, token=token)
    no_address = AddressError(f"{text!r} is no admin address: write http://HOST:PORT, HOST:PORT or unix:/path")
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise no_address from None
    is_odd = parts.query or parts.fragment or "@" in parts.netloc or " " in text
    if parts.scheme not in ("http", "https") or not host or port == 0 or is_odd:
        raise no_address
    secure = parts.scheme == "https"
    if port is None:
        port = (443 if secure else 80) if "://" in text else DEFAULT_PORT
    return Target(
        host=_FROM_ANYWHERE.get(host, host),
        port=port,
        secure=secure,
        prefix=parts.path.rstrip("/"),
        token=token,
    )
