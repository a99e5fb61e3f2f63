"""The sockets clients connect to: opened before anything else, kept as long as the supervisor lives.

Owns: binding them, how they are shared out over slots. Must not know: who accepts on them, and when.
Invariants: a socket that was opened is never closed while the splitter serves, so a connection in its queue outlives every
worker; each slot accepts on at least one socket for every address, and every socket is some slot's.

A slot has sockets of its own (SO_REUSEPORT), so that workers neither race for connections nor wake up for nothing. With
fewer slots than sockets, as after `listen.workers` shrank, slots get several: a socket of such a group that is closed, or
that nobody accepts on, loses the connections the kernel has put into its queue. A unix socket is one for all slots.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from splitter.config import TcpAddress, UnixAddress

Address = TcpAddress | UnixAddress
Place = tuple[socket.AddressFamily, Any]
"""A family, and an address as `bind` takes it."""


def places_of(address: Address) -> list[Place]:
    """What an address of the configuration stands for; a name may stand for several. Raises OSError."""
    if isinstance(address, UnixAddress):
        return [(socket.AF_UNIX, address.path)]
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    places: list[Place] = [(family, where) for family, _type, _protocol, _name, where in found]
    return list(dict.fromkeys(places))


class Listening:
    """All of them. `address` is where clients connect, with the port the system chose when 0 was asked for."""

    def __init__(self, address: Address, adopted: Sequence[socket.socket] = ()) -> None:
        """`adopted`: sockets of an earlier supervisor, bound to the same address."""
        self.address = address
        self._sockets: dict[Place, list[socket.socket]] = {place: [] for place in places_of(address)}
        for sock in adopted:
            self._adopt(sock)

    def _adopt(self, sock: socket.socket) -> None:
        have = self._sockets.get(_place_of(sock))
        inodes = {_inode(other) for other in have or ()}
        if have is None or _inode(sock) in inodes:
            sock.close()
        else:
            have.append(sock)

    def open(self, slots: int) -> None:
        """Open what is missing for so many slots. Raises OSError, and nothing has changed then."""
        opened: dict[Place, list[socket.socket]] = {}
        try:
            for place, have in self._sockets.items():
                opened[place] = []
                for sock in _missing(place, have, slots):
                    opened[place].append(sock)
        except OSError:
            for more in opened.values():
                for sock in more:
                    sock.close()
            raise
        every = [[*have, *opened[place]] for place, have in self._sockets.items()]
        self._sockets = {_place_of(have[0]): have for have in every}
        if isinstance(self.address, TcpAddress) and self.address.port == 0:
            self.address = TcpAddress(*next(iter(self._sockets))[1][:2])

    def share(self, slots: int) -> list[list[socket.socket]]:
        """For each slot the sockets it accepts on."""
        shares: list[list[socket.socket]] = [[] for _ in range(slots)]
        for have in self._sockets.values():
            for number in range(max(slots, len(have))):
                shares[number % slots].append(have[number % len(have)])
        return shares

    def close(self) -> None:
        """Accept no more: what a worker still has open it closes itself."""
        for have in self._sockets.values():
            for sock in have:
                sock.close()
            have.clear()


def _place_of(sock: socket.socket) -> Place:
    return socket.AddressFamily(sock.family), sock.getsockname()


def _missing(place: Place, have: Sequence[socket.socket], slots: int) -> Iterator[socket.socket]:
    """New sockets for one place, so that there are enough for so many slots. Raises OSError."""
    family, where = place
    if family is socket.AF_UNIX:
        if not have:
            yield _bind_unix(where)
        return
    if not have:
        _check_free(family, where)
    for _ in range(slots - len(have)):
        sock = _bind(family, where, socket.SO_REUSEPORT)
        yield sock
        where = sock.getsockname()  # the same, or with the port the system chose


def _inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


def _bind(family: socket.AddressFamily, where: Any, *options: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in (socket.SO_REUSEADDR, *options):
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        if family is socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
    except OSError:
        sock.close()
        raise
    return sock


def _check_free(family: socket.AddressFamily, where: Any) -> None:
    """That nobody listens there: with SO_REUSEPORT alone, we would silently share the port. Raises OSError."""
    _bind(family, where).close()


def _bind_unix(path: str) -> socket.socket:
    """A socket file; one that nobody listens on any more is replaced. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(Path(path).stat().st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(path) != errno.ECONNREFUSED:
                    raise OSError(errno.EADDRINUSE, "Address already in use")
            Path(path).unlink()
    return _bind(socket.AF_UNIX, path)
