"""Several endpoints, and one that moves, on real sockets."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from splitter.proxy.dial import Endpoint
from splitter.snapshot import Snapshot
from tests.integration.live import GET, at, live, on_uvloop, says, serving, table
from tools.ports import free_port

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"


async def test_a_backend_that_comes_back_at_another_address_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a container that is made anew: the same name, another address. On asyncio's loop, whose lookups can be stood in."""
    where, port, asked = "127.0.0.2", free_port(), 0
    real = socket.getaddrinfo

    def lookup(host: Any, *arguments: Any, **named: Any) -> Any:
        nonlocal asked
        if host == "domain.internal":
            asked += 1
            host = where
        return real(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    async with live(Endpoint("domain.internal", port)) as running:
        async with serving(says(b"before"), host=where, port=port):
            reader, writer = await running.connect()
            for _ in range(3):
                writer.write(GET)
                await reader.readuntil(b"before")
            assert asked == 1, "a kept connection needs no lookup"
        where = "127.0.0.3"
        async with serving(says(b"after"), host=where, port=port):
            for _ in range(3):
                writer.write(GET)
                await reader.readuntil(b"after")
        writer.close()
        assert running.plane.stats.failures == {}


@on_uvloop
async def test_of_two_endpoints_a_dead_one_costs_nobody_an_answer() -> None:
    dead = free_port()
    async with serving(says(b"domain")) as port, live((at(dead), at(port))) as running:
        for request in (GET, POST) * 10:
            assert (await running.ask(request)).endswith(b"domain")
        assert running.plane.stats.fallbacks == {}
        assert running.plane.stats.failures[("domain", "connect")] <= 7, "five and it is out, then a trial at a time"


@on_uvloop
async def test_an_endpoint_that_is_killed_under_load_costs_nobody_an_answer() -> None:
    async with serving(says(b"domain")) as stays, serving(says(b"legacy")) as legacy:
        async with live((at(stays), (goes := at(free_port()))), at(legacy)) as running:
            stop = asyncio.Event()
            counted = 0

            async def client() -> None:
                nonlocal counted
                reader, writer = await running.connect()
                while not stop.is_set():
                    writer.write(GET)
                    head = await reader.readuntil(b"\r\n\r\n")
                    assert head.startswith(b"HTTP/1.1 200 "), head
                    await reader.readexactly(6)
                    counted += 1
                writer.close()

            async with asyncio.TaskGroup() as clients:
                for _ in range(16):
                    clients.create_task(client())
                for _ in range(3):
                    async with serving(says(b"domain"), port=goes.port):
                        await asyncio.sleep(0.3)
                    await asyncio.sleep(0.3)
                stop.set()
            assert counted > 100


@on_uvloop
async def test_an_endpoint_that_is_down_for_the_probes_gets_nothing() -> None:
    async with serving(says(b"one")) as one, serving(says(b"two")) as two:
        async with live((at(one), at(two))) as running:
            assert {(await running.ask())[-3:] for _ in range(8)} == {b"one", b"two"}
            down = frozenset({("domain", f"http://127.0.0.1:{one}")})
            running.plane.publish(Snapshot(table(100), down=down))
            assert {(await running.ask())[-3:] for _ in range(8)} == {b"two"}
