"""The stream of server-sent events: what a listener hears, in which order, and who is let go."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog.testing

from splitter.control import stream
from tests.integration.operators import Operators, operators

STREAM = "/api/v1/rollout/stream"


@pytest.fixture
async def ops(tmp_path: Path) -> AsyncIterator[Operators]:
    async with operators(tmp_path) as running:
        yield running


class Listener:
    """Reads one message after another."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self, *names: str) -> tuple[str, dict[str, Any], int | None]:
        """The next message of one of these names (any, if none is given): its name, body and id."""
        while True:
            fields: dict[str, str] = {}
            async with asyncio.timeout(5):
                while line := (await self._response.content.readline()).decode().rstrip("\n"):
                    name, _, value = line.partition(": ")
                    fields[name] = value
            assert fields, "the stream has ended"
            if "event" in fields and (not names or fields["event"] in names):
                version = int(fields["id"]) if "id" in fields else None
                return fields["event"], json.loads(fields["data"]), version

    def close(self) -> None:
        self._response.close()


async def listen(ops: Operators, **headers: str) -> Listener:
    response = await ops.client.get(ops.server.make_url(STREAM), headers=headers)
    assert (response.status, response.headers["Content-Type"]) == (200, "text/event-stream")
    return Listener(response)


async def test_the_state_first_then_each_change_after_its_line(ops: Operators) -> None:
    listener = await listen(ops)
    name, body, version = await listener.next()
    assert (name, body["percent"]["value"], version) == ("status", 10, body["version"])
    await ops.ask("POST", "/rollback", {"reason": "one"})
    name, event, event_version = await listener.next("event", "status")
    assert (name, event["why"], event["to"]) == ("event", "one", "rolled back")
    name, body, version = await listener.next("event", "status")
    assert (name, body["rolled_back"]["value"]) == ("status", True)
    assert version == event_version == body["version"]
    listener.close()


async def test_who_comes_back_hears_what_it_missed(ops: Operators) -> None:
    listener = await listen(ops)
    _, _, version = await listener.next("status")
    listener.close()
    for percent in (20, 30):
        await ops.ask("PUT", "/percent", {"percent": percent})
    again = await listen(ops, **{"Last-Event-ID": str(version)})
    heard = [await again.next() for _ in range(3)]
    assert [(name, body.get("to")) for name, body, _ in heard] == [("event", "20 %"), ("event", "30 %"), ("status", None)]
    again.close()
    odd = await listen(ops, **{"Last-Event-ID": "x"})
    assert (await odd.next())[0] == "event", "everything there is"
    odd.close()


async def test_rates_each_second_while_somebody_listens(ops: Operators, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SAMPLE_EVERY_S", 0.05)
    listener = await listen(ops)
    await listener.next("status")
    ops.plane.stats.record("domain", "bucket", "default", b"GET", 500, 0.004)
    ops.plane.stats.fail("domain", "5xx")
    while True:
        _, body, version = await listener.next("stats")
        if body["domain"]["requests_per_s"]:
            break
    assert version is None, "a browser must not come back with it"
    assert body["domain"]["requests_per_s"] == pytest.approx(1 / body["interval_s"], rel=0.05)
    assert body["domain"]["error_rate"] == 1
    assert 0.003 < body["domain"]["p95_s"] <= 0.005
    assert body["legacy"] == {"requests_per_s": 0, "error_rate": None, "p50_s": None, "p95_s": None, "p99_s": None}
    listener.close()


async def test_the_last_quarter_of_an_hour_also_for_who_comes_later(ops: Operators, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SAMPLE_EVERY_S", 0.05)
    monkeypatch.setattr(stream, "POINT_EVERY_S", 0.05)
    first = await listen(ops)
    assert [(await first.next())[0] for _ in range(2)] == ["status", "history"]
    ops.plane.stats.record("domain", "bucket", "default", b"GET", 200, 0.004)
    ops.plane.stats.record("legacy", "fallback", "default", b"GET", 200, 0.04)
    ops.plane.stats.fall_back("timeout", "rescued")
    ops.plane.stats.mirror("mismatch")
    while not (point := (await first.next("point"))[1])["fallbacks"]:
        pass
    first.close()
    later = await listen(ops)
    _, history, version = await later.next("history")
    assert version is None
    assert [known for known in history["points"] if known["fallbacks"]] == [point]
    assert point["mirror_mismatches"] == 1
    assert [sum(point[side]["latency_counts"]) for side in ("legacy", "domain")] == [1, 1]
    assert point["domain"]["latency_counts"].index(1) == history["bounds_s"].index(0.005)
    assert datetime.fromisoformat(point["at"]).tzinfo is not None
    later.close()


async def test_points_are_taken_while_nobody_listens_and_old_ones_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "POINT_EVERY_S", 0.01)
    monkeypatch.setattr(stream, "POINTS", 3)
    async with operators(tmp_path) as ops:
        collected = ops.plane.collected = asyncio.Semaphore(0)
        for _ in range(6):
            async with asyncio.timeout(5):
                await collected.acquire()
        listener = await listen(ops)
        assert len((await listener.next("history"))[1]["points"]) == 3
        listener.close()


async def test_a_silent_stream_is_kept_alive(ops: Operators, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(stream, "SAMPLE_EVERY_S", 60)
    response = await ops.client.get(ops.server.make_url(STREAM))
    async with asyncio.timeout(5):
        while await response.content.readline() != b": alive\n":
            pass
    response.close()


async def test_who_reads_too_slowly_is_let_go_and_nobody_waits_for_it(ops: Operators) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", ops.server.port))
        await loop.sock_sendall(sock, f"GET {STREAM} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert await loop.sock_recv(sock, 64)
        runner: Any = ops.server.runner
        for connection in runner.server.connections:  # else the kernel holds megabytes for it
            connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        quick = await listen(ops)
        with structlog.testing.capture_logs() as lines:
            while not any(line["event"] == "listener_dropped" for line in lines):
                ops.controller._tell()
                await quick.next("status")
        async with asyncio.timeout(5):
            while await loop.sock_recv(sock, 1 << 20):
                pass  # what was under way already; then its end
    await ops.ask("POST", "/rollback")
    while not (await quick.next("status"))[1]["rolled_back"]["value"]:
        pass
    quick.close()


async def test_only_get(ops: Operators) -> None:
    async with asyncio.timeout(2):
        assert (await ops.client.head(ops.server.make_url(STREAM))).status == 405
        assert (await ops.ask("POST", "/stream"))[0] == 405


async def test_there_is_room_for_so_many(ops: Operators, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LISTENERS", 2)
    listeners = [await listen(ops) for _ in range(2)]
    for listener in listeners:
        await listener.next("status")
    status, body, _ = await ops.ask("GET", "/stream")
    assert (status, body["error"]["code"]) == (503, "too_many_listeners")
    for listener in listeners:
        listener.close()


async def test_a_listener_does_not_keep_the_splitter_from_stopping(ops: Operators) -> None:
    listener = await listen(ops)
    await listener.next("status")
    async with asyncio.timeout(0.9):  # sooner than aiohttp would lose its patience
        await ops.server.close()
    listener.close()
