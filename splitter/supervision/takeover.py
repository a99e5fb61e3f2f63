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

from splitter.rendezvous import Orphan
from splitter.supervision.holders import command_of, holders, listening_inodes
from splitter.supervision.sockets import Address, Listening, places_of

_FIRST_S: Final = 2.0
"""For the first to knock; they do so ten times a second."""
_ALL_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.05
WORKER_MODULE: Final = "splitter.worker"


async def open_listening(address: Address, slots: int, knocking: asyncio.Queue[Orphan]) -> tuple[Listening, list[Orphan]]:
    """The sockets for so many slots, and the orphans they were taken from, if any. Raises OSError."""
    listening = Listening(address)
    try:
        listening.open(slots)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        orphans = await _gather(address, knocking)
        listening = Listening(address, [sock for orphan in orphans for sock in orphan.sockets])
        listening.open(slots)
        return listening, orphans
    return listening, []


async def _gather(address: Address, knocking: asyncio.Queue[Orphan]) -> list[Orphan]:
    """Every process that accepts at the address, once it has knocked; one that does not is stuck, and killed.

    Raises OSError when it is not only workers that accept there.
    """
    log = structlog.get_logger()
    places = places_of(address)
    orphans: list[Orphan] = []
    started_s = time.monotonic()
    while True:
        inodes = {inode for place in places for inode in listening_inodes(*place)}
        missing = holders(inodes) - {orphan.pid for orphan in orphans} - {os.getpid()}
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


def _end_stuck(pids: set[int]) -> None:
    for pid in pids:
        structlog.get_logger().error("orphan_stuck", pid=pid, what="it does not answer its new supervisor: killed")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
