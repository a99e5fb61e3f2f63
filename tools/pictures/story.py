"""A rollout that is worth looking at, with everything real: both backends, splitter, clients, Prometheus.

Owns: who takes part, the acts, and when each begins. Must not know: which pictures are taken.
Invariants: Prometheus runs the rules and alerts that are shipped, with their own waiting times; only addresses and how often
it asks are the story's. Whatever happens, nothing started here stays behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import secrets
import shutil
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import yaml

from tools.children import end_group, start
from tools.ports import free_port

ROOT: Final = Path(__file__).parents[2]
SCRAPE_S: Final = 2
CLIENTS: Final = 200
_AT_ONCE: Final = 12
_PAUSE_S: Final = 0.06
_PATHS: Final = (
    "/api/v1/cameras",
    "/api/v1/cameras/entrance/status",
    "/api/v1/cameras/corridor/logs",
    "/api/v1/alerts/rules",
)

CONFIG: Final = """
access_log: {sample: 0}
listen: {workers: 2}
rollout:
  percent: 5
  plan:
    - {percent: 10, hold: 25s}
    - {percent: 25, hold: 25s}
    - {percent: 50, hold: 40s}
    - {percent: 100}
guardrails: {window: 12s, every: 2s, min_requests: 60, latency_min_requests: 100, latency_margin: 50ms}
mirror: {percent: 20}
state: {url: "file:STATE"}
fallback: {budget: 1}
# Never ejected: what it fails is to be seen and judged.
backends: {domain: {eject: {consecutive_failures: 1000}}}
"""
"""Stages of seconds instead of days; the rest is what a small installation would have."""

_BAD: Final = ("stringify=fps", "latency=80ms:0.5", "error=0.8:503")
_DIFFERENT: Final = ("stringify=fps",)


@dataclass
class Scene:
    """What there is to look at while the story is told. `acts`: when each began, as Unix time."""

    prometheus_port: int
    splitter_port: int
    admin_port: int
    domain_port: int
    acts: dict[str, float] = field(default_factory=dict)

    def begins(self, act: str) -> None:
        self.acts[act] = time.time()
        print(f"{time.strftime('%X')}  {act}", flush=True)


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[Scene]:
    """Everything running and ready; its files are in `folder`, Prometheus' data in `folder`/data."""
    scene, legacy_port = Scene(free_port(), free_port(), free_port(), free_port()), free_port()
    (folder / "splitter.yaml").write_text(CONFIG.replace("STATE", str(folder / "state.json")), "utf-8")
    command = [
        sys.executable, "-m", "tools.run_all", "--config", str(folder / "splitter.yaml"), "--allow-faults",
        "--data-dir", str(folder / "service"), "--port", str(scene.splitter_port), "--admin-port", str(scene.admin_port),
        "--domain-port", str(scene.domain_port), "--legacy-port", str(legacy_port),
    ]  # fmt: skip
    environment = {"PATH": os.environ["PATH"]}
    with contextlib.ExitStack() as running:
        for started in (
            start(command, folder / "service.log", environment, cwd=ROOT),
            start(_prometheus(folder, scene), folder / "prometheus.log", cwd=folder),
        ):
            running.callback(started.wait)
            running.callback(end_group, started.pid)
            running.callback(_waited_for, started)
            running.callback(started.terminate)
        yield scene


