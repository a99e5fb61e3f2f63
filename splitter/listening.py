"""Sockets to listen on: TCP over IPv4 and IPv6, and socket files.

Owns: binding, what a socket file needs besides (who may use it, a dead process's file, its removal).
Must not know: who accepts on them, or in which process.
Invariants: an address somebody listens on is never taken from them; a file that is no socket is never removed; `close`
removes only the file that was made here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from splitter.config import TcpAddress, UnixAddress

BACKLOG: Final = 1024
ABSENT: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""What binding one of several addresses of a name may meet where IPv6 is switched off."""

Place = tuple[socket.AddressFamily, Any]
"""A family, and an address as `bind` takes it."""


class SocketFile:
    """The file of a socket that was made here, or was taken over."""

    def __init__(self, path: str) -> None:
        """Raises OSError when it is not there."""
        self._path = Path(path)
        self._was = self._path.stat()

    def remove(self) -> None:
        """Unless it is somebody else's by now."""
        with contextlib.suppress(OSError):
            if os.path.samestat(self._path.stat(), self._was):
                self._path.unlink()


class Listening:
    """The bound sockets of one address; `address` is it, with the port the system chose for 0."""

    def __init__(self, sockets: list[socket.socket], address: TcpAddress | UnixAddress) -> None:
        self.sockets = sockets
        self.address = address
        self._file = SocketFile(address.path) if isinstance(address, UnixAddress) else None

    def close(self) -> None:
        """Give up the sockets, and the file unless it is somebody else's by now."""
        for each in self.sockets:
            each.close()
        if self._file is not None:
            self._file.remove()
            self._file = None

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_listening(address: TcpAddress | UnixAddress, socket_mode: int) -> Listening:
    """Bind to an address and listen. Raises OSError; EADDRINUSE when somebody listens there.

    Listening at once, and not when somebody accepts: only then is it certain that the address is free.
    """
    if isinstance(address, UnixAddress):
        return Listening([listen_at_file(address.path, socket_mode)], address)
    sockets: list[socket.socket] = []
    port, absent = address.port, None
    try:
        for family, where in places_of(address):
            try:
                sockets.append(listen_at(family, (where[0], port, *where[2:])))
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
                absent = error
                continue
            port = sockets[-1].getsockname()[1]  # a name of several addresses, and port 0: the same for all
    except OSError:
        for each in sockets:
            each.close()
        raise
    if not sockets:
        raise absent or OSError(errno.EADDRNOTAVAIL, "the name has no address")
    return Listening(sockets, TcpAddress(sockets[0].getsockname()[0], port))


def places_of(address: TcpAddress | UnixAddress) -> list[Place]:
    """What an address of the configuration stands for; a name may stand for several. Raises OSError."""
    if isinstance(address, UnixAddress):
        return [(socket.AF_UNIX, address.path)]
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, where) for family, _, _, _, where in found))


def bind(family: socket.AddressFamily, where: Any, *, reuse_port: bool = False) -> socket.socket:
    """A TCP socket that is bound and does not listen yet. Raises OSError."""
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # `::` is every address, as people expect who write it: IPv4 clients come as ::ffff:a.b.c.d.
            every = ip_address(where[0].partition("%")[0]).is_unspecified
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if every else 1)
        made.bind(where)
    except OSError:
        made.close()
        raise
    return made


def listen_at(family: socket.AddressFamily, where: Any) -> socket.socket:
    """A TCP socket that listens. Raises OSError; EADDRINUSE when somebody listens there."""
    made = bind(family, where)
    try:
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def listen_at_file(path: str, mode: int) -> socket.socket:
    """A socket that listens at a file, whose mode tells who may connect. Raises OSError."""
    _remove_stale(Path(path))
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(path)
        Path(path).chmod(mode)  # nobody can connect before it is listened on, so nobody slips in before this
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _remove_stale(path: Path) -> None:
    """Remove the socket file of a process that is gone. Raises OSError when it is not gone, or the file is no socket."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.EEXIST, "there is a file of that name, and it is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError:  # a full queue, or not ours to connect to: somebody is there
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
