"""`workers: 0`: the data plane in the supervisor's own process and loop, for tests and debugging.

Owns: one DataPlane behind the interface the control plane knows. Must not know: who publishes.
Invariant: what `Plane` promises; here it is kept by a call of a function.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from splitter.proxy.plane import DataPlane
from splitter.snapshot import Published, Snapshot, Totals, WorkerInfo, WorkerState


class LocalPlane:
    """One plane, no worker process."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._started_s = time.monotonic()

    async def publish(self, snapshot: Snapshot) -> Published:
        started_s = time.monotonic()
        self._plane.publish(snapshot)
        return Published(workers=1, replaced=0, took_s=time.monotonic() - started_s)

    async def collect(self) -> Totals:
        return Totals(self._plane.stats, self._plane.gauges(), self.workers())

    def workers(self) -> Sequence[WorkerInfo]:
        state = WorkerState.DRAINING if self._plane.draining else WorkerState.READY
        age_s = time.monotonic() - self._started_s
        return (WorkerInfo(slot=0, generation=0, pid=os.getpid(), state=state, age_s=age_s),)
