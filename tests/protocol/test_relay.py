"""The relay between a client and a backend, without sockets and without time."""

from __future__ import annotations

import asyncio
import json

import pytest

from splitter.http1.forwarding import ForwardPolicy
from splitter.http1.request import HeadLimits
from splitter.routing import Backend
from splitter.snapshot import Snapshot
from tests.protocol.rig import CLIENT_IP, HEADER, FakeTransport, Rig, send, table
from tests.wire.test_requests import reply

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def post(length: int, body: bytes = b"", fields: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%b\r\n%b" % (length, fields, body)


async def exchange(rig: Rig, client: FakeTransport, request: bytes = GET, response: bytes = OK) -> bytes:
    """One whole request and response; what the client got."""
    send(client, request)
    await rig.settle()
    send(rig.upstreams[-1], response)
    return client.take()


def code(client: FakeTransport) -> tuple[int, str]:
    status, body = reply(client)
    return status, json.loads(body)["error"]["code"]


# --- keep-alive and pipelining --------------------------------------------------------------------------------------


async def test_connections_are_kept_on_both_sides() -> None:
    rig = Rig()
    client = rig.client()
    for _ in range(3):
        assert (await exchange(rig, client)).endswith(b"ok")
    assert len(rig.upstreams) == 1
    assert not client.closing
    assert rig.counts() == {("legacy", 200): 3}


async def test_another_client_uses_the_kept_connection() -> None:
    rig = Rig()
    await exchange(rig, rig.client())
    await exchange(rig, rig.client())
    assert len(rig.upstreams) == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    rig = Rig()
    client = rig.client()
    send(client, b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % i for i in range(5)))
    await rig.settle()
    for i in range(5):
        assert b"GET /%d " % i in rig.backend.take()
        send(rig.backend, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % i)
    answers = client.take().split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert [answer[-1:] for answer in answers] == [b"0", b"1", b"2", b"3", b"4"]


async def test_pipelining_reads_no_more_than_it_can_hold() -> None:
    rig = Rig()
    client = rig.client()
    send(client, GET)
    await rig.settle()
    for _ in range(20):
        if client.reading:
            send(client, GET * 300)
    assert not client.reading, "a client that pipelines for ever must be slowed down"
    while rig.backend.take():
        send(rig.backend, OK)
    assert client.reading
    assert client.take().count(b"HTTP/1.1 200 OK") > 2000


async def test_ten_thousand_pipelined_errors_do_not_recurse() -> None:
    rig = Rig(max_connections=1)
    rig.hold_connects = asyncio.Event()
    waiting = [rig.client() for _ in range(4)]
    for client in waiting:
        send(client, GET)
    client = rig.client()
    send(client, GET * 10_000)
    assert client.take().count(b"HTTP/1.1 503 Service Unavailable") == 10_000
    rig.hold_connects.set()
    await rig.settle()
    for _ in waiting:
        send(rig.backend, OK)
    assert all(c.take().endswith(b"ok") for c in waiting)


