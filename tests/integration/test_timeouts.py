"""Every time-out, on real sockets and with short values: what happens, and not before its time."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from dataclasses import replace

from splitter.proxy.settings import ConnectionLimits
from tests.integration.live import (
    GET,
    LIMITS,
    OK,
    POOL,
    Live,
    Reader,
    Writer,
    at,
    live,
    on_uvloop,
    read_head,
    says,
    serving,
    with_timeouts,
)

SHORT_S = 0.4
SOON_S = 1.5
"""By when something that takes SHORT_S has happened, on a machine that is busy."""


def limits(**changed: float) -> ConnectionLimits:
    return replace(LIMITS, **changed)  # type: ignore[arg-type] # only the fields that are seconds


def error_of(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)["error"]["code"]


async def answer_and_time(reader: Reader) -> tuple[bytes, float]:
    """All that still comes, and how long that took."""
    started_s = time.monotonic()
    answer = await reader.read()
    return answer, time.monotonic() - started_s


async def hears_of_no_request(reader: Reader, writer: Writer) -> None:
    assert await reader.read() == b"", "no backend may see a request whose head is not complete"


# --- the client is slow ---------------------------------------------------------------------------------------------


@on_uvloop
async def test_a_head_that_is_not_complete_in_time_gets_408() -> None:
    async with serving(hears_of_no_request) as port, live(at(port), limits=limits(header_timeout_s=SHORT_S)) as running:
        reader, writer = await running.connect()
        writer.write(b"GET / HTTP/1.1\r\nHo")
        answer, took_s = await answer_and_time(reader)
        assert error_of(answer) == (408, "request_timeout")
        assert SHORT_S <= took_s < SOON_S
        writer.close()


@on_uvloop
async def test_a_head_that_comes_byte_by_byte_gets_no_more_time() -> None:
    async with serving(hears_of_no_request) as port, live(at(port), limits=limits(header_timeout_s=SHORT_S)) as running:
        reader, writer = await running.connect()
        answer = asyncio.get_running_loop().create_task(answer_and_time(reader))
        for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 500:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
            if answer.done():
                break
        received, took_s = await answer
        assert error_of(received) == (408, "request_timeout")
        assert SHORT_S <= took_s < SOON_S
        writer.close()


@on_uvloop
async def test_a_silent_connection_is_closed_without_a_word() -> None:
    async with serving(hears_of_no_request) as port, live(at(port), limits=limits(header_timeout_s=SHORT_S)) as running:
        reader, writer = await running.connect()
        answer, took_s = await answer_and_time(reader)
        assert (answer, SHORT_S <= took_s < SOON_S) == (b"", True)
        writer.close()


@on_uvloop
async def test_a_kept_connection_is_closed_when_nothing_comes() -> None:
    async with serving(says(b"ok")) as port, live(at(port), limits=limits(keepalive_timeout_s=SHORT_S)) as running:
        reader, writer = await running.connect()
        for _ in range(3):
            writer.write(GET)
            await reader.readuntil(b"ok")
            await asyncio.sleep(SHORT_S / 2)
        answer, took_s = await answer_and_time(reader)
        assert (answer, took_s < SOON_S) == (b"", True)
        writer.close()


@on_uvloop
async def test_a_body_that_stops_coming_gets_408() -> None:
    gone = asyncio.Event()

    async def handle(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        while await reader.read(100):
            pass
        gone.set()

    async with serving(handle) as port, live(at(port), timeouts=with_timeouts(idle_s=SHORT_S)) as running:
        reader, writer = await running.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        for _ in range(4):
            await asyncio.sleep(SHORT_S / 2)
            writer.write(b"a")
        answer, took_s = await answer_and_time(reader)
        assert error_of(answer) == (408, "request_timeout")
        assert SHORT_S <= took_s < SOON_S
        await gone.wait()
        assert running.plane.stats.failures == {}
        writer.close()


# --- the backend is slow --------------------------------------------------------------------------------------------


@on_uvloop
async def test_a_connect_that_takes_too_long() -> None:
    """A queue that is full answers no SYN."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        pool = replace(POOL, connect_timeout_s=SHORT_S)
        async with serving(says(b"legacy")) as legacy:
            async with live(at(port), at(legacy), pool=pool) as running:
                started_s = time.monotonic()
                answer = await running.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
                took_s = time.monotonic() - started_s
                assert answer.endswith(b"legacy")
                assert SHORT_S <= took_s < SOON_S
                assert running.plane.stats.failures == {("domain", "connect"): 1}
            async with live(at(port), pool=pool) as running:
                status, code = error_of(await running.ask())
                assert (status, code) == (502, "connect")
        for filler in fillers:
            filler.close()


