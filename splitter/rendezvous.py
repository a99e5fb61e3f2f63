"""Where a supervisor and the workers that an earlier one left behind find each other.

Owns: the name of the place, who may be there, the first words and the sockets that pass there.
Must not know: what a worker does, what a supervisor does with the sockets.
Invariants: at most one process holds the place of an address, as long as it lives and not longer; nothing is given to, or
taken from, a process of another user.

The place is a unix socket in the abstract namespace (unix(7)): it is gone with the process that holds it, leaves no file,
and belongs to the network namespace, as the port does. The first words and `drain` never change, so that workers of an
older version can be met and sent home.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from splitter.channel import LENGTH_BYTES, FrameError, Framer, encode

VERSION: Final = 1
"""Of what supervisor and workers say to each other."""
_CREDENTIALS: Final = struct.Struct("3i")
_INTRODUCTION_BYTES: Final = 4096
_AGAIN_S: Final = 1.0
_MOST_SOCKETS: Final = 253
"""SCM_MAX_FD of Linux."""


def name_of(address: str, number: int = 0) -> str:
    """The place for an address to listen on; of this user only. With `listen.reuse_port` there are several."""
    digest = hashlib.sha256(f"{address} {number}".encode()).hexdigest()[:32]
    return f"\0camera-splitter-{os.geteuid()}-{digest}"


def _peer(sock: socket.socket) -> tuple[int, int]:
    """Process and user at the other end (SO_PEERCRED)."""
    pid, uid, _gid = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


def knock(name: str, introduction: dict[str, Any], sockets: Sequence[socket.socket]) -> socket.socket | None:
    """Hand these sockets to the supervisor at the place; the connection to it, or None when nobody is there."""
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):  # nobody there, or too many at the door
        sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        sock.settimeout(0)
        sock.connect(name)
        if _peer(sock)[1] == os.geteuid():
            words = encode({"type": "orphan", "version": VERSION, **introduction})
            socket.send_fds(sock, [words], [other.fileno() for other in sockets[:_MOST_SOCKETS]])
            stack.pop_all()
            return sock
    return None


@dataclass(frozen=True, slots=True)
class Orphan:
    """A worker without a supervisor that knocked: its connection, who it is, the sockets it accepts on."""

    channel: socket.socket
    pid: int
    version: int
    slot: int
    generation: int
    draining: bool
    sockets: tuple[socket.socket, ...]


class TakenError(Exception):
    """Another supervisor, which is alive, has the address; or another user's process has the place."""


class Rendezvous:
    """The place, held. `on_orphan` hears of every worker that knocks."""

    def __init__(self, name: str, on_orphan: Callable[[Orphan], None]) -> None:
        """Raises TakenError."""
        self.on_orphan = on_orphan
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._sock.bind(name)
        except OSError:
            self._sock.close()
            raise TakenError from None
        self._sock.settimeout(0)
        self._sock.listen(64)
        self._at_the_door: set[socket.socket] = set()
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        self._open()

    def _open(self) -> None:
        self._loop.add_reader(self._sock.fileno(), self._on_knock)

    def close(self) -> None:
        """Leave the place to the next."""
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for sock in self._at_the_door:
            self._loop.remove_reader(sock.fileno())
            sock.close()

    def _on_knock(self) -> None:
        try:
            sock, _ = self._sock.accept()
        except OSError:  # no descriptor is left: looking again at once would only keep this process busy
            self._loop.remove_reader(self._sock.fileno())
            self._again = self._loop.call_later(_AGAIN_S, self._open)
            return
        if _peer(sock)[1] != os.geteuid():
            sock.close()
            return
        sock.settimeout(0)
        self._at_the_door.add(sock)
        self._loop.add_reader(sock.fileno(), self._on_words, sock)

    def _on_words(self, sock: socket.socket) -> None:
        self._loop.remove_reader(sock.fileno())
        self._at_the_door.discard(sock)
        orphan = _read_introduction(sock)
        if orphan is None:
            sock.close()
        else:
            self.on_orphan(orphan)


def _read_introduction(sock: socket.socket) -> Orphan | None:
    """What `knock` sent: one write of little, so it comes in one piece. What the worker says next is left unread."""
    fds: list[int] = []
    try:
        length, fds, _flags, _address = socket.recv_fds(sock, LENGTH_BYTES, _MOST_SOCKETS)
        for fd in fds:
            os.set_inheritable(fd, False)  # noqa: FBT003 - it takes no keyword
        size = int.from_bytes(length, "big")
        if size > _INTRODUCTION_BYTES:
            raise FrameError("an introduction is short")
        (words,) = Framer().feed(length + sock.recv(size))
        return Orphan(
            channel=sock,
            pid=_peer(sock)[0],
            version=int(words["version"]),
            slot=int(words["slot"]),
            generation=int(words["generation"]),
            draining=bool(words["draining"]),
            sockets=tuple(socket.socket(fileno=fd) for fd in fds),
        )
    except (OSError, FrameError, KeyError, TypeError, ValueError):
        for fd in fds:
            os.close(fd)
        return None
