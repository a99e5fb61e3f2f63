"""The admin side in this process: real controller, real file store, real sockets; a plane that only takes notes.

Owns: making and ending it. Must not know: what a test checks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.test_utils import BaseTestServer, TestServer

from splitter.compare import Tally
from splitter.config import parse
from splitter.control.app import Audience, Life, State, make_app, make_gate
from splitter.control.controller import Controller
from splitter.control.prober import Prober
from splitter.control.store import Store, open_store
from splitter.snapshot import Gauges, Published, Snapshot, Totals, WorkerInfo, WorkerState
from splitter.stats import Stats
from splitter.tasks import Tasks

CONFIG = """
rollout:
  percent: 10
  routes:
    - {name: camera-control, path: "/api/v1/cameras/{id}/*", percent: 5}
"""


@dataclass
class NotedPlane:
    """Takes note of every snapshot. While `gate` is clear, no snapshot comes into force. `collected` counts readings."""

    snapshots: list[Snapshot] = field(default_factory=list)
    stats: Stats = field(default_factory=Stats)
    mirrored: Tally = field(default_factory=Tally)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    replaced: int = 0
    collected: asyncio.Semaphore | None = None

    def __post_init__(self) -> None:
        self.gate.set()

    async def publish(self, snapshot: Snapshot) -> Published:
        started_s = time.monotonic()
        await self.gate.wait()
        self.snapshots.append(snapshot)
        return Published(2, self.replaced, time.monotonic() - started_s)

    async def collect(self) -> Totals:
        if self.collected is not None:
            self.collected.release()
        return Totals(self.stats, Gauges())

    async def mirror_report(self) -> Tally:
        found = Tally()
        found.merge(self.mirrored)
        return found

    def workers(self) -> Sequence[WorkerInfo]:
        return [WorkerInfo(slot, 0, 1, WorkerState.READY, 1.0) for slot in range(2)]


@dataclass
class Operators:
    """The admin side, and a client of it."""

    plane: NotedPlane
    controller: Controller
    server: BaseTestServer
    client: aiohttp.ClientSession

    async def ask(
        self, method: str, path: str = "", body: object = None, **headers: str
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Status, JSON, and headers by name in small letters; `body` is sent as JSON unless it is bytes."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        skip = ("Content-Type",) if data is None else ()
        url = self.server.make_url(path if path.startswith("/api") else f"/api/v1/rollout{path}")
        async with self.client.request(method, url, data=data, headers=sent, skip_auto_headers=skip) as response:
            found = {name.lower(): value for name, value in response.headers.items()}
            text = await response.read()
            return response.status, json.loads(text) if text else {}, found


@contextlib.asynccontextmanager
async def operators(
    folder: Path, config: str = CONFIG, store: Store | None = None, **environ: str
) -> AsyncIterator[Operators]:
    """A running admin side, its state below `folder`."""
    errors: list[BaseException] = []
    tasks = Tasks(lambda _name, error: errors.append(error))
    plane, loop = NotedPlane(), asyncio.get_running_loop()
    store = store or open_store(f"file:{folder / 'state.json'}")
    controller = Controller(parse(config, "splitter.yaml", environ), plane, store, tasks)
    gate = make_gate(controller.config.admin, loop.time)
    prober = Prober((), controller.on_backend)
    state = State(plane, controller, prober, gate, tasks, loop.time, loop.time(), Life.SERVING)
    await controller.start()
    async with TestServer(make_app(state, Audience.OPERATORS)) as server, aiohttp.ClientSession() as client:
        yield Operators(plane, controller, server, client)
    await tasks.close()
    await store.close()
    assert not errors
