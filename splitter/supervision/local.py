"""`workers: 0`: the data plane in the supervisor's own process and loop, for tests and debugging.

Owns: a carrier behind the face of a worker. Must not know: who publishes.
Invariant: what a worker promises; what a process confirms by a message is here the return of a call.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from splitter.carrier import Carrier
from splitter.errors import SplitterError
from splitter.snapshot import Death, WorkerState
from splitter.supervision.member import Edition, Listener, Task, Worker
from splitter.tasks import Tasks


class LocalWorker(Worker):
    """One data plane, no process."""

    def __init__(self, slot: int, task: Task, sockets: Sequence[socket.socket], listener: Listener, tasks: Tasks) -> None:
        super().__init__(slot, task.generation, listener)
        self.pid = os.getpid()
        self._task = task
        self._tasks = tasks
        self._sockets = [sock.dup() for sock in sockets]  # ours stay open when the plane closes its own
        self._carrier: Carrier | None = None
        self.greeted = True

    def configure(self, edition: Edition) -> None:
        if self.configured:
            return
        self.configured = True
        self.acked = edition.seq
        try:
            carrier = Carrier(self._task.config, self._task.internal_socket, edition.snapshot, self._tasks)
            for sock in self._sockets:
                carrier.serve(sock)
        except (OSError, SplitterError) as error:
            self.why = str(error)
            self._on_end()
            return
        self._carrier = carrier
        self._read()
        self._on_ready()

    def put(self, edition: Edition) -> None:
        if self._carrier is not None:
            self._carrier.plane.publish(edition.snapshot)
            self._on_ack(edition.seq)

    def ping(self) -> None:
        """It lives as long as the one who asks."""

    async def collect(self) -> None:
        self._read()

    async def collect_mirror(self) -> None:
        self._read()

    def _read(self) -> None:
        if self._carrier is not None:
            self.stats, self.gauges = self._carrier.plane.stats, self._carrier.plane.gauges()
            self.mirrored = self._carrier.plane.mirror.tally

    def reload_certificates(self) -> None:
        if self._carrier is not None:
            self._carrier.reload_certificates()

    def drain(self, timeout_s: float | None, *, for_good: bool = False) -> None:
        self.told_to_drain = True
        self.state = WorkerState.DRAINING
        if self._carrier is None:
            self.kill()
        else:
            self._tasks.start(self._drain(self._carrier, timeout_s, for_good=for_good), "drain")

    async def _drain(self, carrier: Carrier, timeout_s: float | None, *, for_good: bool) -> None:
        complete = await carrier.drain(timeout_s, for_good=for_good)
        if not self.ended.is_set():
            self.complete = complete
            self._read()
            self._on_end()

    def kill(self, cause: Death | None = None) -> None:
        self.cause = self.cause or cause
        if self._carrier is not None:
            self._tasks.start(self._drain(self._carrier, 0.0, for_good=False), "drain")
        else:
            self._on_end()

    def release(self) -> None:
        """It ends with this process."""
