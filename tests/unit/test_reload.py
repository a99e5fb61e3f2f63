"""What a changed configuration asks for: a snapshot, new workers, or a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from splitter.compare import Tally
from splitter.config import Config, load, parse
from splitter.control.controller import Controller
from splitter.control.reload import Reloader, RenewalError, needs_renewal, needs_restart
from splitter.snapshot import Published, Snapshot, Totals, WorkerInfo
from splitter.tasks import Tasks
from tests.unit.fake_store import FakeStore, Shelf

LISTEN = ("listen.host", "listen.socket_mode", "listen.reuse_port")


@pytest.mark.parametrize(
    ("after", "renewal", "restart"),
    [
        ("", False, ()),
        ("rollout: {percent: 20}", False, ()),
        ("rollout: {salt: a, force: 'off'}", False, ()),
        ("guardrails: {window: 30s}", False, ()),
        ("hooks: [{url: 'http://127.0.0.1:9000/'}]", False, ()),
        ("limits: {headers: 100}", True, ()),
        ("fallback: {budget: 0.1}", True, ()),
        ("access_log: {sample: 0.5}", True, ()),
        ("backends: {domain: {urls: ['http://a:1']}}", True, ()),
        ("backends: {domain: {health: {interval: 3s}}}", True, ()),
        ("listen: {workers: 3}", True, ()),
        ("listen: {trusted_proxies: [10.0.0.0/8]}", True, ()),
        ("listen: {port: 9}", False, ("listen.port",)),
        ("listen: {port: 9, workers: 3}", True, ("listen.port",)),
        ("listen: {host: 'unix:/a', socket_mode: '0600', reuse_port: true}", False, LISTEN),
        ("admin: {port: 9}", False, ("admin",)),
        ("state: {url: 'file:a'}", False, ("state",)),
        ("admin: {port: 9}\nlimits: {headers: 100}\nstate: {url: 'file:a'}", True, ("admin", "state")),
    ],
)
def test_what_kind_of_change_it_is(after: str, renewal: bool, restart: tuple[str, ...]) -> None:
    config = parse(after, "a", {})
    assert (needs_renewal(Config(), config), needs_restart(Config(), config)) == (renewal, restart)


def test_every_section_has_a_kind() -> None:
    """A new one needs new workers until somebody thinks about it, which is the safe side."""
    live = {"rollout", "guardrails", "hooks"}
    bound = {"engine", "admin", "state"}
    assert live | bound <= set(Config.model_fields)


class FakePlane:
    def __init__(self) -> None:
        self.published: list[Snapshot] = []

    async def publish(self, snapshot: Snapshot) -> Published:
        self.published.append(snapshot)
        return Published(1, 0, 0.0)

    async def collect(self) -> Totals:
        raise AssertionError

    async def mirror_report(self) -> Tally:
        raise AssertionError("nothing here wants to know")

    def workers(self) -> tuple[WorkerInfo, ...]:
        return ()


class Rig:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "splitter.yaml"
        self.file.write_text("{}")
        self.plane = FakePlane()
        self.errors: list[BaseException] = []
        self.tasks = Tasks(lambda _name, error: self.errors.append(error))
        self.controller = Controller(load(self.file, {}), self.plane, FakeStore(Shelf()), self.tasks)
        self.renewed: list[Config] = []
        self.refusal = ""
        self.reloader = Reloader(self.file, self.controller, self._renew)

    async def _renew(self, config: Config) -> None:
        if self.refusal:
            raise RenewalError(self.refusal)
        self.renewed.append(config)

    async def save(self, text: str) -> None:
        self.file.write_text(text)
        await self.reloader.reload()


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    for name in ("ROLLOUT_PERCENT", "SPLITTER_LISTEN", "SPLITTER_WORKERS", "SPLITTER_ADMIN_LISTEN"):
        monkeypatch.delenv(name, raising=False)
    made = Rig(tmp_path)
    await made.controller.start()
    made.plane.published.clear()
    yield made
    await made.tasks.close()
    assert not made.errors


async def test_workers_are_renewed_before_the_change_is_in_force(rig: Rig) -> None:
    await rig.save("limits: {headers: 100}\nrollout: {percent: 30}")
    assert [config.limits.headers for config in rig.renewed] == [100]
    assert rig.plane.published[-1].table.default.threshold == 3000


async def test_a_renewal_that_fails_changes_nothing(rig: Rig) -> None:
    rig.refusal = "no more processes"
    await rig.save("limits: {headers: 100}\nrollout: {percent: 30}")
    assert rig.plane.published == []
    assert (rig.controller.reload_fault, rig.controller.config.limits.headers) == ("no more processes", 200)
    await rig.save("rollout: {percent: 30}")
    assert (rig.controller.reload_fault, rig.plane.published[-1].table.default.threshold) == ("", 3000)


async def test_what_waits_for_a_restart_waits_until_it_is_taken_back(rig: Rig) -> None:
    await rig.save("admin: {port: 9}")
    assert rig.controller.restart_needed == ("admin",)
    await rig.save("admin: {port: 9}\nrollout: {percent: 1}")
    assert rig.controller.restart_needed == ("admin",), "compared with what this process was started with"
    await rig.save("")
    assert not rig.controller.restart_needed
    assert rig.renewed == []


async def test_a_file_saved_before_it_was_watched_is_noticed(rig: Rig) -> None:
    rig.file.write_text("rollout: {percent: 40}")
    task = asyncio.get_running_loop().create_task(rig.reloader.run())
    async with asyncio.timeout(5):
        while not rig.plane.published:
            await asyncio.sleep(0.02)
    assert rig.plane.published[-1].table.default.threshold == 4000
    rig.file.write_text("")
    await asyncio.sleep(0.3)  # long enough for a look at it
    assert rig.plane.published[-1].table.default.threshold == 4000, "somebody is about to write it"
    rig.file.write_text("rollout: {percent: 50}")
    async with asyncio.timeout(5):
        while rig.plane.published[-1].table.default.threshold != 5000:
            await asyncio.sleep(0.02)
    rig.file.write_text("")
    async with asyncio.timeout(5):
        while rig.plane.published[-1].table.default.threshold != 1000:
            await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
