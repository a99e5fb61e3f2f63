"""Opening the sockets clients connect to.

Owns: resolving, binding, listening. Must not know: who accepts on them.
Invariant: what is returned listens; when one of several addresses can't be had, none is kept open.
"""

from __future__ import annotations

import contextlib
import socket
import stat
from pathlib import Path
from typing import Final

BACKLOG: Final = 1024
"""Clients the kernel lets in and keeps until they are accepted; `net.core.somaxconn` may make it fewer."""


def listen_tcp(host: str, port: int, *, reuse_port: bool = False) -> list[socket.socket]:
    """A socket for each address of `host`. Port 0: one the system chooses, the same for all. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    with contextlib.ExitStack() as undo:
        opened: list[socket.socket] = []
        for family, _, _, _, address in dict.fromkeys(found):
            where = (address[0], opened[0].getsockname()[1] if opened else port)
            opened.append(
                undo.enter_context(socket.create_server(where, family=family, backlog=BACKLOG, reuse_port=reuse_port))
            )
        undo.pop_all()
    return opened


def listen_unix(path: str) -> socket.socket:
    """A socket at `path`; one that an earlier process left there is replaced. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(Path(path).stat().st_mode):
            Path(path).unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(path)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
