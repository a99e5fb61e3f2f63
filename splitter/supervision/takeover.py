"""Taking over from a supervisor that was killed: its workers go on, and this one gets their sockets.

Owns: telling living splitters, orphans and strangers at the address apart; waiting for every orphan.
Must not know: what becomes of orphans afterwards.
Invariant: when sockets are returned, no process but the orphans returned accepts at the address: one that was left out would
go on deciding by a snapshot that nobody can change any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import time
from typing import Final

import structlog

from splitter.config import Listen
from splitter.listening import places_of
from splitter.rendezvous import Orphan
from splitter.supervision.holders import command_of, holders, listening_inodes
from splitter.supervision.sockets import Address, SlotSockets

_FIRST_S: Final = 2.0
"""For the first to knock; they do so ten times a second."""
_ALL_S: Final = 5.0
_KNOCK_S: Final = 0.3
_LOOK_EVERY_S: Final = 0.05
WORKER_MODULE: Final = "splitter.worker"


async def open_sockets(listen: Listen, slots: int, knocking: asyncio.Queue[Orphan]) -> tuple[SlotSockets, list[Orphan]]:
    """The sockets for so many slots, and the orphans they were taken from, if any. Raises OSError."""
    sockets = SlotSockets(listen)
    try:
        sockets.open(slots)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        orphans = await _gather(listen.address, knocking)
        sockets = SlotSockets(listen, [sock for orphan in orphans for sock in orphan.sockets])
        sockets.open(slots)
        return sockets, orphans
    if listen.reuse_port and _inodes(listen.address):
        # Others may listen here, and who they are can't be told; if workers of ours are among them, they knock now.
        await asyncio.sleep(_KNOCK_S)
    return sockets, []


async def _gather(address: Address, knocking: asyncio.Queue[Orphan]) -> list[Orphan]:
    """Every process that accepts at the address, once it has knocked; one that does not is stuck, and killed.

    Raises OSError when it is not only workers that accept there.
    """
    log = structlog.get_logger()
    orphans: list[Orphan] = []
    started_s = time.monotonic()
    while True:
        missing = holders(_inodes(address)) - {orphan.pid for orphan in orphans} - {os.getpid()}
        if not missing:
            log.info("taking_over", listen=str(address), workers=[orphan.pid for orphan in orphans])
            return orphans
        # A supervisor that is alive has its workers' sockets open too: then this refuses, as for any other program.
        if not all(WORKER_MODULE in command for pid in missing if (command := command_of(pid))):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        if time.monotonic() - started_s > (_ALL_S if orphans else _FIRST_S):
            _end_stuck(missing)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_EVERY_S):
                orphans.append(await knocking.get())


def _inodes(address: Address) -> set[int]:
    """Of all sockets that listen there."""
    return {inode for place in places_of(address) for inode in listening_inodes(*place)}


def _end_stuck(pids: set[int]) -> None:
    for pid in pids:
        structlog.get_logger().error("orphan_stuck", pid=pid, what="it does not answer its new supervisor: killed")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
