"""What is in force changes while a request waits: it is decided again before its first byte goes out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from splitter.outlier import State
from splitter.routing import Backend
from splitter.snapshot import Snapshot
from tests.protocol.rig import FakeTransport, Rig, send, table
from tests.protocol.test_fallback import POLICY, answer, fail_domain, started
from tests.protocol.test_relay import GET, OK, SWITCH, UPGRADE, post

ROLLED_BACK = b"X-Splitter-Backend: legacy\r\nX-Splitter-Reason: rollback\r\n"
DOMAIN = b"X-Splitter-Backend: domain\r\n"


def rig_at_100(**more: Any) -> Rig:
    return Rig(percent=100, fallback=POLICY, **more)


def roll_back(rig: Rig, grace_s: float | None = None) -> None:
    rig.plane.publish(Snapshot(table(100, rolled_back=True), tunnel_grace_s=grace_s))


async def busy(rig: Rig, count: int = 8) -> list[FakeTransport]:
    """Clients that hold all of domain's connections."""
    return [await started(rig) for _ in range(count)]


# --- waiting for a connection ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_bytes", [GET, post(3, b"abc"), UPGRADE])
async def test_a_queue_before_a_domain_that_hangs_goes_to_legacy_at_the_rollback(request_bytes: bytes) -> None:
    rig = rig_at_100()
    await busy(rig)
    waiting = await started(rig, request_bytes)
    assert not rig.at(8001)
    roll_back(rig)
    await rig.settle()
    (legacy,) = rig.at(8001)
    assert legacy.written.startswith(request_bytes.split(b"\r\n")[0])
    send(legacy, OK)
    assert ROLLED_BACK in waiting.written
    assert rig.plane.stats.failures == {}, "nobody failed"


async def test_who_waits_keeps_the_place_and_the_deadline_when_nothing_changes_for_it() -> None:
    rig = rig_at_100()
    rig.hold_connects = asyncio.Event()
    first, second = rig.client(), rig.client()
    send(first, GET.replace(b"/", b"/1", 1))
    send(second, GET.replace(b"/", b"/2", 1))
    for _ in range(29):
        rig.pass_time(1)
        rig.plane.publish(Snapshot(table(100)))
    rig.hold_connects.set()
    await rig.settle()
    assert [upstream.written[:6] for upstream in rig.at(8002)] == [b"GET /1", b"GET /2"]
    first, second = rig.client(), rig.client()
    rig.hold_connects.clear()
    for upstream in rig.at(8002):
        upstream.lose(None)
    send(first, GET)
    rig.pass_time(20)
    rig.plane.publish(Snapshot(table(100)))
    rig.pass_time(11)
    await rig.settle()
    assert not rig.at(8001), "connecting to legacy is held up, too"
    assert rig.plane.stats.failures[("domain", "overload")] == 1, "30 s from when it began to wait"


async def test_an_ejected_domain_is_left_by_those_who_wait() -> None:
    rig = rig_at_100(max_connections=5)
    clients = await busy(rig, 5)
    waiting = await started(rig)
    for upstream, client in zip(rig.at(8002), clients, strict=True):
        send(upstream, b"HTTP/1.1 500 fail\r\nContent-Length: 9\r\n\r\n")
        assert client.written.startswith(b"HTTP/1.1 500")
    assert rig.plane.domain_ejected
    rig.pass_time(0.1)
    await rig.settle()
    (legacy,) = rig.at(8001)
    send(legacy, OK)
    assert b"X-Splitter-Reason: unhealthy\r\n" in waiting.written


async def test_a_connection_that_comes_after_an_ejection_is_not_used() -> None:
    rig = rig_at_100()
    rig.hold_connects = asyncio.Event()
    client = rig.client()
    send(client, post(3, b"abc"))
    rig.plane.backends[Backend.DOMAIN].pool.endpoints[0].breaker.failed(0)
    for _ in range(4):
        rig.plane.backends[Backend.DOMAIN].pool.endpoints[0].failed(client)  # type: ignore[arg-type] # any request
    rig.hold_connects.set()
    await rig.settle()
    assert not any(upstream.written for upstream in rig.at(8002))
    assert rig.at(8001)[0].written.endswith(b"abc")


async def test_a_failed_connect_after_a_rollback_is_no_fallback() -> None:
    rig = rig_at_100()
    rig.refuse, rig.refuse_ports = ConnectionRefusedError(111, "Connection refused"), {8002}
    rig.hold_connects = asyncio.Event()
    client = rig.client()
    send(client, GET)
    rig.plane.epoch += 1
    rig.plane.router = type(rig.plane.router)(table(100, rolled_back=True))
    rig.hold_connects.set()
    await rig.settle()
    send(rig.at(8001)[0], OK)
    assert ROLLED_BACK in client.written
    assert rig.plane.stats.fallbacks == {}


