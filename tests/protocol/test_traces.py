"""The trace a client says its request belongs to, from `traceparent` to the exemplar."""

from __future__ import annotations

import pytest

from splitter.stats import Exemplar
from tests.protocol.rig import Rig, send

TRACE, PARENT = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def examples(*traceparents: bytes) -> list[Exemplar]:
    rig = Rig()
    client = rig.client()
    for value in traceparents:
        send(client, b"GET / HTTP/1.1\r\nHost: a\r\ntraceparent: %b\r\n\r\n" % value)
        await rig.settle()
        send(rig.backend, OK)
    return [exemplar for histogram in rig.plane.stats.durations.values() for exemplar in histogram.exemplars.values()]


@pytest.mark.parametrize(
    "value",
    [
        b"00-%b-%b-01" % (TRACE, PARENT),
        b"00-%b-%b-00" % (TRACE, PARENT),
        b"cc-%b-%b-01-what-a-later-version-says" % (TRACE, PARENT),
    ],
)
async def test_a_request_of_a_trace_is_an_example(value: bytes) -> None:
    (example,) = await examples(value)
    assert example.trace_id == TRACE.decode()
    assert example.at_s > 1.7e9
    assert 0 <= example.value_s < 10


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00-%b-%b" % (TRACE, PARENT),
        b"00-%b-%b-01-more" % (TRACE, PARENT),
        b"ff-%b-%b-01" % (TRACE, PARENT),
        b"00-%b-%b-01" % (TRACE.upper(), PARENT),
        b"00-%b-%b-01" % (b"0" * 32, PARENT),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b'00-%b"} 1-%b-01' % (TRACE[5:], PARENT),
    ],
)
async def test_what_is_no_traceparent_is_none(value: bytes) -> None:
    assert await examples(value) == []
