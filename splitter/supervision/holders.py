"""What the kernel tells of listening sockets: which there are at an address, and which processes have them.

Owns: reading that from /proc. Must not know: why anybody asks.
Invariant: asking changes nothing; an answer is about this moment, and about processes of this user only.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

_LISTEN: Final = "0A"
"""The state in /proc/net/tcp (proc(5))."""
_ACCEPTS: Final = 0x10000
"""The flag of a listening socket in /proc/net/unix."""


def listening_inodes(family: socket.AddressFamily, address: Any) -> set[int]:
    """The sockets that listen at exactly this address: what `getsockname` gives, host and port or a path."""
    if family is socket.AF_UNIX:
        return _unix_inodes(str(address))
    table = "/proc/net/tcp6" if family is socket.AF_INET6 else "/proc/net/tcp"
    wanted = f"{_hexadecimal(family, address[0])}:{address[1]:04X}"
    inodes = set()
    for line in _lines(table):
        # sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
        words = line.split()
        if words[1] == wanted and words[3] == _LISTEN:
            inodes.add(int(words[9]))
    return inodes


def _hexadecimal(family: socket.AddressFamily, host: str) -> str:
    """As the kernel prints it: words of 32 bits in the byte order of the machine."""
    packed = socket.inet_pton(family, host.partition("%")[0])
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


def _unix_inodes(path: str) -> set[int]:
    inodes = set()
    for line in _lines("/proc/net/unix"):
        # Num RefCount Protocol Flags Type St Inode Path
        words = line.split(maxsplit=7)
        if len(words) == 8 and words[7] == path and int(words[3], 16) & _ACCEPTS:
            inodes.add(int(words[6]))
    return inodes


def _lines(table: str) -> list[str]:
    return Path(table).read_text(encoding="utf-8", errors="surrogateescape").splitlines()[1:]


def holders(inodes: Collection[int]) -> set[int]:
    """The processes that have one of these sockets open."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()) in wanted for link in (process / "fd").iterdir()):
                found.add(int(process.name))
        except OSError:  # it ended meanwhile, or belongs to another user
            continue
    return found


def command_of(pid: int) -> str:
    """Its command line; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