async def test_close_is_honoured_and_nothing_follows_it() -> None:
    rig = Rig()
    client = rig.client()
    send(client, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    await rig.settle()
    send(rig.backend, OK)
    assert b"Connection: close\r\n" in client.written
    assert client.closing
    assert rig.plane.gauges().downstream == 0


async def test_the_backends_close_ends_its_connection_not_the_clients() -> None:
    rig = Rig()
    client = rig.client()
    await exchange(rig, client, GET, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    assert rig.upstreams[0].closing
    assert not client.closing
    await exchange(rig, client)
    assert len(rig.upstreams) == 2


async def test_one_clients_close_does_not_spoil_the_next_ones_request() -> None:
    rig = Rig()
    close = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    for request in (close, GET, close, b"GET / HTTP/1.0\r\n\r\n", GET):
        assert (await exchange(rig, rig.client(), request, answer)).startswith(b"HTTP/1.1 200 OK\r\n")


# --- decisions ------------------------------------------------------------------------------------------------------


async def test_each_side_gets_its_clients_and_a_user_stays() -> None:
    rig = Rig(percent=30)
    client = rig.client()
    sides: dict[int, set[bytes]] = {}
    for user in list(range(100)) * 2:
        got = await exchange(rig, client, b"GET / HTTP/1.1\r\nHost: a\r\nX-User-Id: u%d\r\n\r\n" % user) or b""
        if not got:  # the response went out on the other side's connection
            waiting = [up for up in rig.upstreams if up.written and not up.closing]
            send(waiting[-1], OK)
            got = client.take()
        for upstream in rig.upstreams:
            upstream.take()
        sides.setdefault(user, set()).add(got.partition(b"X-Splitter-Backend: ")[2].partition(b"\r\n")[0])
    assert {len(found) for found in sides.values()} == {1}
    assert 15 <= sum(found == {b"domain"} for found in sides.values()) <= 45


async def test_force_is_taken_out_of_the_query() -> None:
    rig = Rig(percent=0)
    client = rig.client()
    send(client, b"GET /a?x=%20&force_domain=TRUE&y HTTP/1.1\r\nHost: a\r\n\r\n")
    await rig.settle()
    assert rig.backend.written.startswith(b"GET /a?x=%20&y HTTP/1.1\r\n")
    send(rig.backend, OK)
    assert b"X-Splitter-Backend: domain\r\nX-Splitter-Reason: forced\r\n" in client.written


async def test_a_bad_force_is_ignored_counted_and_taken_out() -> None:
    rig = Rig(percent=0)
    client = rig.client()
    send(client, b"GET /a?force_domain=maybe HTTP/1.1\r\nHost: a\r\n\r\n")
    await rig.settle()
    assert rig.backend.written.startswith(b"GET /a HTTP/1.1\r\n")
    assert rig.plane.stats.force_ignored == 1


async def test_a_request_still_waiting_is_decided_again() -> None:
    rig = Rig(percent=100)
    rig.hold_connects = asyncio.Event()
    client = rig.client()
    send(client, GET)
    rig.plane.publish(Snapshot(table(100, rolled_back=True)))
    rig.hold_connects.set()
    await rig.settle()
    send(next(up for up in rig.upstreams if up.written), OK)
    assert b"X-Splitter-Backend: legacy\r\nX-Splitter-Reason: rollback\r\n" in client.written
    assert rig.counts() == {("legacy", 200): 1}


async def test_no_key_goes_to_legacy() -> None:
    rig = Rig(percent=50, sources=(HEADER,))
    client = rig.client()
    assert b"X-Splitter-Reason: no_key" in await exchange(rig, client)


# --- bodies ---------------------------------------------------------------------------------------------------------


async def test_a_body_is_passed_on_as_it_comes() -> None:
    rig = Rig()
    client = rig.client()
    send(client, post(6, b"ab"))
    await rig.settle()
    assert rig.backend.take().endswith(b"\r\n\r\nab")
    send(client, b"cd")
    assert rig.backend.take() == b"cd"
    send(client, b"efGET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    assert rig.backend.take() == b"ef"
    send(rig.backend, OK)
    assert rig.backend.take().startswith(b"GET /next ")


async def test_a_body_waits_for_its_connection_in_bounded_memory() -> None:
    rig = Rig()
    rig.hold_connects = asyncio.Event()
    client = rig.client()
    send(client, post(1_000_000))
    sent = 0
    while client.reading and sent < 1_000_000:
        send(client, b"x" * 10_000)
        sent += 10_000
    assert sent < 100_000
    rig.hold_connects.set()
    await rig.settle()
    assert client.reading
    assert rig.backend.take().count(b"x" * 10_000) == sent // 10_000


async def test_a_slow_backend_slows_the_client() -> None:
    rig = Rig()
    client = rig.client()
    send(client, post(100, b"a"))
    await rig.settle()
    rig.backend.protocol.pause_writing()
    assert not client.reading
    rig.backend.protocol.resume_writing()
    assert client.reading


async def test_a_slow_client_slows_the_backend() -> None:
    rig = Rig()
    client = rig.client()
    send(client, GET)
    await rig.settle()
    send(rig.backend, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
    client.protocol.pause_writing()
    assert not rig.backend.reading
    client.protocol.resume_writing()
    assert rig.backend.reading


async def test_an_early_answer_ends_the_upload_but_reaches_the_client() -> None:
    rig = Rig()
    client = rig.client()
    send(client, post(1_000_000, b"x"))
    await rig.settle()
    send(rig.backend, b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
    assert client.take().startswith(b"HTTP/1.1 413 Too Large\r\n")
    assert client.eof_sent
    assert not client.closing, "closing now would reset the connection and destroy the answer"
    assert rig.backend.closing
    send(client, b"x" * 100_000)
    rig.pass_time(6)
    assert client.closing


async def test_body_limit() -> None:
    rig = Rig(limits=HeadLimits(65536, 16384, 200, body_bytes=10))
    client = rig.client()
    send(client, post(11))
    assert code(client) == (413, "content_too_large")
    client = rig.client()
    send(client, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n")
    await rig.settle()
    send(client, b"6\r\n123456\r\n")
    assert code(client) == (413, "content_too_large")
    assert rig.upstreams[-1].aborted


async def test_a_client_may_take_its_time_with_the_last_response() -> None:
    rig = Rig()
    client = rig.client()
    send(client, post(1_000_000, b"x"))
    await rig.settle()
    client.unsent_bytes = 200_000
    send(rig.backend, b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
    rig.pass_time(50)
    assert not client.closing
    client.unsent_bytes = 100_000
    rig.pass_time(50)
    assert not client.closing, "it has taken some of it"
    rig.pass_time(71)
    assert client.aborted, "for a minute it took nothing"


async def test_a_client_that_has_all_of_the_last_response_is_heard_out_for_a_moment() -> None:
    rig = Rig()
    client = rig.client()
    send(client, post(1_000_000, b"x"))
    await rig.settle()
    client.unsent_bytes = 100_000
    send(rig.backend, b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
    client.unsent_bytes = 0
    rig.pass_time(61)
    assert not client.closing
    rig.pass_time(6)
    assert client.closing


# --- limits of heads ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("feed", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /" + b"a" * 9000, 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 5000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 30 + b"\r\n", 431),
    ],
    ids=["target", "endless target", "field", "endless field", "many fields"],
)
async def test_head_limits(request_bytes: bytes, status: int, feed: int) -> None:
    rig = Rig(limits=HeadLimits(header_bytes=4096, target_bytes=1024, headers=20))
    client = rig.client()
    for i in range(0, len(request_bytes), feed):
        send(client, request_bytes[i : i + feed])
    assert reply(client)[0] == status
    await rig.settle()
    assert not rig.upstreams


# --- failures -------------------------------------------------------------------------------------------------------


async def test_an_unreachable_backend_is_a_502() -> None:
    rig = Rig()
    rig.refuse = ConnectionRefusedError(111, "Connection refused")
    client = rig.client()
    send(client, GET)
    await rig.settle()
    assert code(client) == (502, "connect")
    assert b"X-Splitter-Backend: legacy" in client.take()
    assert not client.closing
    rig.refuse = None
    assert (await exchange(rig, client)).endswith(b"ok")
    assert rig.plane.stats.failures == {("legacy", "connect"): 1}


async def test_a_slow_backend_is_a_504() -> None:
    rig = Rig()
    client = rig.client()
    send(client, GET)
    await rig.settle()
    rig.pass_time(29)
    assert not client.written
    rig.pass_time(2)
    assert code(client) == (504, "timeout")
    assert rig.backend.aborted
    assert rig.plane.stats.failures == {("legacy", "timeout"): 1}


async def test_a_backend_silent_in_mid_body_cuts_the_response() -> None:
    rig = Rig()
    client = rig.client()
    send(client, GET)
    await rig.settle()
    send(rig.backend, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
    rig.pass_time(50)
    send(rig.backend, b"def")
    rig.pass_time(50)
    assert not client.closing
    rig.pass_time(15)
    assert client.aborted


async def test_a_client_silent_in_mid_body_gets_408() -> None:
    rig = Rig()
    client = rig.client()
    send(client, post(10, b"abc"))
    await rig.settle()
    rig.pass_time(61)
    assert code(client) == (408, "request_timeout")
    assert rig.backend.aborted


async def test_a_client_that_reads_nothing_is_cut() -> None:
    rig = Rig()
    client = rig.client()
    send(client, GET)
    await rig.settle()
    send(rig.backend, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
    client.protocol.pause_writing()
    rig.pass_time(61)
    assert client.aborted
    assert rig.backend.aborted
    assert rig.plane.stats.failures == {}, "the backend did nothing wrong"


async def test_a_client_that_reads_slowly_is_not_cut() -> None:
    rig = Rig()
    client = rig.client()
    send(client, GET)
    await rig.settle()
    send(rig.backend, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
    client.unsent_bytes = 300_000
    client.protocol.pause_writing()
    for left in (299_000, 298_000, 297_000):
        client.unsent_bytes = left
        rig.pass_time(61)
        assert not client.closing
    rig.pass_time(61)
    assert client.aborted
    assert rig.plane.stats.failures == {}


async def test_a_backend_that_takes_a_body_slowly_is_not_given_up() -> None:
    rig = Rig()
    client = rig.client()
    send(client, post(1_000_000, b"abc"))
    await rig.settle()
    rig.backend.unsent_bytes = 300_000
    rig.backend.protocol.pause_writing()
    for left in (299_000, 298_000):
        rig.backend.unsent_bytes = left
        rig.pass_time(61)
        assert not client.written
    rig.pass_time(61)
    assert code(client) == (504, "timeout")


async def test_the_last_response_to_a_client_that_reads_nothing_is_given_up_in_the_end() -> None:
    rig = Rig()
    client = rig.client()
    await exchange(rig, client)
    client.unsent_bytes = 100_000
    rig.pass_time(76)
    assert not client.closing, "it may have taken some before anybody looked"
    client.unsent_bytes = 50_000
    rig.pass_time(61)
    assert not client.closing, "it has taken half of it"
    rig.pass_time(61)
    assert client.aborted


async def test_slowloris() -> None:
    rig = Rig()
    client = rig.client()
    send(client, b"GET / HTTP/1.1\r\n")
    for _ in range(9):
        rig.pass_time(1)
        send(client, b"X: a\r\n")
    assert not client.written
    rig.pass_time(2)
    assert code(client) == (408, "request_timeout")
    assert client.eof_sent


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    rig = Rig()
    client = rig.client()
    rig.pass_time(11)
    assert client.closing
    client = rig.client()
    await exchange(rig, client)
    rig.pass_time(70)
    assert not client.closing
    rig.pass_time(6)
    assert client.closing
    assert not client.written


async def test_a_client_that_leaves_frees_everything() -> None:
    rig = Rig()
    client = rig.client()
    send(client, GET)
    await rig.settle()
    client.eof()
    assert rig.backend.aborted
    assert rig.plane.gauges().downstream == 0
    assert rig.plane.gauges().upstream == {"idle": 0, "active": 0, "connecting": 0}
    assert rig.counts() == {("legacy", 499): 1}


async def test_a_client_that_leaves_while_waiting_leaves_the_queue() -> None:
    rig = Rig(max_connections=1)
    first, second, third = rig.client(), rig.client(), rig.client()
    for client in (first, second, third):
        send(client, GET)
    await rig.settle()
    second.lose(ConnectionResetError())
    rig.backend.take()
    send(rig.backend, OK)
    assert first.take().endswith(b"ok")
    send(rig.backend, OK)
    assert third.take().endswith(b"ok")
    assert rig.counts() == {("legacy", 200): 2, ("legacy", 499): 1}


async def test_the_queue_is_bounded() -> None:
    rig = Rig(max_connections=1)
    clients = [rig.client() for _ in range(7)]
    for client in clients:
        send(client, GET)
        await rig.settle()
    refused = [client for client in clients if client.written]
    assert len(refused) == 2  # one is served, four wait
    assert code(refused[0]) == (503, "overload")
    assert b"Retry-After: 1\r\n" in refused[0].written
    rig.pass_time(31)
    assert all(client.written for client in clients)


async def test_a_stale_connection_is_retried() -> None:
    rig = Rig()
    client = rig.client()
    await exchange(rig, client)
    send(client, GET)
    rig.backend.lose(ConnectionResetError())
    await rig.settle()
    send(rig.upstreams[1], OK)
    assert client.take().endswith(b"ok")
    assert rig.plane.stats.failures == {}
    assert rig.counts() == {("legacy", 200): 2}


async def test_a_put_with_its_body_is_retried_on_a_stale_connection() -> None:
    rig = Rig()
    client = rig.client()
    await exchange(rig, client)
    send(client, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
    rig.backend.lose(None)
    await rig.settle()
    assert rig.upstreams[1].written.endswith(b"\r\n\r\nabc")


@pytest.mark.parametrize(
    ("request_bytes", "fresh"),
    [(post(3, b"abc"), False), (GET, True), (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123456789", False)],
    ids=["POST", "GET on a new connection", "PUT too large to hold"],
)
async def test_what_must_not_be_sent_twice_is_not(request_bytes: bytes, fresh: bool) -> None:
    rig = Rig(replay_bytes=4)
    client = rig.client()
    if not fresh:
        await exchange(rig, client)
    send(client, request_bytes)
    await rig.settle()
    rig.upstreams[-1].lose(ConnectionResetError())
    await rig.settle()
    assert len(rig.upstreams) == 1
    assert code(client) == (502, "reset")


async def test_a_half_answered_request_is_never_sent_again() -> None:
    rig = Rig()
    client = rig.client()
    await exchange(rig, client)
    send(client, GET)
    send(rig.backend, b"HTTP/1.1 200")
    rig.backend.lose(ConnectionResetError())
    await rig.settle()
    assert len(rig.upstreams) == 1
    assert code(client) == (502, "reset")


async def test_an_idle_backend_connection_that_speaks_is_dropped() -> None:
    rig = Rig()
    client = rig.client()
    await exchange(rig, client)
    send(rig.backend, b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    assert rig.backend.closing
    assert (await exchange(rig, client)).endswith(b"ok")


async def test_idle_backend_connections_expire() -> None:
    rig = Rig()
    await exchange(rig, rig.client())
    rig.now_s += 61
    for backend in rig.plane.backends.values():
        backend.pool.expire()
    assert rig.backend.closing
    assert rig.plane.gauges().upstream["idle"] == 0


async def test_every_head_error_is_for_the_head_method_without_a_body() -> None:
    rig = Rig()
    rig.refuse = ConnectionRefusedError(111, "Connection refused")
    client = rig.client()
    send(client, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    await rig.settle()
    assert client.written.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert client.written.endswith(b"\r\n\r\n")


# --- interim answers and tunnels ------------------------------------------------------------------------------------


async def test_expect_continue_end_to_end() -> None:
    rig = Rig()
    client = rig.client()
    send(client, post(3, fields=b"Expect: 100-continue\r\n"))
    await rig.settle()
    assert b"Expect: 100-continue\r\n" in rig.backend.take()
    send(rig.backend, b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    send(client, b"abc")
    assert rig.backend.take() == b"abc"
    send(rig.backend, OK)
    assert client.take().endswith(b"ok")


async def test_a_client_that_waits_for_leave_is_not_to_blame_for_the_backends_silence() -> None:
    rig = Rig()
    client = rig.client()
    send(client, post(3, fields=b"Expect: 100-continue\r\n"))
    await rig.settle()
    rig.pass_time(31)
    assert code(client) == (504, "timeout")
    assert rig.plane.stats.failures == {("legacy", "timeout"): 1}


async def test_a_client_that_was_given_leave_must_use_it() -> None:
    rig = Rig()
    client = rig.client()
    send(client, post(3, fields=b"Expect: 100-continue\r\n"))
    await rig.settle()
    rig.pass_time(20)
    send(rig.backend, b"HTTP/1.1 100 Continue\r\n\r\n")
    client.take()
    rig.pass_time(59)
    assert not client.written
    rig.pass_time(2)
    assert code(client) == (408, "request_timeout")


async def test_a_client_that_does_not_wait_for_leave_is_timed_as_any_other() -> None:
    rig = Rig()
    client = rig.client()
    send(client, post(3, fields=b"Expect: 100-continue\r\n"))
    await rig.settle()
    rig.pass_time(1)
    send(client, b"ab")
    rig.pass_time(59)
    assert not client.written
    rig.pass_time(2)
    assert code(client) == (408, "request_timeout")


async def test_an_expectation_refused_by_the_backend_ends_the_connection() -> None:
    rig = Rig()
    client = rig.client()
    send(client, post(3, fields=b"Expect: 100-continue\r\n"))
    await rig.settle()
    send(rig.backend, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert b"Connection: close\r\n" in answer, "what comes next may be the body or another request"
    assert client.eof_sent
    assert rig.backend.closing


async def test_a_head_that_never_ends_is_a_bad_response() -> None:
    rig = Rig()
    client = rig.client()
    send(client, GET)
    await rig.settle()
    send(rig.backend, b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(70):
        if not rig.backend.closing:
            send(rig.backend, b"a" * 1024)
    assert code(client) == (502, "protocol")
    assert rig.backend.aborted


UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"


async def tunnel(rig: Rig, early: bytes = b"", rest: bytes = b"") -> FakeTransport:
    client = rig.client()
    send(client, UPGRADE + early)
    await rig.settle()
    send(rig.backend, SWITCH + rest)
    return client


async def test_a_tunnel_carries_bytes_that_come_with_the_switch() -> None:
    rig = Rig()
    client = await tunnel(rig, early=b"early", rest=b"first")
    assert client.take().endswith(b"\r\n\r\nfirst")
    assert rig.backend.take().endswith(b"\r\n\r\nearly")
    send(client, b"up")
    send(rig.backend, b"down")
    assert (rig.backend.take(), client.take()) == (b"up", b"down")
    assert rig.plane.gauges().tunnels == 1
    assert rig.counts() == {("legacy", 101): 1}


async def test_a_tunnels_bytes_are_counted_on_both_sides() -> None:
    rig = Rig()
    client = await tunnel(rig)
    stats = rig.plane.stats

    def counted() -> tuple[int, int, int, int]:
        return (
            stats.downstream_read_bytes, stats.upstream_written_bytes,
            stats.upstream_read_bytes, stats.downstream_written_bytes,
        )  # fmt: skip

    before = counted()
    send(client, b"x" * 10)
    send(rig.backend, b"y" * 300)
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [10, 10, 300, 300]


@pytest.mark.parametrize("side", ["client", "backend"])
async def test_bytes_for_a_side_that_is_closing_are_dropped_and_move_no_deadline(side: str) -> None:
    rig = Rig()
    client = await tunnel(rig)
    closing, other = (client, rig.backend) if side == "client" else (rig.backend, client)
    closing.take()
    closing.closing = True  # aborted; uvloop tells of the loss in a later turn
    rig.pass_time(1000)
    send(other, b"too late")
    assert closing.take() == b""
    assert rig.plane.gauges().tunnels == 1
    rig.pass_time(2700)
    assert rig.plane.gauges().tunnels == 0, "it ended an hour after the last byte that passed"


async def test_a_refused_upgrade_is_an_ordinary_answer() -> None:
    rig = Rig()
    client = rig.client()
    send(client, UPGRADE)
    await rig.settle()
    send(rig.backend, b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
    assert client.take().endswith(b"no")
    assert (await exchange(rig, client)).endswith(b"ok")


async def test_a_tunnel_half_closes_both_ways() -> None:
    rig = Rig()
    client = await tunnel(rig)
    client.eof()
    assert rig.backend.eof_sent
    assert not client.closing
    client.take()
    send(rig.backend, b"still here")
    assert client.take() == b"still here"
    rig.backend.eof()
    assert client.closing
    assert rig.backend.closing
    assert rig.plane.gauges().tunnels == 0


@pytest.mark.parametrize("side", ["client", "backend"])
async def test_a_broken_tunnel_ends_on_both_sides(side: str) -> None:
    rig = Rig()
    client = await tunnel(rig)
    (client if side == "client" else rig.backend).lose(ConnectionResetError())
    assert client.closing
    assert rig.backend.closing
    assert rig.plane.gauges().tunnels == 0
    assert sum(rig.counts().values()) == 1


async def test_an_idle_tunnel_ends() -> None:
    rig = Rig()
    client = await tunnel(rig)
    rig.pass_time(3500)
    send(client, b"x")
    rig.pass_time(3500)
    assert not client.closing
    rig.pass_time(200)
    assert client.closing


@pytest.mark.parametrize("side", ["client", "backend"])
async def test_a_tunnels_last_bytes_are_given_up_when_nobody_takes_them(side: str) -> None:
    rig = Rig()
    client = await tunnel(rig)
    stuck, other = (client, rig.backend) if side == "client" else (rig.backend, client)
    stuck.close = lambda: setattr(stuck, "closing", True)  # type: ignore[method-assign] # what is unsent holds it up
    stuck.unsent_bytes = 1000
    other.lose(None)
    assert stuck.closing
    assert not stuck.lost
    stuck.unsent_bytes = 500
    rig.pass_time(61)
    assert not stuck.lost, "it took some"
    rig.pass_time(61)
    assert stuck.aborted
    assert stuck.lost


async def test_backpressure_in_a_tunnel() -> None:
    rig = Rig()
    client = await tunnel(rig)
    rig.backend.protocol.pause_writing()
    assert not client.reading
    client.protocol.pause_writing()
    assert not rig.backend.reading
    rig.backend.protocol.resume_writing()
    client.protocol.resume_writing()
    assert client.reading
    assert rig.backend.reading


# --- forwarding fields ----------------------------------------------------------------------------------------------


async def test_a_trusted_proxys_fields_are_continued() -> None:
    from ipaddress import ip_network

    rig = Rig(trusted_proxies=(ip_network("192.0.2.0/24"),), sources=(CLIENT_IP,))
    client = rig.client()
    fields = b"X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: www\r\n"
    send(client, b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
    await rig.settle()
    assert b"X-Forwarded-For: 198.51.100.7, 192.0.2.1\r\n" in rig.backend.written
    assert b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: www\r\n" in rig.backend.written


async def test_a_trace_that_begins_here_is_one_trace_over_retries_and_in_the_log() -> None:
    rig = Rig(forward=ForwardPolicy(make_trace=True))
    numbers = iter(range(1, 100))
    rig.plane.random_bits = lambda _bits: next(numbers)
    client = rig.client()
    await exchange(rig, client)
    rig.backend.take()
    send(client, GET)
    first = rig.backend.take()
    rig.backend.lose(ConnectionResetError())
    await rig.settle()
    again = bytes(rig.upstreams[1].written)
    assert again == first
    assert b"traceparent: 00-%032x-%016x-01\r\n" % (3, 4) in again
    served = client.protocol._exchange  # type: ignore[attr-defined]
    assert served.trace_id == b"%032x" % 3


async def test_a_valid_trace_is_known_also_where_none_is_made() -> None:
    rig = Rig()
    client = rig.client()
    send(client, b"GET / HTTP/1.1\r\nHost: a\r\ntraceparent: 00-%b-%b-00\r\n\r\n" % (b"a" * 32, b"b" * 16))
    assert client.protocol._exchange.trace_id == b"a" * 32  # type: ignore[attr-defined]
    await rig.settle()
    send(rig.backend, OK)
    send(client, b"GET / HTTP/1.1\r\nHost: a\r\ntraceparent: 00-%b-%b-00\r\n\r\n" % (b"0" * 32, b"b" * 16))
    assert client.protocol._exchange.trace_id == b""  # type: ignore[attr-defined]


async def test_options_for_the_splitter_itself_is_counted_and_the_next_request_is_served() -> None:
    rig = Rig()
    client = rig.client()
    own = b"OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n"
    send(client, own + own + GET)
    assert client.take().count(b"Allow: ") == 2
    await rig.settle()
    send(rig.backend, OK)
    assert client.take().endswith(b"ok")
    assert rig.counts() == {("internal", 200): 2, ("legacy", 200): 1}
    rig.pass_time(80)
    assert client.closing, "it is idle as any other"


async def test_options_for_the_splitter_itself_with_a_body_ends_the_connection() -> None:
    rig = Rig()
    client = rig.client()
    send(client, b"OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nContent-Length: 100\r\n\r\nabc")
    assert client.eof_sent
    send(client, b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n")
    await rig.settle()
    assert not rig.upstreams
    rig.pass_time(6)
    assert client.closing


async def test_a_unix_client_has_no_address() -> None:
    rig = Rig()
    client = rig.client(peer="")
    send(client, GET)
    await rig.settle()
    assert b"X-Forwarded-For" not in rig.backend.written
    send(rig.backend, OK)
    assert b"X-Splitter-Reason: no_key" in client.written


async def test_own_paths_go_to_the_internal_backend_unmarked() -> None:
    rig = Rig(percent=100)
    client = rig.client()
    got = await exchange(rig, client, b"GET /api/v1/monitoring/health?x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"X-Splitter" not in got
    assert rig.counts() == {(Backend.INTERNAL, 200): 1}


# --- drain ----------------------------------------------------------------------------------------------------------


async def test_drain_lets_requests_end_and_closes_idle_connections() -> None:
    rig = Rig()
    idle, busy, last = rig.client(), rig.client(), rig.client()
    for client in (idle, last):
        await exchange(rig, client)
    send(busy, GET)
    draining = asyncio.get_running_loop().create_task(rig.plane.drain(5))
    await asyncio.sleep(0)
    assert not idle.closing, "its next request may be on its way"
    send(last, GET)
    await rig.settle()
    send(rig.upstreams[-1], OK)
    assert b"Connection: close\r\n" in last.written
    rig.pass_time(1.2)
    assert idle.closing
    assert not busy.closing
    send(rig.upstreams[0], OK)
    assert b"Connection: close\r\n" in busy.written
    assert await draining


async def test_a_response_that_began_before_the_drain_does_not_hold_it_up() -> None:
    rig = Rig()
    client = rig.client()
    send(client, GET)
    await rig.settle()
    send(rig.backend, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok")
    draining = asyncio.get_running_loop().create_task(rig.plane.drain(5))
    await asyncio.sleep(0)
    send(rig.backend, b"ok")
    rig.pass_time(1.2)
    assert client.closing, "it was told that it is kept, but not for how long"
    assert await draining


async def test_drain_cuts_what_does_not_end() -> None:
    rig = Rig()
    client = rig.client()
    send(client, GET)
    await rig.settle()
    assert not await rig.plane.drain(0.01)
    assert client.aborted
    assert rig.backend.aborted
