"""W3C Trace Context: which `traceparent` is one."""

from __future__ import annotations

import random

import pytest

from splitter.http1.trace import new_traceparent, trace_id_of

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"


@pytest.mark.parametrize(
    "traceparent",
    [
        b"00-" + TRACE + b"-" + SPAN + b"-01",
        b"00-" + TRACE + b"-" + SPAN + b"-00",
        b"00-" + TRACE + b"-" + SPAN + b"-ff",
        b"01-" + TRACE + b"-" + SPAN + b"-01",
        b"01-" + TRACE + b"-" + SPAN + b"-01-",
        b"fe-" + TRACE + b"-" + SPAN + b"-01-what the future brings",
    ],
)
def test_valid(traceparent: bytes) -> None:
    assert trace_id_of(traceparent) == TRACE


@pytest.mark.parametrize(
    "traceparent",
    [
        b"",
        b"00",
        TRACE,
        b"00-" + TRACE + b"-" + SPAN,
        b"00-" + TRACE + b"-" + SPAN + b"-1",
        b"00-" + TRACE + b"-" + SPAN + b"-01-",
        b"00-" + TRACE + b"-" + SPAN + b"-01-more",
        b"01-" + TRACE + b"-" + SPAN + b"-01more",
        b"ff-" + TRACE + b"-" + SPAN + b"-01",
        b"0-" + TRACE + b"-" + SPAN + b"-01",
        b"00-" + TRACE.upper() + b"-" + SPAN + b"-01",
        b"00-" + TRACE[:-1] + b"-" + SPAN + b"-01",
        b"00-" + TRACE[:-1] + b"g-" + SPAN + b"-01",
        b"00-" + b"0" * 32 + b"-" + SPAN + b"-01",
        b"00-" + TRACE + b"-" + b"0" * 16 + b"-01",
        b"00-" + TRACE + b"-" + SPAN + b"-zz",
        b" 00-" + TRACE + b"-" + SPAN + b"-01",
        b"00-" + TRACE + b"-" + SPAN + b"-01\n",
        b"00-" + TRACE + b"-" + SPAN + b"-01, 00-" + TRACE + b"-" + SPAN + b"-01",
    ],
)
def test_not_valid(traceparent: bytes) -> None:
    assert trace_id_of(traceparent) == b""


def test_a_new_one_is_valid_sampled_and_another_each_time() -> None:
    source = random.Random(1)
    made = {new_traceparent(source.getrandbits) for _ in range(100)}
    assert len({trace_id_of(traceparent) for traceparent in made}) == 100
    assert all(traceparent.endswith(b"-01") for traceparent in made)
    assert trace_id_of(new_traceparent(lambda _bits: 0)), "chance must not make one that is none"
