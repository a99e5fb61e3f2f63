"""What is asked and answered in the same words again is remembered; nobody can tell, but for the time it takes."""

from __future__ import annotations

import re

import pytest

from splitter.http1.forwarding import ForwardPolicy
from splitter.snapshot import Snapshot
from tests.protocol.rig import FakeTransport, Rig, send, table

ASKED = b"GET /cameras?page=1 HTTP/1.1\r\nHost: a\r\nX-User-Id: u\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 2\r\n\r\nok"
_ID = re.compile(rb"X-Request-Id: ([0-9a-f]{32})\r\n")


async def ask(rig: Rig, client: FakeTransport, asked: bytes = ASKED, answer: bytes = OK) -> tuple[bytes, bytes]:
    """What the backend was sent and what the client got."""
    send(client, asked)
    await rig.settle()
    (upstream,) = (upstream for upstream in rig.upstreams if upstream.written)
    sent = upstream.take()
    send(upstream, answer)
    return sent, client.take()


@pytest.mark.parametrize("forward", [ForwardPolicy(), ForwardPolicy(make_trace=True)])
async def test_each_time_the_same_with_another_id(forward: ForwardPolicy) -> None:
    rig = Rig(forward=forward)
    client = rig.client()
    found = [await ask(rig, client) for _ in range(5)]
    assert len({_ID.sub(b"", sent) for sent, _ in found}) == 1
    assert len({_ID.search(sent)[1] for sent, _ in found}) == 5  # type: ignore[index]
    assert len({answer for _, answer in found}) == 1
    assert rig.counts() == {("legacy", 200): 5}
    assert rig.plane.stats.judged.legacy["default"].requests == 5


async def test_every_change_of_what_is_in_force_reaches_who_polls() -> None:
    rig = Rig(percent=100)
    client = rig.client()
    for _ in range(3):
        assert b"Backend: domain\r\nX-Splitter-Reason: bucket\r\n" in (await ask(rig, client))[1]
    rig.plane.publish(Snapshot(table(100, rolled_back=True)))
    for _ in range(3):
        assert b"Backend: legacy\r\nX-Splitter-Reason: rollback\r\n" in (await ask(rig, client))[1]
    rig.plane.publish(Snapshot(table(100), domain_ejected=True))
    assert b"Backend: legacy\r\nX-Splitter-Reason: unhealthy\r\n" in (await ask(rig, client))[1]
    rig.plane.publish(Snapshot(table(100)))
    assert b"Backend: domain\r\n" in (await ask(rig, client))[1]
    assert rig.plane.stats.judged.domain["default"].turned_away == 1


async def test_two_clients_who_ask_the_same_are_two_clients() -> None:
    rig = Rig()
    one, two = rig.client(("192.0.2.1", 1)), rig.client(("192.0.2.2", 1))
    for _ in range(3):
        assert b"X-Forwarded-For: 192.0.2.1\r\n" in (await ask(rig, one))[0]
        assert b"X-Forwarded-For: 192.0.2.2\r\n" in (await ask(rig, two))[0]


async def test_the_force_parameter_is_taken_out_each_time() -> None:
    rig = Rig()
    client = rig.client()
    asked = ASKED.replace(b"page=1", b"force_domain=1&page=1")
    for _ in range(3):
        sent, answer = await ask(rig, client, asked)
        assert sent.startswith(b"GET /cameras?page=1 HTTP/1.1\r\n")
        assert b"Backend: domain\r\nX-Splitter-Reason: forced\r\n" in answer
    assert rig.plane.stats.judged.domain == {}


async def test_a_head_that_comes_in_pieces_waits_for_its_end_though_it_is_known() -> None:
    rig = Rig()
    client = rig.client()
    for _ in range(3):
        await ask(rig, client)
    for cut in range(1, len(ASKED)):
        send(client, ASKED[:cut])
        assert not rig.backend.written
        send(client, ASKED[cut:])
        assert rig.backend.take().startswith(b"GET /cameras")
        send(rig.backend, OK[: cut % len(OK)])
        send(rig.backend, OK[cut % len(OK) :])
        assert client.take().endswith(b"\r\n\r\nok")
    assert rig.counts() == {("legacy", 200): 3 + len(ASKED) - 1}


async def test_an_answer_to_head_has_no_body_though_its_head_is_known() -> None:
    rig = Rig()
    client = rig.client()
    for _ in range(2):
        await ask(rig, client)
    _, answer = await ask(rig, client, ASKED.replace(b"GET", b"HEAD"), OK[:-2])
    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length: 2\r\n" in answer
    _, answer = await ask(rig, client)
    assert answer.endswith(b"\r\n\r\nok")
    assert not rig.backend.closing


async def test_an_answer_longer_than_it_said_ends_the_connection_though_its_head_is_known() -> None:
    rig = Rig()
    client = rig.client()
    for _ in range(2):
        await ask(rig, client)
    first = rig.backend
    _, answer = await ask(rig, client, answer=OK + OK)
    assert answer.endswith(b"\r\n\r\nok")
    assert first.closing


async def test_a_partial_line_before_a_known_head_still_has_its_deadline() -> None:
    rig = Rig()
    client = rig.client()
    for _ in range(3):
        await ask(rig, client)
    send(client, b"\r\n")
    await ask(rig, client)
    send(client, ASKED[:20])
    rig.pass_time(11)
    assert client.take().startswith(b"HTTP/1.1 408 ")
