"""Several endpoints of one backend: which gets a request, and where it goes when one fails."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from splitter.routing import Backend
from splitter.snapshot import Snapshot
from tests.protocol.rig import Rig, send, table
from tests.protocol.test_fallback import FALLBACK, POLICY, started
from tests.protocol.test_relay import GET, OK, UPGRADE, code, exchange, post

REFUSED = ConnectionRefusedError(111, "Connection refused")
DOWN_8002 = frozenset({("domain", "http://127.0.0.1:8002")})


def rig_of_two(**more: Any) -> Rig:
    return Rig(percent=100, fallback=POLICY, domain_ports=(8002, 8003), **more)


def asked_at(rig: Rig, port: int) -> int:
    """Requests that went to this port and were not taken out of its transports."""
    return sum(upstream.written.count(b" HTTP/1.1\r\nHost") for upstream in rig.at(port))


async def test_requests_go_where_least_are_outstanding() -> None:
    rig = rig_of_two()
    for _ in range(6):
        await started(rig)
    assert (asked_at(rig, 8002), asked_at(rig, 8003)) == (3, 3)
    for upstream in rig.at(8003):
        send(upstream, OK)
    for _ in range(3):
        await started(rig)
    assert (asked_at(rig, 8002), asked_at(rig, 8003)) == (3, 6)


# --- nothing was sent -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_bytes", [GET, post(3, b"abc"), UPGRADE])
async def test_a_failed_connect_tries_the_other_endpoint_with_any_method(request_bytes: bytes) -> None:
    rig = rig_of_two()
    rig.refuse, rig.refuse_ports = REFUSED, {8002}
    for _ in range(4):
        await started(rig, request_bytes)
    assert asked_at(rig, 8003) == 4
    assert not rig.at(8001), "domain can answer"
    assert rig.plane.stats.fallbacks == {}
    assert 1 <= rig.plane.stats.failures[("domain", "connect")] <= 4


async def test_when_no_endpoint_can_be_reached_legacy_answers() -> None:
    rig = rig_of_two()
    rig.refuse, rig.refuse_ports = REFUSED, {8002, 8003}
    client = await started(rig, post(3, b"abc"))
    await rig.settle()
    send(rig.at(8001)[0], OK)
    assert FALLBACK in client.written
    assert rig.plane.stats.failures == {("domain", "connect"): 2}
    assert rig.plane.stats.fallbacks == {("connect", "rescued"): 1}


async def test_each_endpoint_is_tried_once() -> None:
    rig = Rig(percent=100, domain_ports=(8002, 8003, 8004))
    rig.refuse = REFUSED
    client = await started(rig)
    await rig.settle()
    assert code(client) == (502, "connect")
    assert rig.plane.stats.failures == {("domain", "connect"): 3}


async def test_an_endpoint_that_is_full_is_not_the_end() -> None:
    rig = rig_of_two(max_connections=1)
    down_3 = frozenset({("domain", "http://127.0.0.1:8003")})
    rig.plane.publish(Snapshot(table(100), down=down_3))
    clients = [await started(rig) for _ in range(6)]  # one is served, four wait, one finds no place
    assert len(rig.at(8001)) == 1, "legacy takes it"
    rig.plane.publish(Snapshot(table(100)))
    clients.append(await started(rig))
    assert asked_at(rig, 8003) == 1
    assert not any(b" 503 " in client.written for client in clients)


async def test_what_this_process_lacks_is_no_failure_of_a_backend() -> None:
    rig = rig_of_two()
    rig.refuse = OSError(errno.EMFILE, "Too many open files")
    for _ in range(10):
        client = await started(rig)
        assert code(client) == (503, "exhausted")
        assert b"Retry-After: 1\r\n" in client.written
    assert rig.plane.stats.failures == {}
    assert rig.plane.stats.fallbacks == {}
    assert not rig.plane.domain_ejected


# --- an endpoint is down --------------------------------------------------------------------------------------------


async def test_an_endpoint_that_probes_found_down_gets_nothing_while_another_is_up() -> None:
    rig = rig_of_two()
    rig.plane.publish(Snapshot(table(100), down=DOWN_8002))
    for _ in range(5):
        await started(rig)
    assert (asked_at(rig, 8002), asked_at(rig, 8003)) == (0, 5)
    rig.plane.publish(Snapshot(table(100)))
    for _ in range(5):
        await started(rig)
    assert asked_at(rig, 8002) == 5


async def test_kept_connections_of_an_endpoint_that_is_down_are_not_used() -> None:
    rig = rig_of_two()
    client = rig.client()
    await exchange(rig, client)
    (kept,) = rig.at(8002) + rig.at(8003)
    port = kept.get_extra_info("peername")[1]
    kept.take()
    rig.plane.publish(Snapshot(table(100), down=frozenset({("domain", f"http://127.0.0.1:{port}")})))
    for _ in range(4):
        await started(rig)
    assert not kept.written


async def test_who_waits_at_an_endpoint_that_goes_down_goes_to_the_other() -> None:
    rig = rig_of_two(max_connections=2)
    for _ in range(6):
        await started(rig)  # two run at each endpoint, one waits at each
    for upstream in rig.at(8003):
        send(upstream, OK)
    rig.plane.publish(Snapshot(table(100), down=DOWN_8002))
    await rig.settle()
    assert asked_at(rig, 8002) == 2
    assert asked_at(rig, 8003) == 4


async def test_when_all_endpoints_are_down_domain_is_left_while_legacy_is_up() -> None:
    rig = rig_of_two()
    all_down = frozenset({("domain", f"http://127.0.0.1:{port}") for port in (8002, 8003)})
    rig.plane.publish(Snapshot(table(100), down=all_down))
    await started(rig)
    assert asked_at(rig, 8001) == 1
    rig.plane.publish(Snapshot(table(100), down=all_down | {("legacy", "http://127.0.0.1:8001")}))
    await started(rig)
    assert asked_at(rig, 8002) + asked_at(rig, 8003) == 1, "a request that can go nowhere else is worth a try"


async def test_one_endpoint_down_and_the_other_ejected_is_domain_out() -> None:
    rig = rig_of_two()
    rig.plane.publish(Snapshot(table(100), down=DOWN_8002))
    await fail(rig, 8003, 5)
    assert rig.plane.domain_ejected


async def fail(rig: Rig, port: int, times: int) -> None:
    """That many requests in a row fail at this endpoint."""
    for _ in range(times):
        await started(rig, post(0))
        (upstream,) = [one for one in rig.at(port) if not one.closing]
        send(upstream, b"HTTP/1.1 500 fail\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")


async def test_each_endpoint_has_a_breaker_of_its_own() -> None:
    rig = rig_of_two()
    rig.plane.publish(Snapshot(table(100), down=frozenset({("domain", "http://127.0.0.1:8003")})))
    await fail(rig, 8002, 5)
    rig.plane.publish(Snapshot(table(100)))
    assert not rig.plane.domain_ejected
    for _ in range(3):
        await started(rig)
    assert asked_at(rig, 8003) == 3
    rig.pass_time(10.1)
    clients = [await started(rig) for _ in range(4)]
    assert asked_at(rig, 8002) == 6, "one of them is the trial"
    send(rig.at(8002)[-1], OK)
    assert sum(client.written.endswith(b"ok") for client in clients) == 1
    await started(rig)
    assert asked_at(rig, 8002) == 7, "it is back"


# --- connections that were kept -------------------------------------------------------------------------------------


class Silent:
    """A socket on which something has happened that the loop has not told of yet."""

    def __init__(self, pair: Any) -> None:
        self._pair = pair

    def fileno(self) -> int:
        return int(self._pair.fileno())


@pytest.mark.parametrize("news", ["closed", "spoke"])
async def test_a_post_never_goes_out_on_a_connection_that_is_known_to_be_closed(news: str) -> None:
    rig = Rig()
    client = rig.client()
    await exchange(rig, client)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        kept = rig.backend
        kept._extra["socket"] = Silent(ours)  # type: ignore[attr-defined] # of asyncio's BaseTransport
        await exchange(rig, client, post(3, b"abc"))
        assert len(rig.upstreams) == 1
        if news == "closed":
            theirs.shutdown(socket.SHUT_WR)
        else:
            theirs.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        kept.take()
        assert (await exchange(rig, client, post(3, b"abc"))).endswith(b"ok")
    assert not kept.written
    assert len(rig.upstreams) == 2
    assert rig.plane.backends[Backend.LEGACY].pool.endpoints[0].counts() == {"idle": 1, "active": 0, "connecting": 0}
