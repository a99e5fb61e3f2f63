"""Three splitters on one Redis, under load: a rollback on one is a rollback on all, by the backends' own counters."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitter.control.redis_store import RedisStore
from splitter.state import Record, resume
from tests.external.redis_server import RedisServer, redis_server
from tests.process.fleet_load import Load
from tests.process.running import ROOT, Splitter, answering, ask, splitter
from tools.ports import free_port

CONFIG = "rollout: {percent: 50}\naccess_log: {sample: 0}\nlisten: {workers: 1}\n"
WITHIN_S = 0.1
AFTER_S = 1.0
"""How long the load goes on after a rollback, to see whether anything still arrives."""


@contextlib.contextmanager
def counting_backend(folder: Path, name: str) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "tests.process.counting_backend", str(port), name]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with answering(command, folder / f"{name}.log", port, "/health", environment, folder):
        yield port


@dataclass
class Fleet:
    """All there is of it. `loads` in the order of `splitters`; a splitter's place is its load's entry."""

    redis: RedisServer
    splitters: list[Splitter]
    domain_port: int
    loads: list[Load]

    def status(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(ask(self.splitters[number].admin_port, "/api/v1/rollout")[2])
        return found

    def health(self, number: int) -> str:
        return ask(self.splitters[number].admin_port, "/api/v1/monitoring/health")[2].decode()

    def arrivals(self) -> dict[str, dict[str, float]]:
        """At domain, by splitter; what domain itself says."""
        found: dict[str, dict[str, float]] = json.loads(ask(self.domain_port, "/arrivals")[2])
        return found

    def roll_back(self, number: int) -> float:
        """On one splitter; the moment before."""
        asked_s = time.monotonic()
        self.splitters[number].process.send_signal(signal.SIGUSR1)
        return asked_s

    async def until(self, check: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Ask in a thread, so that the load goes on meanwhile."""
        async with asyncio.timeout(timeout_s):
            while not await asyncio.to_thread(check):
                await asyncio.sleep(0.02)

    async def everybody_reaches_domain(self) -> None:
        """From now on, through each of the splitters."""
        before = await asyncio.to_thread(self.arrivals)

        def more() -> bool:
            counts = self.arrivals()["counts"]
            return all(counts.get(load.entry, 0) > before["counts"].get(load.entry, 0) + 20 for load in self.loads)

        await self.until(more)

    def agree_on(self, *, rolled_back: bool) -> bool:
        found = [self.status(number) for number in range(3)]
        told = [status["rolled_back"]["value"] for status in found]
        return told == [rolled_back] * 3 and len({status["version"] for status in found}) == 1


@contextlib.contextmanager
def fleet(folder: Path) -> Iterator[Fleet]:
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(redis_server(folder))
        legacy, domain = (stack.enter_context(counting_backend(folder, name)) for name in ("legacy", "domain"))
        splitters = []
        for number in range(3):
            home = folder / str(number)
            home.mkdir()
            urls = {"LEGACY_URL": f"http://127.0.0.1:{legacy}", "DOMAIN_URL": f"http://127.0.0.1:{domain}"}
            splitters.append(stack.enter_context(splitter(home, CONFIG, SPLITTER_STATE_URL=redis.url, **urls)))
        loads = [Load(running.port, str(number)) for number, running in enumerate(splitters)]
        yield Fleet(redis, splitters, domain, loads)


@contextlib.asynccontextmanager
async def under_load(loads: list[Load]) -> AsyncIterator[None]:
    running = asyncio.gather(*(load.run() for load in loads))
    try:
        yield
        assert [load.failures for load in loads] == [[], [], []]
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def change_by_a_fourth(server: RedisServer, make: Callable[[Record], Record]) -> None:
    """As another splitter would."""
    store = RedisStore.at(server.url)
    stored = await store.load()
    assert stored is not None
    await store.save(make(stored.record), stored)
    await store.close()


async def test_a_rollback_on_one_is_a_rollback_on_all_whatever_redis_does(tmp_path: Path) -> None:
    with fleet(tmp_path) as all_three:
        async with under_load(all_three.loads):
            await all_three.everybody_reaches_domain()
            await _one_rolls_back(all_three)
            await change_by_a_fourth(all_three.redis, lambda record: resume(record, at_s=time.time(), who="test", why=""))
            await all_three.until(lambda: all_three.agree_on(rolled_back=False))
            await all_three.everybody_reaches_domain()
            await _one_rolls_back_without_redis(all_three)
            await _all_agree_when_redis_is_back(all_three)


async def _one_rolls_back(fleet: Fleet) -> None:
    asked_s = fleet.roll_back(0)
    await asyncio.sleep(AFTER_S)
    arrivals = await asyncio.to_thread(fleet.arrivals)
    late_s = {entry: last_s - asked_s for entry, last_s in arrivals["last_s"].items()}
    assert set(late_s) == {"0", "1", "2"}
    assert max(late_s.values()) < WITHIN_S, late_s
    assert await asyncio.to_thread(lambda: fleet.agree_on(rolled_back=True))
    for number in range(3):
        status = await asyncio.to_thread(fleet.status, number)
        assert (status["rolled_back"]["who"], status["problems"]) == ("signal", [])


async def _one_rolls_back_without_redis(fleet: Fleet) -> None:
    fleet.redis.kill()
    await fleet.until(lambda: all("the state store is down" in fleet.health(number) for number in range(3)))
    await fleet.everybody_reaches_domain()
    asked_s = fleet.roll_back(1)
    await asyncio.sleep(AFTER_S)
    last_s = (await asyncio.to_thread(fleet.arrivals))["last_s"]
    assert last_s["1"] - asked_s < WITHIN_S, "here it is in force at once"
    assert min(last_s["0"], last_s["2"]) - asked_s > AFTER_S / 2, "nobody could tell the others"
    assert "the rollback in force is not saved yet" in await asyncio.to_thread(fleet.health, 1)


async def _all_agree_when_redis_is_back(fleet: Fleet) -> None:
    fleet.redis.start()  # and it knows nothing of what it was told
    await fleet.until(lambda: fleet.agree_on(rolled_back=True))
    before = await asyncio.to_thread(fleet.arrivals)
    await asyncio.sleep(AFTER_S)
    assert await asyncio.to_thread(fleet.arrivals) == before, "nothing arrives at domain any more"
    healths = [await asyncio.to_thread(fleet.health, number) for number in range(3)]
    assert [json.loads(health)["status"] for health in healths] == ["ok"] * 3
    store = RedisStore.at(fleet.redis.url)
    stored = await store.load()
    await store.close()
    assert stored is not None
    assert stored.record.latch is not None
    assert stored.record.latch.who == "signal"
