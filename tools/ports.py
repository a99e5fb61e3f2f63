"""Can a TCP port be listened on, and if not, who has it.

Owns: reading that from the kernel (bind(2), /proc). Must not know: who wants the port.
Invariant: asking changes nothing; an answer is about this moment only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

_LISTEN = "0A"  # the state in /proc/net/tcp


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        port: int = server.getsockname()[1]
    return port


def free_port_above(port: int, host: str = "127.0.0.1") -> int:
    """A free port that a person can remember: 8100 where 8000 is taken."""
    memorable = (candidate for candidate in range(port + 100, 65536, 100) if obstacle(host, candidate) is None)
    return next(memorable, None) or free_port(host)


def obstacle(host: str, port: int) -> str | None:
    """Why `host:port` can't be listened on, as the end of a sentence ("is in use by nginx (pid 7)"); None if it can."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        return f"can't be listened on: {host}: {error.strerror}"
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port in TIME_WAIT is free
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"is in use by {holder(port) or 'another process'}"
            if error.errno == errno.EACCES:
                return "is reserved for root (ports below 1024 are)"
            return f"can't be listened on: {host}: {os.strerror(error.errno or 0)}"
    return None


def holder(port: int) -> str | None:
    """The process that listens on a port, as `name (pid N)`; None where /proc doesn't tell, as with another user's."""
    for pid in pids_listening(port):
        with contextlib.suppress(OSError):  # it ended meanwhile
            return f"{_name(Path('/proc') / str(pid))} (pid {pid})"
    return None


def pids_listening(port: int) -> list[int]:
    """The processes that have a listening socket of this port open, as far as /proc tells."""
    inodes = _listening_inodes(port)
    wanted = {f"socket:[{inode}]" for inode in inodes}
    found = []
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        with contextlib.suppress(OSError):  # it ended meanwhile, or belongs to another user
            if any(str(link.readlink()) in wanted for link in (process / "fd").iterdir()):
                found.append(int(process.name))
    return sorted(found)


def command_line(pid: int) -> list[str]:
    """What a process was started with. Raises OSError."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")


def _name(process: Path) -> str:
    """What a person would call it: `python -m splitter` says more than `python3`."""
    words = command_line(int(process.name))
    return " ".join(words[:3]).strip() or (process / "comm").read_text().strip()


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            # sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode (proc(5))
            _, local, _, state, *rest = line.split()
            if state == _LISTEN and int(local.rpartition(":")[2], 16) == port:
                inodes.add(rest[5])
    return inodes
