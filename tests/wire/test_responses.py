"""Every response case, fed whole, byte by byte, and with more bytes behind it."""

from __future__ import annotations

import json

import pytest

from tests.protocol.rig import Rig, send
from tests.wire.cases import Case, joined_chunks, load
from tests.wire.test_requests import reply

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
FEEDS = ("whole", "bytes", "trailing")


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("case", load("responses"), ids=lambda case: case.name)
async def test_response(case: Case, feed: str) -> None:
    rig = Rig()
    client = rig.client()
    send(client, case.wire("request") if "request" in case.fields else GET)
    await rig.settle()
    data = case.wire("send")
    closes = case.fields.get("close", False)
    if feed == "bytes":
        for i in range(len(data)):
            send(rig.backend, data[i : i + 1])
    elif feed == "trailing" and not closes:
        send(rig.backend, data + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    else:
        send(rig.backend, data)
    if closes:
        rig.backend.lose(None)
    await rig.settle()

    if "status" in case.fields:
        final = bytes(client.written)
        if final.startswith(b"HTTP/1.1 103"):
            client.written[:] = final.partition(b"\r\n\r\n")[2]
        status, body = reply(client)
        assert status == case.fields["status"]
        assert json.loads(body)["error"]["code"]
        assert b"X-Splitter-Backend: legacy" in client.written
        assert rig.backend.closing, "a backend that answers nonsense must not be asked again on that connection"
        assert not client.closing, "the client did nothing wrong"
    elif "cut" in case.fields:
        assert joined_chunks(bytes(client.written)) == joined_chunks(case.wire("cut"))
        assert client.aborted, "the client must be able to tell that the response is not complete"
    else:
        assert joined_chunks(bytes(client.written)) == joined_chunks(case.wire("receive"))
        assert b"evil" not in client.written
        if feed == "trailing":
            assert rig.backend.closing, "a backend that says more than it was asked must not be used again"
    assert not rig.errors
    assert rig.plane.gauges().upstream["active"] == 0
    assert sum(rig.counts().values()) == 1
