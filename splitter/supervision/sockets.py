"""The sockets clients connect to: opened before anything else, kept as long as the supervisor lives.

Owns: which there are, how they are shared out over slots. Must not know: who accepts on them, and when.
Invariants: a socket that was opened is never closed while the splitter serves, so a connection in its queue outlives every
worker; each slot accepts on at least one socket for every address, and every socket is some slot's.

A slot has sockets of its own (SO_REUSEPORT), so that workers neither race for connections nor wake up for nothing. With
fewer slots than sockets, as after `listen.workers` shrank, slots get several: a socket of such a group that is closed, or
that nobody accepts on, loses the connections the kernel has put into its queue. A socket file is one for all slots.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from splitter.config import Listen, TcpAddress, UnixAddress
from splitter.listening import ABSENT, Place, SocketFile, bind, listen_at, listen_at_file, places_of

Address = TcpAddress | UnixAddress


class SlotSockets:
    """All of them. `address` is where clients connect, with the port the system chose when 0 was asked for."""

    def __init__(self, listen: Listen, adopted: Sequence[socket.socket] = ()) -> None:
        """`adopted`: sockets of an earlier supervisor. Raises OSError when the address can't be looked up."""
        self.address: Address = listen.address
        self._listen = listen
        self._sockets: dict[Place, list[socket.socket]] = {place: [] for place in places_of(listen.address)}
        self._file: SocketFile | None = None
        self.adopt(adopted)

    def adopt(self, sockets: Sequence[socket.socket]) -> bool:
        """Keep those that are bound to the same address, each once, and close the others; whether any was new."""
        found = False
        for sock in sockets:
            have = self._sockets.get(_place_of(sock))
            if have is None or _inode(sock) in {_inode(other) for other in have}:
                sock.close()
            else:
                have.append(_unblocking(sock))
                found = True
        return found

    def open(self, slots: int) -> None:
        """Open what is missing for so many slots. Raises OSError, and nothing has changed then."""
        opened: list[socket.socket] = []
        every: list[list[socket.socket]] = []
        absent: OSError | None = None
        try:
            for place, have in self._sockets.items():
                try:
                    every.append([*have, *self._missing(place, len(have), slots, opened)])
                except OSError as error:
                    if error.errno not in ABSENT or len(self._sockets) == 1:
                        raise
                    absent = error
            if not every and absent is not None:
                raise absent
        except OSError:
            for sock in opened:
                sock.close()
            raise
        self._sockets = {_place_of(have[0]): have for have in every}
        if isinstance(self.address, UnixAddress):
            self._file = self._file or SocketFile(self.address.path)
        elif self.address.port == 0:
            self.address = TcpAddress(self.address.host, every[0][0].getsockname()[1])

    def _missing(self, place: Place, have: int, slots: int, opened: list[socket.socket]) -> list[socket.socket]:
        """New sockets for one place; each is in `opened` too. Raises OSError."""
        family, where = place
        before = len(opened)
        if family is socket.AF_UNIX:
            if not have:
                opened.append(_unblocking(listen_at_file(where, self._listen.socket_mode)))
            return opened[before:]
        if where[1] == 0 and opened:  # a name of several addresses: the same port for all
            where = (where[0], opened[0].getsockname()[1], *where[2:])
        if not have and not self._listen.reuse_port:
            listen_at(family, where).close()  # with SO_REUSEPORT alone, we would silently share the port
        for _ in range(slots - have):
            opened.append(_unblocking(bind(family, where, reuse_port=True)))
            where = opened[-1].getsockname()  # the same, or with the port the system chose
        return opened[before:]

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
        if self._file is not None:
            self._file.remove()
            self._file = None


def _place_of(sock: socket.socket) -> Place:
    return socket.AddressFamily(sock.family), sock.getsockname()


def _unblocking(sock: socket.socket) -> socket.socket:
    """Nobody is ever to wait in `accept`; it is a mark that the workers' ends have in common with ours."""
    sock.settimeout(0)
    return sock


def _inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino
