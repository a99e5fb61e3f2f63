"""What a client or a backend can make grow, and where it stops growing."""

from __future__ import annotations

from splitter.http1.fields import NAMES
from splitter.http1.request import HeadLimits, RequestHeadReader
from splitter.http1.response import ResponseHeadReader
from tests.protocol.rig import Rig, send

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_heads_that_are_all_different_are_not_all_remembered() -> None:
    requests = RequestHeadReader(HeadLimits(64 * 1024, 16 * 1024, 200))
    responses = ResponseHeadReader(200)
    for number in range(5000):
        for _ in range(2):
            requests.read(b"GET / HTTP/1.1\r\nHost: a\r\nX-%d: %d\r\n\r\n" % (number, number))
        requests.read(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        responses.read(b"HTTP/1.1 200 OK\r\nX: %d\r\nContent-Length: 0\r\n\r\n" % number, b"GET")
    assert 0 < len(requests._shapes) <= 2048
    assert 0 < len(requests.known) <= 2048
    assert 0 < len(responses.known) <= 512
    assert len(NAMES) <= 4096


def test_heads_that_never_come_again_push_no_others_out() -> None:
    requests = RequestHeadReader(HeadLimits(64 * 1024, 16 * 1024, 200))
    requests.read(b"GET / HTTP/1.1\r\nHost: a\r\nX-User-Id: u\r\n\r\n")
    for number in range(3000):
        requests.read(b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: %d\r\n\r\n" % number)
        requests.read(b"GET / HTTP/1.1\r\nHost: a\r\ntraceparent: 00-%032x-%016x-01\r\n\r\n" % (number + 1, 1))
    assert list(requests._shapes) == [b"Host: a\r\nX-User-Id: u\r\n\r\n"]


def test_large_heads_are_not_remembered_at_all() -> None:
    requests = RequestHeadReader(HeadLimits(64 * 1024, 16 * 1024, 200))
    responses = ResponseHeadReader(200)
    for _ in range(2):
        requests.read(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 2000 + b"\r\n\r\n")
    responses.read(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + b"x" * 2000 + b"\r\n\r\n", b"GET")
    assert (len(requests._shapes), len(requests.known), len(responses.known)) == (0, 0, 0)


async def test_methods_of_a_clients_invention_are_one_series() -> None:
    rig = Rig()
    client = rig.client()
    for number in range(100):
        send(client, b"M%d / HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        await rig.settle()
        send(rig.backend, OK)
    assert len(rig.plane.stats.requests) == 1
    assert rig.counts() == {("legacy", 200): 100}


async def test_a_backend_that_never_ends_its_interim_answers_waits_for_the_client() -> None:
    rig = Rig()
    client = rig.client()
    send(client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await rig.settle()
    client.protocol.pause_writing()
    send(rig.backend, b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)
    assert not rig.backend.reading
    rig.pass_time(31)
    assert client.closing, "an interim answer is no answer"
