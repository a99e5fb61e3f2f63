"""One soak, from the first process to the verdict.

Owns: the order of rounds, the resting between them, the final account. Must not know: options, how a report looks.
Invariants: between two rounds nothing is under way, and what was sent is held against what was counted; everything started
ends with it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from tools import children, ports
from tools.soak.clients import KINDS, Client
from tools.soak.echoing import Echoing
from tools.soak.ledger import Ledger
from tools.soak.trouble import ROUNDS, Kill, Target, Trouble
from tools.soak.watch import Watch, open_files

ROOT: Final = Path(__file__).parents[2]
_START_S: Final = 30.0
_REST_S: Final = 40.0
_COUNTED_S: Final = 10.0
_FILES_S: Final = 30.0
_WEBSOCKETS: Final = 3

_CONFIG: Final = """\
listen: {host: 127.0.0.1, port: PROXY, workers: WORKERS}
admin: {host: 127.0.0.1, port: ADMIN}
backends:
  legacy: {urls: ["http://127.0.0.1:LEGACY"], idle_timeout: 5s, response_timeout: 2s, connect_timeout: 2s}
  domain: {urls: ["http://127.0.0.1:DOMAIN"], idle_timeout: 5s, response_timeout: 2s, eject: {for: 1s}}
rollout: {percent: 50}
guardrails: {action: alert}
access_log: {sample: 0.01}
limits: {body_bytes: 5000000}
state: {url: "file:FOLDER/rollout.json"}
"""


class SoakError(Exception):
    """Something did not start; the message says what."""


@dataclass(slots=True)
class Result:
    """What a soak found. `rounds`: name, requests, how many of them were not counted, and how many might not be."""

    minutes: float
    workers: int
    ledger: Ledger
    watch: Watch
    trouble: Trouble
    rounds: list[tuple[str, int, int, int]] = field(default_factory=list)
    found: dict[str, int] = field(default_factory=dict)
    counted: int = 0


def _start(stack: ExitStack, command: list[str], log: Path, port: int) -> int:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    process = children.start([sys.executable, "-m", *command], log, environment, cwd=log.parent)

    def stop() -> None:
        process.terminate()
        try:
            process.wait(15)
        finally:
            children.end_group(process.pid)
            process.wait()

    stack.callback(stop)
    until_s = time.monotonic() + _START_S
    while ports.obstacle("127.0.0.1", port) is None:
        if process.poll() is not None or time.monotonic() > until_s:
            raise SoakError(f"{command[0]} did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)
    return process.pid


class Soak:
    """See the top of the file."""

    def __init__(self, folder: Path, minutes: float, workers: int, round_s: float, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._minutes = minutes
        self._workers = workers
        self._round_s = round_s
        self._tell = tell
        self._ledger = Ledger()
        self._going = asyncio.Event()
        self._sent = self._counted = 0

    async def run(self) -> Result:
        """Raises SoakError."""
        async with AsyncExitStack() as stack:
            processes = stack.enter_context(ExitStack())
            self._http = await stack.enter_async_context(aiohttp.ClientSession())
            target = self._target = self._start_all(processes)
            watch = self._watch = Watch(target.pid)
            target.workers = watch.workers
            trouble = self._trouble = Trouble(target, self._ledger, self._http)
            await self._until(lambda: len(watch.workers()) == self._workers, _START_S)
            await asyncio.sleep(1.0)  # their probes have their connections
            at_rest = watch.files()
            result = self._result = Result(self._minutes, self._workers, self._ledger, watch, trouble)
            async with asyncio.TaskGroup() as group:
                clients = [
                    kind(f"{kind.__name__}{number}", target.port, self._ledger, self._going)
                    for kind, count in {**KINDS, Echoing: _WEBSOCKETS}.items()
                    for number in range(count)
                ]
                running = [group.create_task(client.run()) for client in clients]
                watching = group.create_task(self._keep_watching())
                await self._rounds(clients)
                for client in clients:
                    client.stopped = True
                self._going.set()
                await asyncio.wait(running)
                watching.cancel()
            await self._judge_files(at_rest)
            await self._judge(result)
            return result

    def _start_all(self, stack: ExitStack) -> Target:
        proxy, admin, legacy, domain = (ports.free_port() for _ in range(4))
        config = self._folder / "splitter.yaml"
        text = _CONFIG
        for name, value in (
            ("PROXY", proxy), ("ADMIN", admin), ("LEGACY", legacy), ("DOMAIN", domain), ("WORKERS", self._workers),
            ("FOLDER", self._folder),
        ):  # fmt: skip
            text = text.replace(name, str(value))
        config.write_text(text)
        for name, port in (("legacy", legacy), ("domain", domain)):
            _start(stack, ["tools.soak.backend", str(port), name], self._folder / f"{name}.log", port)
        command = ["splitter", "run", "--config", str(config)]
        pid = _start(stack, command, self._folder / "splitter.log", proxy)
        return Target(pid, proxy, admin, {"legacy": legacy, "domain": domain}, config, lambda: ())

    async def _keep_watching(self) -> None:
        while True:
            self._watch.look(time.monotonic())
            await asyncio.sleep(1.0)

    async def _rounds(self, clients: list[Client]) -> None:
        end_s = time.monotonic() + self._minutes * 60
        half_s = time.monotonic() + self._minutes * 30
        while time.monotonic() < end_s:
            for name, act in ROUNDS.items():
                if time.monotonic() >= end_s:
                    break
                if name == "reloads" and time.monotonic() > half_s:
                    continue  # one generation lives for the second half, to be seen growing if it grows
                kills = len(self._trouble.kills)
                self._going.set()
                await act(self._trouble, min(end_s, time.monotonic() + self._round_s))
                self._going.clear()
                await self._rest(name, clients, self._trouble.kills[kills:])

    async def _rest(self, name: str, clients: list[Client], kills: list[Kill]) -> None:
        """Wait until nothing is under way, and hold what was sent against what was counted."""
        async with asyncio.timeout(_REST_S):
            await asyncio.gather(*(client.resting.wait() for client in clients))
        await self._until(lambda: len(self._watch.workers()) >= self._workers, _START_S)
        sent = self._ledger.sent - self._sent
        most = sum(self._ledger.may_be_lost(kill.at_s) + kill.pending for kill in kills)
        counted = await self._count(sent, patient=not kills)
        missing = sent - counted
        self._ledger.settle(name, missing, most)
        self._result.rounds.append((name, sent, missing, most))
        lost = f", {missing} lost with {len(kills)} kills (at most {most} may be)" if kills else ""
        self._tell(f"{name}: {sent:,} requests, {counted:,} counted{lost}")
        self._sent, self._counted = self._ledger.sent, self._counted + counted

    async def _count(self, sent: int, *, patient: bool) -> int:
        """How many were counted since the last time; those of clients that left are, a moment later."""
        until_s = time.monotonic() + (_COUNTED_S if patient else 2.0)
        while True:
            async with self._http.get(f"http://127.0.0.1:{self._target.admin_port}/api/v1/monitoring/metrics") as response:
                page = await response.text()
            lines = (line for line in page.splitlines() if line.startswith("splitter_requests_total{"))
            counted = int(sum(float(line.rpartition(" ")[2]) for line in lines)) - self._counted
            if counted >= sent or time.monotonic() > until_s:
                return counted
            await asyncio.sleep(0.2)

    async def _until(self, check: Callable[[], bool], within_s: float) -> None:
        until_s = time.monotonic() + within_s
        while not check():
            if time.monotonic() > until_s:
                raise SoakError("the splitter's workers did not come back in time")
            await asyncio.sleep(0.05)

    async def _judge_files(self, at_rest: dict[int, int]) -> None:
        """With no client left, every process is to have as many files open as before the first came."""
        supervisor = at_rest.pop(self._target.pid)
        allowed = max(at_rest.values())
        until_s = time.monotonic() + _FILES_S
        while True:
            now = self._watch.files()
            over = {pid: count for pid, count in now.items() if count > (supervisor if pid == self._target.pid else allowed)}
            if not over:
                return
            if time.monotonic() > until_s:
                for pid, count in over.items():
                    what = open_files(pid)
                    self._ledger.blame(f"{self._watch.name(pid)} has {count} files open, at rest before {at_rest}: {what}")
                return
            await asyncio.sleep(0.5)

    async def _judge(self, result: Result) -> None:
        for fault in self._watch.grown():
            self._ledger.blame(fault)
        seen = []
        for port in self._target.backends.values():
            async with self._http.get(f"http://127.0.0.1:{port}/soak/seen") as response:
                seen.append(await response.read())
        result.found = dict(self._ledger.judge(*seen))
        result.counted = self._counted
