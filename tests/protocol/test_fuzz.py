"""Streams of requests, mutated and cut anywhere, against the whole relay with a backend that records.

What must hold whatever comes: no exception escapes, nothing hangs, and the backend never sees a request whose head the
client did not send as one.
"""

from __future__ import annotations

import asyncio
import re
from ipaddress import ip_network
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitter.hops import Style
from splitter.http1.forwarding import ForwardPolicy
from tests.protocol.rig import Rig, send
from tests.wire.cases import load

_VALID = [case.wire("send") for case in load("requests/valid")]
_INVALID = [case.wire("send") for case in load("requests/invalid")]
_RESPONSES = [case.wire("send") for case in load("responses")]
_SPICES = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\x00", b"\xff", b"0\r\n\r\n", b"Content-Length: 5\r\n", b"5", b",",
    b"Transfer-Encoding: chunked\r\n", b"GET / HTTP/1.1\r\n", b"Host: b\r\n", b"HTTP/1.1", b"\r\n\r\n", b"Upgrade: x\r\n",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A few whole messages with a few bytes removed, doubled or put in."""
    data = b"".join(draw(st.lists(st.sampled_from(seeds), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 6))
        what = draw(st.sampled_from(["remove", "double", "insert"]))
        if what == "remove":
            data = data[:place] + data[place + length :]
        elif what == "double":
            data = data[: place + length] + data[place:]
        else:
            data = data[:place] + draw(st.sampled_from(_SPICES)) + data[place:]
    return data


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(bounds) if b > a]


_LINE = re.compile(rb"([^ \r\n]+) ([^ \r\n]+) HTTP/1\.1\r\n")
_OPTIONS_OF_A_PROXY = re.compile(rb"OPTIONS https?://", re.IGNORECASE)
_ENOUGH = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


_EVERYTHING_ON = ForwardPolicy(Style.BOTH, make_trace=True)


async def _requests(pieces: list[bytes], everything: bytes, *, everything_on: bool) -> None:
    rig = Rig()
    if everything_on:
        rig = Rig(forward=_EVERYTHING_ON, trusted_proxies=(ip_network("192.0.2.0/24"),))
    client = rig.client()
    answered = 0
    for piece in pieces:
        send(client, piece)
        await rig.settle()
        for upstream in rig.upstreams:
            if upstream.closing:
                continue
            seen = bytes(upstream.written)
            head, separator, _ = seen.partition(b"\r\n\r\n")
            if separator and b"Via: 1." in head:
                line = _LINE.match(head + b"\r\n")
                assert line, head
                assert line[1] in everything, f"no client sent the method {line[1]!r}"
                target = line[2] if line[2] in everything else line[2].lstrip(b"/")
                asked_of_a_proxy = line[2] == b"*" and _OPTIONS_OF_A_PROXY.search(everything)
                assert target in everything or asked_of_a_proxy, f"no client sent the target {line[2]!r}"
                assert head.count(b"\r\nHost:") + head.count(b"\r\nhost:") + head.count(b"\r\nhOST:") <= 1
                assert b"\n" not in head.replace(b"\r\n", b"")
                upstream.take()
                send(upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                answered += 1
            await rig.settle()
    rig.pass_time(200)
    await rig.settle()
    assert not rig.errors
    assert client.closing, "a silent connection must end"
    assert rig.plane.gauges().downstream == 0
    assert rig.plane.gauges().upstream["active"] == 0


@_ENOUGH
@given(mutated(_VALID + _INVALID), st.lists(st.integers(0, 2000), max_size=6), st.booleans())
def test_mutated_requests(data: bytes, places: list[int], everything_on: bool) -> None:
    asyncio.run(_requests(cut(data, places), data, everything_on=everything_on))


async def _responses(pieces: list[bytes], closes: bool) -> None:
    rig = Rig()
    client = rig.client()
    send(client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await rig.settle()
    for piece in pieces:
        send(rig.backend, piece)
    if closes:
        rig.backend.lose(None)
    rig.pass_time(200)
    await rig.settle()
    assert not rig.errors
    assert client.closing
    assert rig.plane.gauges().upstream["active"] == 0
    assert sum(rig.counts().values()) == 1
    got = bytes(client.written)
    assert not got or got.startswith(b"HTTP/1.1 ")


@_ENOUGH
@given(mutated(_RESPONSES), st.lists(st.integers(0, 2000), max_size=6), st.booleans())
def test_mutated_responses(data: bytes, places: list[int], closes: bool) -> None:
    asyncio.run(_responses(cut(data, places), closes))
