"""Hooks against real receivers: ones that take, refuse, fail, redirect, are slow, and are gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from hmac import compare_digest, new
from typing import Any

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr
from structlog.testing import capture_logs

from splitter.config import HOOK_EVENTS
from splitter.control import deliveries
from splitter.control.deliveries import HookSettings
from splitter.control.hooks import Confirm, Hooks
from splitter.state import Event
from splitter.tasks import Tasks
from tools.ports import free_port

SECRET = "correct-horse"
ALERT = Event(3, 1_764_028_800.0, "guardrail:error_rate", "guardrail", "error rate 9 %", "", "nothing was changed")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "FIRST_PAUSE_S", 0.02)


def event(version: int, what: str = "rollback") -> Event:
    return Event(version, 1_764_028_800.0, "cli:ann", what, "too slow", "25 %", "rolled back")


def verified(secret: bytes, headers: dict[str, str], body: bytes, now_s: float) -> bool:
    """As docs/hooks.md tells receivers to do it."""
    stamp = headers["X-Splitter-Timestamp"]
    wanted = "sha256=" + new(secret, stamp.encode() + b"." + body, "sha256").hexdigest()
    return compare_digest(wanted, headers["X-Splitter-Signature"]) and abs(now_s - int(stamp)) < 300


@dataclass
class Receiver:
    """Answers with each of `statuses` in turn, then with 200; remembers what it got. `gate`: answers only once it is set."""

    statuses: list[int] = field(default_factory=list)
    gate: asyncio.Event | None = None
    got: list[dict[str, Any]] = field(default_factory=list)
    raw: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.raw.append((dict(request.headers), body))
        self.got.append(json.loads(body))
        self.news.set()
        if self.gate is not None:
            await self.gate.wait()
        status = self.statuses.pop(0) if self.statuses else 200
        headers = {"Location": "/elsewhere"} if 300 <= status < 400 else {}
        return web.Response(status=status, headers=headers, text="x" * 100_000)

    async def has(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.got) < count:
                self.news.clear()
                await self.news.wait()


@contextlib.asynccontextmanager
async def served(receiver: Receiver, port: int = 0) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", receiver.handle)
    server = TestServer(app, port=port)
    await server.start_server()
    try:
        yield str(server.make_url("/hook?key=hidden"))
    finally:
        if receiver.gate is not None:
            receiver.gate.set()
        await server.close()


def settings(url: str, *, timeout_s: float = 5.0, events: tuple[str, ...] = HOOK_EVENTS, secret: str = "") -> HookSettings:
    return HookSettings(url, frozenset(events), timeout_s, SecretStr(secret) if secret else None)


@contextlib.asynccontextmanager
async def hooking(*given: HookSettings, close_s: float = 5.0) -> AsyncIterator[Hooks]:
    failed: list[BaseException] = []
    tasks = Tasks(lambda _name, error: failed.append(error))
    hooks = Hooks(given, tasks, name="edge-1:8000", clock=time.monotonic, now=time.time, random=random.Random(1))
    try:
        yield hooks
    finally:
        await hooks.close(close_s)
        await tasks.close()
    assert failed == []


async def counted(hooks: Hooks, outcome: str, times: int) -> None:
    async with asyncio.timeout(10):
        while hooks.deliveries[outcome] < times:
            await asyncio.sleep(0.005)


async def test_each_event_arrives_once_in_order_and_signed() -> None:
    receiver = Receiver()
    async with served(receiver) as url, hooking(settings(url, secret=SECRET)) as hooks:
        hooks.on_events([event(1, "percent"), event(2), event(3, "resume")], "all is well")
        await counted(hooks, "delivered", 3)
    assert [(got["version"], got["event"], got["summary"]) for got in receiver.got] == [
        (1, "percent", "all is well"),
        (2, "rollback", "all is well"),
        (3, "resume", "all is well"),
    ]
    assert hooks.deliveries == {"delivered": 3, "retried": 0, "failed": 0, "dropped": 0}
    for (headers, body), got in zip(receiver.raw, receiver.got, strict=True):
        assert verified(SECRET.encode(), headers, body, time.time())
        assert not verified(b"wrong", headers, body, time.time())
        assert not verified(SECRET.encode(), headers, body + b" ", time.time())
        assert not verified(SECRET.encode(), headers, body, time.time() + 400)
        assert headers["X-Splitter-Delivery"] == got["delivery"]
        assert headers["X-Splitter-Event"] == got["event"]
        assert headers["Content-Type"] == "application/json"
        assert headers["User-Agent"].startswith("camera-splitter/")
    assert len({got["delivery"] for got in receiver.got}) == 3


async def test_each_hook_gets_what_it_wants() -> None:
    alarms, everything = Receiver(), Receiver()
    async with served(alarms) as one, served(everything) as other:
        async with hooking(settings(one, events=("rollback", "guardrail")), settings(other)) as hooks:
            hooks.on_events([event(1, "percent"), event(2), ALERT], "")
            await counted(hooks, "delivered", 5)
    assert [got["event"] for got in alarms.got] == ["rollback", "guardrail"]
    assert [got["event"] for got in everything.got] == ["percent", "rollback", "guardrail"]
    assert (alarms.got[1]["who"], alarms.got[1]["to"]) == ("guardrail:error_rate", "nothing was changed")
    assert alarms.got[0]["id"] == everything.got[1]["id"]
    assert alarms.got[0]["delivery"] != everything.got[1]["delivery"]


async def test_what_fails_is_tried_again_with_the_same_body() -> None:
    receiver = Receiver(statuses=[500, 503])
    with capture_logs() as logs:
        async with served(receiver) as url, hooking(settings(url, secret=SECRET)) as hooks:
            hooks.on_events([event(1), event(2)], "")
            await counted(hooks, "delivered", 2)
    assert hooks.deliveries == {"delivered": 2, "retried": 2, "failed": 0, "dropped": 0}
    assert [got["version"] for got in receiver.got] == [1, 1, 1, 2]
    assert len({body for _, body in receiver.raw[:3]}) == 1
    assert [line["event"] for line in logs] == ["hook_fails", "hook_works_again"]
    assert logs[0]["why"] == "it answered 500"
    assert "hidden" not in str(logs)


@pytest.mark.parametrize("status", [302, 307, 404, 410])
async def test_what_is_refused_for_good_is_not_tried_again(status: int) -> None:
    receiver = Receiver(statuses=[status])
    with capture_logs() as logs:
        async with served(receiver) as url, hooking(settings(url)) as hooks:
            hooks.on_events([event(1), event(2)], "")
            await counted(hooks, "delivered", 1)
    assert hooks.deliveries == {"delivered": 1, "retried": 0, "failed": 1, "dropped": 0}
    assert [got["version"] for got in receiver.got] == [1, 2]  # a redirect is not followed either
    assert (logs[0]["event"], logs[0]["why"]) == ("hook_gave_up", f"it answered {status}")


async def test_nobody_waits_for_a_slow_hook() -> None:
    slow, quick = Receiver(gate=asyncio.Event()), Receiver()
    with capture_logs() as logs:
        async with served(slow) as one, served(quick) as other:
            async with hooking(settings(one, timeout_s=0.1), settings(other)) as hooks:
                started_s = time.monotonic()
                hooks.on_events([event(1)], "")
                assert time.monotonic() - started_s < 0.05
                await counted(hooks, "delivered", 1)
                assert quick.got[0]["version"] == 1
                await counted(hooks, "retried", 1)
                assert slow.gate is not None
                slow.gate.set()
                await counted(hooks, "delivered", 2)
    assert logs[0]["why"] == "no answer within 0.1 s"


async def test_a_hook_that_is_gone_gets_it_all_when_it_is_back() -> None:
    port, receiver = free_port(), Receiver()
    with capture_logs() as logs:
        async with hooking(settings(f"http://127.0.0.1:{port}/hook?key=hidden")) as hooks:
            hooks.on_events([event(version) for version in range(1, 6)], "")
            await counted(hooks, "retried", 2)
            async with served(receiver, port):
                await counted(hooks, "delivered", 5)
    assert [got["version"] for got in receiver.got] == [1, 2, 3, 4, 5]
    assert [line["event"] for line in logs] == ["hook_fails", "hook_works_again"]
    assert logs[0]["why"] == "Connection refused"
    assert "hidden" not in str(logs)


async def test_a_full_queue_loses_the_oldest_and_says_so_once() -> None:
    receiver = Receiver(gate=asyncio.Event())
    with capture_logs() as logs:
        async with served(receiver) as url, hooking(settings(url)) as hooks:
            hooks.on_events([event(0)], "")
            await receiver.has(1)  # this one is under way, the others wait
            hooks.on_events([event(version) for version in range(1, deliveries.QUEUE + 8)], "")
            assert hooks.deliveries["dropped"] == 7
            assert receiver.gate is not None
            receiver.gate.set()
            await counted(hooks, "delivered", 1 + deliveries.QUEUE)
    assert [got["version"] for got in receiver.got] == [0, *range(8, deliveries.QUEUE + 8)]
    assert [line["event"] for line in logs] == ["hook_queue_full"]


async def test_it_gives_up_after_an_hour() -> None:
    port = free_port()
    with capture_logs() as logs:
        async with hooking(settings(f"http://127.0.0.1:{port}/")) as hooks:
            now_s = 1000.0
            hooks.clock = lambda: now_s
            hooks.on_events([event(1)], "")
            await counted(hooks, "retried", 1)
            now_s += deliveries.GIVE_UP_S
            await counted(hooks, "failed", 1)
    assert [line["event"] for line in logs] == ["hook_fails", "hook_gave_up"]


async def test_stopping_tries_once_more_and_then_lets_go(monkeypatch: pytest.MonkeyPatch) -> None:
    there, gone = Receiver(statuses=[500]), free_port()
    monkeypatch.setattr(deliveries, "FIRST_PAUSE_S", 100.0)  # nothing is tried again by itself
    with capture_logs() as logs:
        async with served(there) as url:
            async with hooking(settings(url), settings(f"http://127.0.0.1:{gone}/")) as hooks:
                hooks.on_events([event(1), event(2)], "")
                await counted(hooks, "retried", 2)
                started_s = time.monotonic()
                await hooks.close(5.0)
                assert time.monotonic() - started_s < 2.0
    assert [got["version"] for got in there.got] == [1, 1, 2]
    assert hooks.deliveries == {"delivered": 2, "retried": 2, "failed": 0, "dropped": 2}
    assert [(line["events"], line["why"]) for line in logs if line["event"] == "hook_not_told"] == [
        (2, "the splitter stops")
    ]


async def test_stopping_is_not_held_up_by_a_hook_that_hangs() -> None:
    receiver = Receiver(gate=asyncio.Event())
    async with served(receiver) as url:
        async with hooking(settings(url)) as hooks:
            hooks.on_events([event(1)], "")
            await receiver.has(1)
            started_s = time.monotonic()
            await hooks.close(0.2)
            assert time.monotonic() - started_s < 1.0
    assert hooks.deliveries["dropped"] == 1


async def test_another_configuration_takes_over_what_waits() -> None:
    receiver = Receiver(statuses=[500])
    async with served(receiver) as url, hooking(settings(url)) as hooks:
        hooks.on_events([event(1)], "")
        await counted(hooks, "retried", 1)
        hooks.configure([settings(url, secret=SECRET)])
        await counted(hooks, "delivered", 1)
        assert "X-Splitter-Signature" not in receiver.raw[0][0]
        assert "X-Splitter-Signature" in receiver.raw[-1][0]
        hooks.configure([])
        hooks.on_events([event(2)], "")
        await asyncio.sleep(0.05)
    assert [got["version"] for got in receiver.got] == [1, 1]


async def test_a_hook_that_is_taken_away_loses_what_waits() -> None:
    port = free_port()
    with capture_logs() as logs:
        async with hooking(settings(f"http://127.0.0.1:{port}/")) as hooks:
            hooks.on_events([event(1), event(2)], "")
            await counted(hooks, "retried", 1)
            hooks.configure([])
            assert hooks.deliveries["dropped"] == 2
    assert logs[-1]["why"] == "it is not configured any more"


async def test_an_answer_that_is_no_http() -> None:
    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    with capture_logs() as logs:
        async with hooking(settings(f"http://127.0.0.1:{port}/?key=hidden")) as hooks:
            hooks.on_events([event(1)], "")
            await counted(hooks, "retried", 1)
    server.close()
    assert logs[0]["why"].startswith("no answer that could be read")
    assert "hidden" not in str(logs)


# --- the hook that is asked -------------------------------------------------------------------------------------------


def confirm(secret: str = "", timeout_s: float = 5.0) -> Confirm:
    return Confirm(
        SecretStr(secret) if secret else None,
        name="edge-1:8000",
        now=time.time,
        random=random.Random(1),
        timeout_s=timeout_s,
    )


async def test_a_confirm_hook_says_yes_and_can_tell_who_asks() -> None:
    receiver = Receiver()
    async with served(receiver) as url:
        assert await confirm(SECRET).ask(url, {"stage": 2, "percent": 25.0}) == ""
    headers, body = receiver.raw[0]
    assert verified(SECRET.encode(), headers, body, time.time())
    assert headers["X-Splitter-Event"] == "confirm"
    asked = receiver.got[0]
    assert (asked["event"], asked["splitter"], asked["stage"], asked["percent"]) == ("confirm", "edge-1:8000", 2, 25.0)


@pytest.mark.parametrize("status", [201, 204, 302, 403, 500])
async def test_only_200_is_a_yes(status: int) -> None:
    async with served(Receiver(statuses=[status])) as url:
        said = await confirm().ask(url, {})
    assert said.startswith(f"the confirm hook answered {status}")
    assert len(said) < 300


async def test_what_a_confirm_hook_says_is_passed_on_harmlessly() -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=409, text="not yet:\n load test \x1b[31mruns\x00\u202e")

    app = web.Application()
    app.router.add_post("/", refuse)
    async with TestServer(app) as server:
        said = await confirm().ask(str(server.make_url("/")), {})
    assert said == "the confirm hook answered 409: not yet: load test [31mruns"


async def test_a_confirm_hook_that_can_not_be_asked_is_a_sentence() -> None:
    said = await confirm().ask(f"http://127.0.0.1:{free_port()}/?key=hidden", {})
    assert said == "the confirm hook can't be asked: Connection refused"
    slow = Receiver(gate=asyncio.Event())
    async with served(slow) as url:
        said = await confirm(timeout_s=0.1).ask(url, {})
    assert said == "the confirm hook can't be asked: no answer within 0.1 s"
    async with served(Receiver()) as url:
        said = await confirm().ask(url.replace("http://", "https://"), {})
    assert said == "the confirm hook can't be asked: it does not speak TLS"


async def test_a_certificate_that_nobody_vouches_for() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    app = web.Application()
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=context)
    said = await confirm().ask(str(server.make_url("/")), {})
    await server.close()
    assert said.startswith("the confirm hook can't be asked: its certificate is not accepted")
