"""Opening a connection to an endpoint, and saying in a sentence why there is none.

Owns: addresses, resolving them, TLS to a backend, whose fault a failure is.
Must not know: how many connections there are, who wants one.
Invariants: a name is looked up for each connection anew, so a backend that came back at another address is found; what
this process lacks itself is never a backend's failure.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from splitter.client_tls import Renewed, refusal_of
from splitter.errors import ExchangeError, exhausted, no_connection

if TYPE_CHECKING:
    from splitter.proxy.upstream import Upstream

# Files and memory: they run out here, not there. Local ports (EADDRNOTAVAIL) run out for one address at a time.
_OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_SILENT: Final = "the backend closed the connection without a word"
"""What is known of a handshake that ends without an alert: the exception has no text."""

_ABOUT_CERTIFICATES: Final = ("ALERT_CERTIFICATE", "ALERT_BAD_CERTIFICATE", "ALERT_UNSUPPORTED_CERTIFICATE",
                              "ALERT_UNKNOWN_CA", "ALERT_ACCESS_DENIED")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a backend: TCP host and port, or a unix socket's path when `host` is empty.

    `tls`: what it is spoken to with, and `server_name` the name its certificate is to have.
    """

    host: str
    port: int
    path: str = ""
    tls: Renewed | None = None
    server_name: str = ""

    @property
    def authority(self) -> bytes:
        """What `Host` says of it."""
        if not self.host:
            return b"localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}".encode()

    @property
    def url(self) -> str:
        """Its name in snapshots: as the configuration shows it."""
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://{self.authority.decode()}" if self.host else f"unix:{self.path}"


Dial = Callable[[Endpoint, "Upstream"], Awaitable[None]]
"""Connects the protocol to the endpoint; raises OSError."""


async def dial(endpoint: Endpoint, upstream: Upstream) -> None:
    """Open a socket. A host name is looked up again for each connection, so that a backend that moved is found."""
    loop = asyncio.get_running_loop()
    if not endpoint.host:
        await loop.create_unix_connection(lambda: upstream, sock=_connected(endpoint.path))
    elif endpoint.tls is None:
        await loop.create_connection(lambda: upstream, endpoint.host, endpoint.port)
    else:
        await loop.create_connection(
            lambda: upstream,
            endpoint.host,
            endpoint.port,
            ssl=endpoint.tls.context(),
            server_hostname=endpoint.server_name or endpoint.host,
        )


def _connected(path: str) -> socket.socket:
    """A unix socket connects at once or not at all; a path of the abstract namespace is one that uvloop can't connect to."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(0)
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


def error_of(cause: OSError) -> ExchangeError:
    """What a failed `dial` means for a request that waits for the connection."""
    if cause.errno in _OURS or _out_of_files():
        return exhausted(f"the splitter itself can't open more connections: {cause.strerror or cause}")
    return no_connection(refusal_of(cause) or cause.strerror or str(cause) or _SILENT)


def refused_handshake(error: Exception | None) -> ExchangeError | None:
    """What it means that a new connection was lost before a word was said on it, if TLS was why; else None.

    In TLS 1.3 a client's certificate is judged when the client may send already (RFC 8446 section 4.4.2.4): the request is
    lost, and nobody has read it.
    """
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    if reason and any(word in reason for word in _ABOUT_CERTIFICATES):
        return no_connection(refusal_of(error))
    return None


def _out_of_files() -> bool:
    """Whether this process can't open a file: then a name could not be looked up, whatever the resolver says of it."""
    try:
        os.close(os.dup(2))
    except OSError as error:
        return error.errno in _OURS
    return False