async def never_answers(reader: Reader, writer: Writer) -> None:
    while await reader.read(100_000):
        pass


@on_uvloop
async def test_no_response_head_is_a_504() -> None:
    async with serving(never_answers) as port, live(at(port), timeouts=with_timeouts(response_s=SHORT_S)) as running:
        reader, writer = await running.connect()
        writer.write(GET)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
        writer.close()
        assert running.plane.stats.failures == {("domain", "timeout"): 1}


@on_uvloop
async def test_the_time_for_a_response_begins_when_the_request_is_complete() -> None:
    async with serving(never_answers) as port:
        async with live(at(port), timeouts=with_timeouts(response_s=SHORT_S, idle_s=5)) as running:
            reader, writer = await running.connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
            for _ in range(4):
                await asyncio.sleep(SHORT_S / 2)
                writer.write(b"a")
            started_s = time.monotonic()
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 504 ")
            assert SHORT_S <= time.monotonic() - started_s < SOON_S
            writer.close()


@on_uvloop
async def test_a_response_that_stops_coming_is_cut() -> None:
    async def handle(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(4):
            await asyncio.sleep(SHORT_S / 2)
            writer.write(b"abc")
        await reader.read()

    async with serving(handle) as port, live(at(port), timeouts=with_timeouts(idle_s=SHORT_S)) as running:
        reader, writer = await running.connect()
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n" + b"abc" * 4)
        started_s = time.monotonic()
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
        else:
            raise AssertionError("a client must be able to tell that the response is not complete")
        assert SHORT_S / 2 <= time.monotonic() - started_s < SOON_S
        writer.close()


# --- tunnels --------------------------------------------------------------------------------------------------------


async def switches(reader: Reader, writer: Writer) -> None:
    await read_head(reader)
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
    while data := await reader.read(1000):
        writer.write(data)


@on_uvloop
async def test_a_tunnel_in_which_nothing_is_said_ends() -> None:
    async with serving(switches) as port, live(at(port), timeouts=with_timeouts(tunnel_s=SHORT_S, idle_s=0.1)) as running:
        reader, writer = await open_tunnel(running)
        for _ in range(4):
            await asyncio.sleep(SHORT_S / 2)
            writer.write(b"ping")
            assert await reader.readexactly(4) == b"ping"
        answer, took_s = await answer_and_time(reader)
        assert (answer, SHORT_S <= took_s < SOON_S) == (b"", True)
        writer.close()


async def open_tunnel(running: Live) -> tuple[Reader, Writer]:
    reader, writer = await running.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    return reader, writer


# --- slow is not silent ---------------------------------------------------------------------------------------------

LARGE = 24 << 20
"""More than the kernel's buffers of both connections hold."""


@on_uvloop
async def test_a_client_that_reads_slowly_gets_everything_and_one_that_stops_is_cut() -> None:
    async def handle(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
        writer.write(bytes(LARGE))
        await writer.drain()
        await reader.read()

    async with serving(handle) as port, live(at(port), timeouts=with_timeouts(idle_s=SHORT_S)) as running:
        loop = asyncio.get_running_loop()
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            slow.setblocking(False)
            await loop.sock_connect(slow, ("127.0.0.1", running.port))
            await loop.sock_sendall(slow, GET)
            received = 0
            started_s = time.monotonic()
            while time.monotonic() - started_s < 5 * SHORT_S:
                received += len(await loop.sock_recv(slow, 20_000))
                await asyncio.sleep(SHORT_S / 8)
            assert not any(key[4] == 499 for key in running.plane.stats.requests)
            assert len(running.plane.entrance.connections) == 1, "it is slow, but it takes what it is sent"
            async with asyncio.timeout(SOON_S * 2):
                while running.plane.entrance.connections:
                    await asyncio.sleep(0.02)
            assert running.plane.stats.failures == {}, "the backend did nothing wrong"


@on_uvloop
async def test_a_backend_that_takes_a_body_slowly_gets_all_of_it() -> None:
    async def handle(reader: Reader, writer: Writer) -> None:
        await read_head(reader)
        received = 0
        for _ in range(12):
            received += len(await reader.readexactly(50_000))
            await asyncio.sleep(SHORT_S / 4)
        while received < LARGE:
            received += len(await reader.read(1 << 20))
        writer.write(OK)

    async with serving(handle) as port:
        async with live(at(port), timeouts=with_timeouts(idle_s=SHORT_S, response_s=SHORT_S)) as running:
            answer = await running.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (LARGE, bytes(LARGE)))
            assert answer.endswith(b"\r\n\r\nok"), answer[:300]
