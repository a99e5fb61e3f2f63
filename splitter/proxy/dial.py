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
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from splitter.errors import ExchangeError, exhausted, no_connection

if TYPE_CHECKING:
    from splitter.proxy.upstream import Upstream

# Files, memory, local ports: they run out here, not there.
_OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a backend: TCP host and port, or a unix socket's path when `host` is empty."""

    host: str
    port: int
    path: str = ""

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
        return f"http://{self.authority.decode()}" if self.host else f"unix:{self.path}"


Dial = Callable[[Endpoint, "Upstream"], Awaitable[None]]
"""Connects the protocol to the endpoint; raises OSError."""


async def dial(endpoint: Endpoint, upstream: Upstream) -> None:
    """Open a socket. A host name is looked up again for each connection, so that a backend that moved is found."""
    loop = asyncio.get_running_loop()
    if endpoint.host:
        await loop.create_connection(lambda: upstream, endpoint.host, endpoint.port)
    else:
        await loop.create_unix_connection(lambda: upstream, endpoint.path)


def error_of(cause: OSError) -> ExchangeError:
    """What a failed `dial` means for a request that waits for the connection."""
    if cause.errno in _OURS or _out_of_files():
        return exhausted(f"the splitter itself can't open more connections: {cause.strerror or cause}")
    return no_connection(cause.strerror or str(cause))


def _out_of_files() -> bool:
    """Whether this process can't open a file: then a name could not be looked up, whatever the resolver says of it."""
    try:
        os.close(os.dup(2))
    except OSError as error:
        return error.errno in _OURS
    return False
