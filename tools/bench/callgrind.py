"""Instructions that a proxy takes for a request, counted by valgrind's callgrind.

Owns: running a proxy under it, a load that is the same each time, reading the count. Must not know: what is compared.
Invariants: only requests are counted, not the start; the same program and work give the same number within a percent,
however busy the machine is: that is what instructions are for. What the kernel does for the proxy is not in it.
"""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tools.bench import peers
from tools.bench.proxies import Nginx, Peer, Splitter, program
from tools.bench.templates import PeerError, Place, fill
from tools.bench.work import Setup, Work

_CONTROL_S: Final = 60.0
_ANSWER_S: Final = 120.0
_TOTALS: Final = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)
_LENGTH: Final = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)
USERS: Final = 100

Change = Callable[[str], str]
"""What is done to the splitter's configuration before it is started."""


def _under_callgrind(command: Sequence[str], place: Place) -> list[str]:
    out = place.work / "callgrind.out"
    # Its own part of the work is not counted: translating begins with the first load, and counting with the second.
    return [program("valgrind"), "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", *command]


class CountedSplitter(Splitter):
    """A worker of the splitter, alone in its process."""

    def __init__(self, change: Change = lambda text: text) -> None:
        self._change = change

    def command(self, place: Place) -> list[str]:
        file = fill("splitter.yaml", place)
        file.write_text(self._change(file.read_text()))
        return _under_callgrind([sys.executable, "-m", "tools.bench.lone_worker", str(file)], place)

    def environment(self, place: Place) -> dict[str, str]:
        return super().environment(place) | {"PYTHONHASHSEED": "0"}


class CountedNginx(Nginx):
    """nginx's worker, alone in its process."""

    def command(self, place: Place) -> list[str]:
        return _under_callgrind([*super().command(place), "-g", "master_process off;"], place)


def count(peer: Peer, setup: Setup, work: Work, requests: int, folder: Path, users: int = USERS) -> float:
    """Instructions for one request of this work, by so many users in turn. Raises PeerError."""
    with ExitStack() as stack:
        folder.mkdir(parents=True)
        backends = peers.start_backends(stack, folder, ())
        running = peers.start(stack, peer, backends, folder / peer.name, (), setup)
        port, profile = running.place.proxy, running.place.work / "callgrind.out.1"
        ask(port, setup, work, 3 * USERS)  # connections, remembered heads, specialised bytecode
        _control(running.pid, "-i", "on")
        ask(port, setup, work, 2 * USERS)
        _control(running.pid, "-z")
        ask(port, setup, work, requests, users, first_user=users // 2)
        _control(running.pid, "-d")
        return read(profile) / requests


def read(profile: Path) -> int:
    """The instructions in a dump of callgrind. Raises PeerError."""
    found = _TOTALS.search(profile.read_text()) if profile.exists() else None
    if found is None:
        raise PeerError(f"callgrind wrote no count to {profile}")
    return int(found[1])


def _control(pid: int, *what: str) -> None:
    command = [program("callgrind_control"), *what, str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_CONTROL_S, check=False)
    if done.returncode != 0 or "Error" in done.stdout + done.stderr:
        raise PeerError(f"{' '.join(command)}: {done.stdout}{done.stderr}")


def _request(work: Work, user: int) -> bytes:
    """With the eight fields of load.lua."""
    body = b"x" * work.body_bytes
    return (
        b"%b %b HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36\r\n"
        b"Accept: application/json, text/plain, */*\r\nAccept-Language: en-GB,en;q=0.9,zh;q=0.8\r\n"
        b"Accept-Encoding: gzip, deflate, br\r\nReferer: http://cameras.example/dashboard\r\n"
        b"Cookie: session_id=4f2a9c61d7e84b0f; theme=dark\r\nX-User-Id: user-%d\r\n%b\r\n%b"
        % (
            b"POST" if body else b"GET",
            work.path.encode(),
            user,
            b"Content-Length: %d\r\n" % len(body) if body else b"Connection: close\r\n" if work.new_connections else b"",
            body,
        )
    )


def _connect(port: int, setup: Setup) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_S)
    if not setup.tls:
        return sock
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is the one made a moment ago
    return context.wrap_socket(sock)


def ask(
    port: int, setup: Setup, work: Work, requests: int, users: int = USERS, first_user: int = 0, connections: int = 16
) -> None:
    """So many requests, `connections` at a time: all are sent before the first answer is read. Raises PeerError."""
    kept: list[socket.socket] = []
    try:
        for first in range(0, requests, connections):
            turn = range(first, min(first + connections, requests))
            while len(kept) < len(turn):
                kept.append(_connect(port, setup))
            for number, sock in zip(turn, kept, strict=False):
                sock.sendall(_request(work, (first_user + number) % users))
            for _, sock in zip(turn, kept, strict=False):
                _read_answer(sock)
            if work.new_connections:
                for sock in kept:
                    sock.close()
                kept.clear()
    finally:
        for sock in kept:
            sock.close()


def _read_answer(sock: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _receive(sock)
    head, _, body = data.partition(b"\r\n\r\n")
    length = _LENGTH.search(head + b"\r\n")
    if not head.startswith(b"HTTP/1.1 200 ") or length is None:
        raise PeerError(f"answered {head!r}")
    left = int(length[1]) - len(body)
    while left > 0:
        left -= len(_receive(sock))


def _receive(sock: socket.socket) -> bytes:
    data = sock.recv(1 << 20)
    if not data:
        raise PeerError("the proxy closed in the middle of an answer")
    return data
