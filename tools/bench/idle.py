"""Connections that have asked once and then do nothing: what they cost a proxy in memory.

Owns: opening and closing them. Must not know: which proxy.
Invariant: every connection has been answered before memory is read, and is still open when it is.
"""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

_SETTLE_S: Final = 1.0
_SPARE_FILES: Final = 200
_REQUEST: Final = b"GET /api/v1/cameras HTTP/1.1\r\nHost: cameras.example\r\nX-User-Id: user-%d\r\n\r\n"


@contextmanager
def connections(port: int, count: int) -> Iterator[None]:
    """`count` connections to 127.0.0.1:`port`, answered and idle. Raises OSError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count + _SPARE_FILES), hard), hard))
    with ExitStack() as stack:
        for number in range(count):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            client.sendall(_REQUEST % number)
            if not client.recv(65536).startswith(b"HTTP/1.1 200 "):
                raise OSError("a connection that was to be idle was not answered")
        time.sleep(_SETTLE_S)
        yield
