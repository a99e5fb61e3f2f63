"""The mirror with real processes: both services alike, differences planted in domain, a domain that is slow or dead."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import pytest

from splitter.carrier import plane_settings
from splitter.config import TcpAddress, parse
from splitter.control.table import table_of
from splitter.listening import open_listening
from splitter.proxy.plane import DataPlane
from splitter.snapshot import Snapshot
from splitter.tasks import Tasks
from tests.process.running import ask, splitter, wait_until
from tests.process.service import camera_backend

MIRROR = """
access_log: {sample: 0}
rollout: {percent: 0}
mirror:
  percent: 100
  max_in_flight: 256
  ignore: ["$.backend", "$.uptime_s", "$.requests"]
  endpoints: ["/api/v1/cameras/{camera_id}/*", "/api/v1/cameras/{camera_id}"]
"""
PATHS = (
    "/api/v1/cameras", "/api/v1/cameras/entrance", "/api/v1/cameras/entrance/status", "/api/v1/cameras/entrance/logs",
    "/api/v1/cameras/nobody", "/api/v1/cameras/corridor/preview", "/api/v1/alerts/rules", "/health",
)  # fmt: skip


@dataclass
class Backends:
    """Both services."""

    legacy: int
    domain: int

    @property
    def urls(self) -> dict[str, str]:
        return {"LEGACY_URL": f"http://127.0.0.1:{self.legacy}", "DOMAIN_URL": f"http://127.0.0.1:{self.domain}"}

    def plant(self, *faults: str) -> None:
        assert ask(self.domain, "/fault", "PUT", json.dumps({"faults": faults}).encode())[0] == 200


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backends]:
    folder = tmp_path_factory.mktemp("mirrored")
    with ExitStack() as stack:
        legacy = stack.enter_context(camera_backend("legacy", folder))
        domain = stack.enter_context(camera_backend("domain", folder, "--allow-faults"))
        yield Backends(legacy, domain)


@pytest.fixture(autouse=True)
def _unplanted(backends: Backends) -> None:
    backends.plant()


def outcomes(port: int) -> dict[str, int]:
    """What the metrics say, without what never happened."""
    page = ask(port, "/api/v1/monitoring/metrics")[2].decode()
    found = re.findall(r'^splitter_mirror_total\{outcome="(\w+)"\} (\d+)', page, re.MULTILINE)
    assert len(found) == 8
    return {outcome: int(count) for outcome, count in found if count != "0"}


def all_counted(port: int, count: int) -> dict[str, int]:
    """The outcomes, once all of so many requests have one."""
    wait_until(lambda: sum(outcomes(port).values()) >= count)
    return outcomes(port)


def test_both_services_are_alike(tmp_path: Path, backends: Backends) -> None:
    with splitter(tmp_path, MIRROR, **backends.urls) as running:
        for _ in range(10):
            for path in PATHS:
                assert ask(running.port, path)[1]["x-splitter-backend"] == "legacy"
        found = all_counted(running.port, 80)
        assert found.keys() <= {"match", "ignored"}
        assert found["ignored"] == 10, "of /health"


@pytest.mark.parametrize("fault", ["rename=state:status", "stringify=fps", "drop_header=Content-Type", "reorder=cameras"])
def test_what_is_planted_is_counted(tmp_path: Path, backends: Backends, fault: str) -> None:
    with splitter(tmp_path, MIRROR, **backends.urls) as running:
        for planted in (True, False):
            backends.plant(*[fault] * planted)
            before = outcomes(running.port)
            for _ in range(5):
                assert ask(running.port, "/api/v1/cameras")[0] == 200
            after = all_counted(running.port, sum(before.values()) + 5)
            assert after.get("mismatch", 0) - before.get("mismatch", 0) == (5 if planted else 0)


def test_a_slow_domain_slows_no_client(tmp_path: Path, backends: Backends) -> None:
    backends.plant("latency=400ms")
    with splitter(tmp_path, MIRROR, **backends.urls) as running:
        took_s = []
        for _ in range(50):
            started_s = time.perf_counter()
            assert ask(running.port, "/api/v1/cameras/entrance/status")[0] == 200
            took_s.append(time.perf_counter() - started_s)
        assert median(took_s) < 0.1
        assert all_counted(running.port, 50) == {"match": 50}


def test_a_dead_domain_hurts_no_client(tmp_path: Path, backends: Backends) -> None:
    urls = backends.urls | {"DOMAIN_URL": "http://127.0.0.1:9"}
    with splitter(tmp_path, MIRROR + "backends: {domain: {health: {interval: 1h}}}", **urls) as running:
        assert {ask(running.port, "/api/v1/cameras/entrance/status")[0] for _ in range(20)} == {200}
        found = all_counted(running.port, 20)
        assert found.keys() <= {"failed", "skipped"}, "probes may have found out first"


def test_nothing_is_copied_while_domain_is_switched_off(tmp_path: Path, backends: Backends) -> None:
    with splitter(tmp_path, MIRROR, USE_DOMAIN_SERVICE="false", **backends.urls) as running:
        before = json.loads(ask(backends.domain, "/health")[2])["requests"]
        for _ in range(20):
            assert ask(running.port, "/api/v1/cameras")[0] == 200
        assert outcomes(running.port) == {}
        assert json.loads(ask(backends.domain, "/health")[2])["requests"] == before


# --- what is named: the plane in this process, so that its report can be read ---------------------------------------


@asynccontextmanager
async def plane(backends: Backends, text: str = MIRROR) -> AsyncIterator[tuple[DataPlane, str]]:
    """A data plane on real sockets, and the URL it listens on."""
    config = parse(text, "here", backends.urls)
    errors: list[BaseException] = []
    tasks = Tasks(lambda _name, error: errors.append(error))
    clock = asyncio.get_running_loop().time
    made = DataPlane(plane_settings(config, "/nowhere", None), Snapshot(table_of(config)), tasks, None, clock=clock)
    with open_listening(TcpAddress("127.0.0.1", 0), 0o600) as listening:
        for each in listening.sockets:
            made.serve(each)
        try:
            yield made, f"http://{listening.address}"
        finally:
            await made.drain(1)
            await tasks.close()
            assert errors == []


async def asked(made: DataPlane, url: str, *paths: str, times: int = 5) -> None:
    """Requests, until the mirror is done with all of them."""
    before = sum(made.stats.mirrored.values())
    async with aiohttp.ClientSession() as session:
        for path in paths * times:
            async with session.get(url + path) as response:
                await response.read()
    async with asyncio.timeout(20):
        while sum(made.stats.mirrored.values()) < before + len(paths) * times:
            await asyncio.sleep(0.01)


def named(made: DataPlane) -> set[tuple[str, str, str]]:
    return {(row.endpoint, row.path, row.kind.value) for row in made.mirror.report.mismatches()}


PLANTED: dict[str, Any] = {
    "rename=state:status": ("GET /api/v1/cameras/{camera_id}/status", "$.state", "renamed"),
    "stringify=fps": ("GET /api/v1/cameras", "$.cameras[*].fps", "type"),
    "drop_header=Cache-Control": ("GET /api/v1/cameras/{camera_id}/preview", "header:cache-control", "missing"),
    "reorder=logs": ("GET /api/v1/cameras/{camera_id}/logs", "$.logs", "order"),
}


async def test_what_is_planted_is_named(backends: Backends) -> None:
    paths = (*PATHS, "/api/v1/cameras/workshop/preview")
    async with plane(backends) as (made, url):
        await asked(made, url, *paths)
        assert named(made) == set(), "unplanted traffic shows none"
        assert made.mirror.report.compared == 45
    for fault, place in PLANTED.items():
        backends.plant(fault)
        async with plane(backends) as (made, url):
            await asked(made, url, *paths)
            assert place in named(made)
            others = {path for _, path, _ in named(made)} - {place[1]}
            assert all(path.endswith(place[1].rpartition(".")[2]) for path in others), "nothing else is blamed"


async def test_pictures_of_another_moment_are_noise(backends: Backends) -> None:
    async with plane(backends) as (made, url):
        await asked(made, url, "/api/v1/cameras/workshop/preview", times=8)
        assert named(made) == set()
        assert [(row.path, row.noise) for row in made.mirror.report.rows()] == [("body", True)]
        assert made.stats.mirrored[("noise",)] >= 3
