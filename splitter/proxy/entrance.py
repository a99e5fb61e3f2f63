"""The connections from clients: accepting them while there is room, ending them when the plane stops.

Owns: the listening sockets, the set of connections, the limit on their number.
Must not know: what is said on a connection, where requests go.
Invariants:
- there are never more connections than the limit: with none to spare nothing is accepted, and new clients wait in the
  kernel's queue; connections that nobody uses are given up for them, as nginx does;
- no error of `accept` ends the listening or spins: it waits a moment and goes on with the connections there are;
- on a stop whoever the kernel has let in is served.

The loop's own servers would not do: uvloop's can't pause, closes a listening socket for good at the first error, and
answers EMFILE by accepting clients to hang up on them. Accepting here costs 6 µs more for each connection.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import heapq
import socket
import struct
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from splitter.routing import Backend
from splitter.tasks import Tasks

_BATCH: Final = 64
"""Connections accepted before anything else gets its turn."""

_PART: Final = 16
"""A sixteenth of the limit has to be free before accepting goes on: stopping and starting costs two system calls."""

_UNUSED_S: Final = 1.0
"""After so much silence a connection may be given up: the client's next request is not likely to be on its way."""

_WAIT_S: Final = 0.5
_COMPLAIN_EVERY_S: Final = 10.0
_HANDSHAKE_S: Final = 0.3
"""How long a client may take for its part of the TCP handshake after the first packet: one round trip."""

_PASSING: Final = frozenset({errno.EINTR, errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN,
                             errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH,
                             errno.EOPNOTSUPP})  # fmt: skip
"""Errors of one connection that `accept` tells of (accept(2)): the next one may be well."""

_SO_ATTACH_FILTER: Final = 26
_NO_SYN: Final = (
    (0x30, 0, 0, 13),  # the flags of the TCP header
    (0x45, 0, 1, 0x02),  # SYN among them?
    (0x06, 0, 0, 0),  # then drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # else take it
)
"""Classic BPF for a listening socket (socket(7)): no new client, but the handshakes under way are completed."""


class Connection(Protocol):
    """One client's, in whatever stage."""

    def busy(self) -> bool:
        """Whether something would be lost by closing now."""

    def idle_s(self) -> float:
        """For how long nothing has happened on a connection that nobody needs; 0 for any other."""

    def set_deadline(self, after_s: float) -> None: ...
    def leave(self, backend: Backend) -> None:
        """End what streams from this backend."""

    def close(self) -> None: ...
    def abort(self) -> None: ...


class Entrance:
    """See the top of the file. `accept` makes the protocol of a new connection, which then calls `add` and `remove`."""

    def __init__(
        self, accept: Callable[[], asyncio.Protocol], tasks: Tasks, clock: Callable[[], float], max_connections: int
    ) -> None:
        self._make = accept
        self._tasks = tasks
        self._clock = clock
        self._most = max_connections
        self._resume_at = max_connections - max(1, max_connections // _PART)
        self._sockets: list[socket.socket] = []
        self._paused = False
        self._closing = False
        self._retry: asyncio.TimerHandle | None = None
        self._complained_s = -_COMPLAIN_EVERY_S
        self._beginning = 0
        self.connections: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    # --- connections ---

    def add(self, connection: Connection) -> None:
        self.connections.add(connection)
        self._empty.clear()

    def remove(self, connection: Connection) -> None:
        self.connections.discard(connection)
        count = self._count()
        if not count:
            self._empty.set()
        if self._paused and count <= self._resume_at:
            self._resume()

    def _count(self) -> int:
        return len(self.connections) + self._beginning

    # --- accepting ---

    def listen(self, listening: socket.socket) -> None:
        """Accept on a socket that listens, from now until `close`, which closes it."""
        listening.settimeout(0)
        self._sockets.append(listening)
        if not self._paused:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> bool:
        """Take a few of those who wait; whether there may be more."""
        for _ in range(_BATCH):
            if self._count() >= self._most:
                if self._beginning:
                    return False  # some of them are counted twice; this is called again at once
                self._pause()
                self._complain("connections_full", limit=self._most)
                self._make_room()
                return False
            try:
                connection, _ = listening.accept()
            except OSError as error:
                if error.errno in _PASSING:
                    continue
                if error.errno != errno.EAGAIN:
                    self._wait(error)
                return False
            connection.settimeout(0)
            self._beginning += 1
            self._empty.clear()
            self._tasks.start(self._begin(connection), "accept")
        return True

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._make, connection)
        except OSError:
            connection.close()  # the client was gone before it began
        finally:
            self._beginning -= 1
            if not self._count():
                self._empty.set()

    def _wait(self, error: OSError) -> None:
        """Out of files or memory: others may give some back."""
        self._pause()
        self._complain("accept_failed", error=error.strerror or str(error), connections=len(self.connections))
        self._make_room()
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(_WAIT_S, self._again)

    def _again(self) -> None:
        self._retry = None
        self._resume()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            loop = asyncio.get_running_loop()
            for listening in self._sockets:
                loop.remove_reader(listening)

    def _resume(self) -> None:
        if self._paused and self._retry is None:
            self._paused = False
            loop = asyncio.get_running_loop()
            for listening in self._sockets:
                loop.add_reader(listening, self._accept, listening)

    def _make_room(self) -> None:
        """Close the connections nobody has used for longest, as many as accepting needs to go on."""
        idle = [(idle_s, one) for one in self.connections if (idle_s := one.idle_s()) >= _UNUSED_S]
        for _, connection in heapq.nlargest(max(1, self._most // _PART), idle, key=lambda found: found[0]):
            connection.close()

    def _complain(self, event: str, **what: object) -> None:
        now_s = self._clock()
        if now_s - self._complained_s >= _COMPLAIN_EVERY_S:
            self._complained_s = now_s
            structlog.get_logger().warning(event, **what)

    # --- the stop ---

    async def close(self, *, for_good: bool) -> None:
        """Accept nobody any more. `for_good`: nobody else will on these sockets, so whoever the kernel let in is taken."""
        if self._closing:
            return
        self._closing = True
        turned_away = [_turn_away(listening) for listening in self._sockets if for_good]
        if any(turned_away):
            await asyncio.sleep(_HANDSHAKE_S)
        loop = asyncio.get_running_loop()
        sockets, self._sockets = self._sockets, []
        for listening in sockets:
            while for_good and not self._paused and self._accept(listening):
                pass
            loop.remove_reader(listening)
            listening.close()
        if self._retry is not None:
            self._retry.cancel()

    async def empty(self) -> None:
        """Returns when no connection is left."""
        await self._empty.wait()


def _turn_away(listening: socket.socket) -> bool:
    """Let the first packets of new clients be lost if other processes listen at the same port; whether that was done.

    Closing a socket resets the connections in its queue, and between a look at the queue and the close there may come
    more: SO_REUSEPORT has given them to this socket, not to the others. A client whose first packet was lost sends it again
    within a second, and then finds one of the others.
    """
    if listening.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    if not listening.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT):
        return False
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _NO_SYN)
    buffer = ctypes.create_string_buffer(code)
    try:
        program = struct.pack("HP", len(_NO_SYN), ctypes.addressof(buffer))
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        return False  # a kernel that is none of Linux
    return True
