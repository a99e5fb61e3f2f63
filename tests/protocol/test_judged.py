"""What of real exchanges is counted to be judged, and as what."""

from __future__ import annotations

import asyncio

import pytest

from splitter.judged import LATENCY_BOUNDS_S, Tally
from splitter.routing import Backend
from tests.protocol.rig import FakeTransport, Rig, send
from tests.protocol.test_fallback import answer, asked, rescued, rig_at_100, started
from tests.protocol.test_relay import GET, OK, UPGRADE, exchange, post

FORCED = b"GET /?force_domain=true HTTP/1.1\r\nHost: a\r\n\r\n"


def numbers(tally: Tally) -> tuple[int, dict[str, int], int, int, int, int]:
    """requests, failures, errors, refused, left, turned away."""
    return tally.requests, tally.failures, tally.errors, tally.refused, tally.left, tally.turned_away


def domain(rig: Rig) -> tuple[int, dict[str, int], int, int, int, int]:
    assert rig.plane.stats.judged.legacy == {}
    return numbers(rig.plane.stats.judged.domain["default"])


def nothing(rig: Rig) -> bool:
    judged = rig.plane.stats.judged
    return judged.legacy == judged.domain == {}


@pytest.mark.parametrize(("percent", "side"), [(100, "domain"), (0, "legacy")])
async def test_each_side(percent: float, side: str) -> None:
    rig = Rig(percent=percent)
    await exchange(rig, rig.client())
    judged = rig.plane.stats.judged
    assert numbers(getattr(judged, side)["default"]) == (1, {}, 0, 0, 0, 0)
    assert set(judged.legacy) | set(judged.domain) == {"default"}


async def test_forced_requests_are_not_judged() -> None:
    rig = Rig(percent=0)
    await exchange(rig, rig.client(), FORCED)
    assert rig.counts() == {("domain", 200): 1}
    assert nothing(rig)


async def test_nor_are_they_when_legacy_rescues_them() -> None:
    rig = rig_at_100()
    client = await started(rig, FORCED)
    asked(rig).lose(ConnectionResetError())
    assert await rescued(rig, client)
    assert nothing(rig)


async def test_nor_are_requests_without_a_key() -> None:
    rig = Rig(percent=100, sources=())
    await exchange(rig, rig.client())
    assert nothing(rig)


async def test_nor_are_the_splitters_own_pages() -> None:
    rig = Rig(percent=100)
    await exchange(rig, rig.client(), b"GET /api/v1/monitoring/health HTTP/1.1\r\nHost: a\r\n\r\n")
    assert rig.counts() == {("internal", 200): 1}
    assert nothing(rig)


async def test_rescued() -> None:
    rig = rig_at_100()
    client = await started(rig)
    answer(rig, b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nnope")
    assert await rescued(rig, client)
    assert domain(rig) == (1, {"5xx": 1}, 0, 0, 0, 0)


async def test_failed_by_both() -> None:
    rig = rig_at_100()
    await started(rig)
    asked(rig).lose(ConnectionResetError())
    await rig.settle()
    asked(rig).lose(ConnectionResetError())
    assert rig.plane.stats.failures == {(Backend.DOMAIN, "reset"): 1, (Backend.LEGACY, "reset"): 1}
    assert domain(rig) == (1, {"reset": 1}, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", (1, {"5xx": 1}, 1, 0, 0, 0)),
        (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", (1, {}, 0, 1, 0, 0)),
        (b"HTTP/1.1 302 Go\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n", (1, {}, 0, 0, 0, 0)),
        (b"nonsense\r\n\r\n", (1, {"protocol": 1}, 1, 0, 0, 0)),
    ],
)
async def test_answers(response: bytes, expected: tuple[int, dict[str, int], int, int, int, int]) -> None:
    rig = Rig(percent=100)
    await exchange(rig, rig.client(), GET, response)
    assert domain(rig) == expected


async def test_an_answer_that_breaks_off_is_an_error_whatever_its_status() -> None:
    rig = rig_at_100()
    await started(rig)
    send(asked(rig), b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    rig.backend.lose(ConnectionResetError())
    assert domain(rig) == (1, {"reset": 1}, 1, 0, 0, 0)


async def test_a_client_that_left() -> None:
    rig = rig_at_100()
    client = await started(rig)
    client.lose(None)
    assert domain(rig) == (0, {}, 0, 0, 1, 0)


@pytest.mark.parametrize("rest", [b"zz\r\n", b"7fffffffffffffff0\r\n"])
async def test_what_the_client_did_wrong_is_not_judged(rest: bytes) -> None:
    rig = Rig(percent=100)
    client = rig.client()
    send(client, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    await rig.settle()
    send(client, rest)
    assert rig.counts() == {("domain", 400): 1}
    assert nothing(rig)


async def test_nor_is_a_body_that_stops_coming() -> None:
    rig = Rig(percent=100)
    send(rig.client(), post(10, b"half"))
    await rig.settle()
    rig.pass_time(61)
    assert rig.counts() == {("domain", 408): 1}
    assert nothing(rig)


async def test_turned_away_while_domain_is_ejected() -> None:
    rig = rig_at_100()
    rig.refuse, rig.refuse_ports = ConnectionRefusedError(111, "Connection refused"), {8002}
    for _ in range(8):
        client = await started(rig)
        assert await rescued_or_turned(rig, client)
    # The fifth failure ejects domain, so that request is decided anew and turned away as well.
    assert domain(rig) == (4, {"connect": 4}, 0, 0, 0, 4)


async def test_another_endpoint_of_domains_is_domain_all_the_same() -> None:
    rig = Rig(percent=100, domain_ports=(8002, 8003))
    rig.refuse, rig.refuse_ports = ConnectionRefusedError(111, "Connection refused"), {8002}
    for _ in range(2):
        await exchange(rig, rig.client())
    assert rig.plane.stats.failures == {(Backend.DOMAIN, "connect"): 2}
    assert domain(rig) == (2, {}, 0, 0, 0, 0)


async def rescued_or_turned(rig: Rig, client: FakeTransport) -> bool:
    await rig.settle()
    answer(rig, OK)
    return client.written.endswith(b"ok")


async def test_a_stream_counts_with_the_time_to_its_head() -> None:
    rig = Rig(percent=100)
    await started(rig)
    send(asked(rig), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await asyncio.sleep(0.2)
    send(rig.backend, b"2\r\nok\r\n0\r\n\r\n")
    counts = rig.plane.stats.judged.domain["default"].latency
    assert sum(counts) == 1
    assert LATENCY_BOUNDS_S[counts.index(1)] < 0.2


async def test_a_tunnel_counts_when_it_opens() -> None:
    rig = Rig(percent=100)
    client = rig.client()
    send(client, UPGRADE)
    await rig.settle()
    send(rig.backend, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
    assert domain(rig) == (1, {}, 0, 0, 0, 0)