def _waited_for(started: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        started.wait(15)


def _prometheus(folder: Path, scene: Scene) -> list[str]:
    """Its command, over a copy of config/prometheus that asks this splitter, and often."""
    source = ROOT / "config" / "prometheus"
    for name in ("rules.yml", "alerts.yml"):
        shutil.copy(source / name, folder / name)
    config = yaml.safe_load((source / "local.yml").read_text("utf-8"))
    config["global"] = dict.fromkeys(("scrape_interval", "evaluation_interval"), f"{SCRAPE_S}s")
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{scene.splitter_port}"]}]
    config["alerting"] = {}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
    return prometheus_command(folder, scene.prometheus_port)


def prometheus_command(folder: Path, port: int) -> list[str]:
    """A Prometheus over the configuration and the data in that folder, to be started there: its pages show the paths."""
    return [
        "prometheus", "--config.file=prometheus.yml", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage", "--log.level=warn",
    ]  # fmt: skip


Look = Callable[[str], Awaitable[None]]
"""Is awaited with the name of a moment that is worth a picture, while clients go on."""


async def tell(scene: Scene, look: Look) -> None:
    """The whole story. Raises TimeoutError when it does not come about, and whatever `look` raises."""
    async with aiohttp.ClientSession() as session:
        await _until(session, f"http://127.0.0.1:{scene.splitter_port}/api/v1/monitoring/health/ready")
        await _until(session, f"http://127.0.0.1:{scene.prometheus_port}/-/ready")
        async with asyncio.TaskGroup() as group:
            clients = group.create_task(_clients(session, scene.splitter_port))
            await _Teller(scene, session).acts(look)
            clients.cancel()


class _Teller:
    """Who does things to the splitter and to domain."""

    def __init__(self, scene: Scene, session: aiohttp.ClientSession) -> None:
        self._scene = scene
        self._session = session
        self._admin = f"http://127.0.0.1:{scene.admin_port}/api/v1/rollout"

    async def acts(self, look: Look) -> None:
        scene = self._scene
        scene.begins("5 % by the file")
        await self._domain(*_DIFFERENT)
        await asyncio.sleep(20)
        scene.begins("the plan starts")
        await self._press("plan/start", reason="release 4.2")
        await self._plan(stage=3)
        await asyncio.sleep(15)
        scene.begins("domain turns bad")
        await self._domain(*_BAD)
        await self._plan(phase="rolled_back")
        scene.begins("a guardrail has rolled back")
        await self._fires("SplitterRollbackActive", 60)
        await look("alerts")
        scene.begins("domain is mended")
        await self._domain()
        await asyncio.sleep(5)
        scene.begins("resumed from stage 2")
        await self._press("resume", from_stage=2, reason="4.2.1 is out")
        await self._plan(phase="completed")
        scene.begins("everybody is on domain")
        await asyncio.sleep(25)
        scene.begins("the end")
        await look("end")

    async def _domain(self, *faults: str) -> None:
        url = f"http://127.0.0.1:{self._scene.domain_port}/fault"
        async with self._session.put(url, json={"faults": faults}) as answer:
            answer.raise_for_status()

    async def _press(self, what: str, **body: object) -> None:
        async with self._session.post(f"{self._admin}/{what}", json=body) as answer:
            answer.raise_for_status()

    async def _plan(self, timeout_s: float = 180, **wanted: object) -> None:
        """Wait until the plan is there."""
        async with asyncio.timeout(timeout_s):
            while True:
                async with self._session.get(self._admin) as answer:
                    found = json.loads(await answer.text())["plan"]
                if all(found[key] == value for key, value in wanted.items()):
                    return
                await asyncio.sleep(0.2)

    async def _fires(self, alert: str, timeout_s: float) -> None:
        query = urllib.parse.urlencode({"query": f'ALERTS{{alertname="{alert}", alertstate="firing"}}'})
        url = f"http://127.0.0.1:{self._scene.prometheus_port}/api/v1/query?{query}"
        async with asyncio.timeout(timeout_s):
            while True:
                async with self._session.get(url) as answer:
                    if (await answer.json())["data"]["result"]:
                        return
                await asyncio.sleep(1)


async def _until(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)


async def _clients(session: aiohttp.ClientSession, port: int) -> None:
    """People who look at cameras, until cancelled; the same ones come again and again, each with a trace."""
    chance = random.Random(4)  # noqa: S311 - nobody guesses

    async def one() -> None:
        while True:
            headers = {
                "X-User-Id": f"user-{chance.randrange(CLIENTS)}",
                "traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
            }
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"http://127.0.0.1:{port}{chance.choice(_PATHS)}", headers=headers) as answer:
                    await answer.read()
            await asyncio.sleep(chance.uniform(0, 2 * _PAUSE_S))

    await asyncio.gather(*(one() for _ in range(_AT_ONCE)))
