"""The data plane of a worker alone in its process, so that only what requests cost is counted: `... CONFIG`.

Must not know: who loads it, what is counted. Invariants: it carries traffic by the same `Carrier` as a worker of the
supervisor, set up in the same order; nothing else runs in it, no probes, no totals told four times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import uvloop

from splitter.carrier import Carrier, keep_freed_memory, settle
from splitter.config import Config, parse
from splitter.control.table import table_of
from splitter.logs import configure
from splitter.snapshot import Snapshot
from splitter.tasks import Tasks


async def serve(config: Config) -> None:
    """Until SIGTERM. Raises OSError."""
    tasks = Tasks(lambda name, error: print(f"{name}: {error!r}", file=sys.stderr))
    carrier = Carrier(config, "/nowhere", Snapshot(table_of(config)), tasks)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((config.listen.host, config.listen.port))
        carrier.serve(sock)
        settle()
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        await stopped.wait()
        with contextlib.suppress(asyncio.CancelledError):
            await tasks.close()


def main() -> int:
    keep_freed_memory()
    logs = configure("info", terminal=False)
    try:
        uvloop.run(serve(parse(Path(sys.argv[1]).read_text(), sys.argv[1], {})))
    finally:
        logs.output.close()
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
