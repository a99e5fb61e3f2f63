"""Every request case, fed whole, byte by byte, and with more bytes behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.protocol.rig import FakeTransport, Rig, send
from tests.wire.cases import Case, joined_chunks, load, rig_for

FEEDS = ("whole", "bytes", "trailing")
PLAIN_REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"


def pieces(data: bytes, feed: str) -> Iterator[bytes]:
    if feed == "bytes":
        yield from (data[i : i + 1] for i in range(len(data)))
    elif feed == "trailing":
        yield data + NEXT
    else:
        yield data


def reply(transport: FakeTransport) -> tuple[int, bytes]:
    """The status of what was written, and the body behind its head."""
    head, _, body = bytes(transport.written).partition(b"\r\n\r\n")
    found = re.match(rb"HTTP/1\.1 ([0-9]{3}) ", head)
    assert found, transport.written
    return int(found[1]), body


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("case", load("requests/invalid"), ids=lambda case: case.name)
async def test_refused(case: Case, feed: str) -> None:
    rig = Rig()
    client = rig.client()
    for piece in pieces(case.wire("send"), feed):
        send(client, piece)
        await rig.settle()
    status, body = reply(client)
    assert status == case.fields["status"]
    error = json.loads(body)["error"]
    assert set(error) == {"code", "message", "request_id"}
    assert error["message"]
    assert client.eof_sent or client.closing, "what follows a refused request must not be read as a request"
    # A body may turn out bad after its head went on its way: then the backend's connection is cut, its request not ended.
    for upstream in rig.upstreams:
        assert not upstream.written or (upstream.aborted and not upstream.written.endswith(b"0\r\n\r\n"))
    assert not rig.errors


_DATE = re.compile(rb"Date: [^\r]+\r\n")


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("case", load("requests/valid"), ids=lambda case: case.name)
async def test_forwarded(case: Case, feed: str) -> None:
    rig = rig_for(case)
    client = rig.client()
    for piece in pieces(case.wire("send"), feed):
        send(client, piece)
        await rig.settle()
    if "answer" in case.fields:
        answer = _DATE.sub(b"", client.take(), 1)
        assert answer.decode("latin-1") == case.wire("answer").decode("latin-1")
        closes = b"Connection: close" in answer
        assert (client.closing or client.eof_sent) is closes
        assert len(rig.upstreams) == (feed == "trailing" and not closes)
        assert not rig.errors
        return
    got = bytes(rig.backend.written)
    assert joined_chunks(got).decode("latin-1") == joined_chunks(case.wire("forward")).decode("latin-1")
    assert rig.backend.reading
    send(rig.backend, PLAIN_REPLY)
    assert b"X-Splitter-Backend: legacy\r\nX-Splitter-Reason: bucket\r\n" in client.written
    await rig.settle()
    if feed == "trailing" and not client.closing and not client.eof_sent:
        assert rig.upstreams[-1].written.endswith(b"\r\n\r\n")
        assert b"GET /next HTTP/1.1\r\n" in rig.upstreams[-1].written, "the request behind this one was lost"
    assert not rig.errors