async def test_a_stale_connection_is_decided_again_too() -> None:
    rig = rig_at_100()
    client = await started(rig)
    answer(rig, OK)
    client.take()
    send(client, GET)
    roll_back(rig)
    rig.at(8002)[0].lose(ConnectionResetError())
    await rig.settle()
    send(rig.at(8001)[0], OK)
    assert ROLLED_BACK in client.written


async def test_what_legacy_is_to_rescue_stays_rescued() -> None:
    rig = rig_at_100()
    client = await started(rig)
    rig.hold_connects = asyncio.Event()
    rig.at(8002)[0].lose(ConnectionResetError())
    rig.plane.publish(Snapshot(table(100)))
    rig.hold_connects.set()
    await rig.settle()
    send(rig.at(8001)[0], OK)
    assert b"X-Splitter-Backend: legacy\r\nX-Splitter-Reason: fallback\r\n" in client.written


async def test_a_request_whose_body_has_begun_on_a_kept_connection_stays() -> None:
    rig = rig_at_100()
    client = await started(rig)
    answer(rig, OK)
    client.take()
    send(client, post(6, b"abc"))
    roll_back(rig)
    send(client, b"def")
    domain = rig.at(8002)[0]
    assert domain.written.endswith(b"abcdef")
    send(domain, OK)
    assert DOMAIN in client.written


# --- the trial of an endpoint that was out --------------------------------------------------------------------------


async def tried(rig: Rig) -> FakeTransport:
    """Domain is out, its time is over, and one request tries it."""
    await fail_domain(rig, 5)
    rig.pass_time(10.1)
    client = await started(rig)
    assert rig.plane.domain_ejected
    return client


async def test_a_trial_whose_client_leaves_lets_another_try() -> None:
    rig = rig_at_100()
    client = await tried(rig)
    client.lose(ConnectionResetError())
    assert not rig.plane.domain_ejected
    client = await started(rig)
    answer(rig, OK)
    assert DOMAIN in client.written


async def test_a_trial_that_waits_for_its_connection_stays_one() -> None:
    rig = rig_at_100()
    await fail_domain(rig, 5)
    rig.pass_time(10.1)
    rig.hold_connects = asyncio.Event()
    client = rig.client()
    send(client, GET)
    rig.plane.publish(rig.plane.snapshot)
    rig.hold_connects.set()
    await rig.settle()
    answer(rig, OK)
    assert DOMAIN in client.written
    assert not rig.plane.domain_ejected


async def test_an_old_failure_is_not_the_trials() -> None:
    rig = rig_at_100()
    old = await started(rig, post(0))
    (connection,) = rig.at(8002)
    for _ in range(5):
        await started(rig, post(0))
        send(rig.upstreams[-1], b"HTTP/1.1 500 fail\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    rig.pass_time(10.1)
    trial = await started(rig)
    connection.lose(ConnectionResetError())
    assert old.written.startswith(b"HTTP/1.1 502 ")
    assert rig.plane.backends[Backend.DOMAIN].pool.endpoints[0].breaker.state is State.HALF_OPEN
    send(rig.upstreams[-1], OK)
    assert DOMAIN in trial.written
    assert not rig.plane.domain_ejected


# --- tunnels and streams after a rollback ---------------------------------------------------------------------------


async def domain_streams(rig: Rig) -> tuple[FakeTransport, FakeTransport, FakeTransport]:
    """A tunnel, a response that goes on, and a request without an answer yet."""
    tunnel = await started(rig, UPGRADE)
    send(rig.upstreams[-1], SWITCH)
    events = await started(rig)
    send(rig.upstreams[-1], b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
    return tunnel, events, await started(rig)


async def test_streams_stay_where_they_are_without_a_grace() -> None:
    rig = rig_at_100()
    clients = await domain_streams(rig)
    roll_back(rig)
    rig.pass_time(20)
    assert not any(client.closing for client in clients)


async def test_streams_of_domain_end_when_the_grace_is_over() -> None:
    rig = rig_at_100()
    tunnel, events, unanswered = await domain_streams(rig)
    rig.plane.publish(Snapshot(table(0)))
    legacy_tunnel = await started(rig, UPGRADE)
    send(rig.upstreams[-1], SWITCH)
    roll_back(rig, grace_s=5)
    rig.pass_time(4.5)
    roll_back(rig, grace_s=5)  # said again, as for a probe: the time does not begin anew
    assert not tunnel.closing
    rig.pass_time(1.8)
    assert tunnel.closing
    assert not tunnel.aborted, "its last bytes are on their way"
    assert events.aborted, "so that the client can tell that there would have been more"
    assert not unanswered.closing
    assert not legacy_tunnel.closing
    assert rig.plane.gauges().tunnels == 1
    send(rig.at(8002)[-1], OK)
    assert DOMAIN in unanswered.written


async def test_a_resume_within_the_grace_keeps_them() -> None:
    rig = rig_at_100()
    tunnel, _, _ = await domain_streams(rig)
    roll_back(rig, grace_s=5)
    rig.pass_time(4)
    rig.plane.publish(Snapshot(table(100), tunnel_grace_s=5))
    rig.pass_time(20)
    assert not tunnel.closing
