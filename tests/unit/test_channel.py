"""Frames: whole messages whatever way the bytes come, and an end to what is none."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitter.channel import MAX_FRAME_BYTES, Channel, FrameError, Framer, Message, encode

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
MESSAGES = st.lists(st.fixed_dictionaries({"type": st.text(), "value": VALUES}), max_size=5)


@given(MESSAGES, st.lists(st.integers(0, 200), max_size=20))
def test_messages_come_out_as_they_went_in_however_the_bytes_are_cut(messages: list[Message], cuts: list[int]) -> None:
    stream = b"".join(encode(message) for message in messages)
    framer, found = Framer(), []
    for cut in cuts:
        found += framer.feed(stream[:cut])
        stream = stream[cut:]
    found += framer.feed(stream)
    assert found == messages


def test_byte_by_byte() -> None:
    framer = Framer()
    stream = encode({"type": "a", "n": 1}) + encode({"type": "b"})
    found = [message for byte in stream for message in framer.feed(bytes([byte]))]
    assert found == [{"type": "a", "n": 1}, {"type": "b"}]


@pytest.mark.parametrize(
    "data",
    [
        (MAX_FRAME_BYTES + 1).to_bytes(4, "big"),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\0",
        b"\0\0\0\x01{",
        b"\0\0\0\x02[]",
        b"\0\0\0\x02{}",
        b'\0\0\0\x0a{"type":1}',
    ],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        Framer().feed(data)


@given(st.binary(max_size=64))
def test_any_bytes_are_messages_or_an_error(data: bytes) -> None:
    framer = Framer()
    try:
        messages = framer.feed(data)
    except FrameError:
        return
    assert all(isinstance(message["type"], str) for message in messages)


def test_too_long_a_message_is_not_sent() -> None:
    with pytest.raises(FrameError):
        encode({"type": "x", "text": "a" * MAX_FRAME_BYTES})


class End:
    """One end of a channel: what came, and how it ended."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def open(self, sock: socket.socket) -> Channel:
        return await Channel.over(sock, self.messages.put_nowait, self.ended.set_result)


async def test_both_ways_and_the_end() -> None:
    ours, theirs = socket.socketpair()
    one, other = End(), End()
    left, right = await one.open(ours), await other.open(theirs)
    left.send({"type": "big", "text": "a" * 1_000_000})
    right.send({"type": "answer"})
    async with asyncio.timeout(5):
        assert len((await other.messages.get())["text"]) == 1_000_000
        assert await one.messages.get() == {"type": "answer"}
        left.close()
        assert await other.ended == ""
    right.send({"type": "late"})
    assert right.unsent_bytes == 0
    assert not one.ended.done(), "who closes knows it"


async def test_one_that_does_not_speak_our_language_is_left() -> None:
    ours, theirs = socket.socketpair()
    end = End()
    await end.open(ours)
    theirs.sendall(encode({"type": "good"}) + b"\xff\xff\xff\xff")
    async with asyncio.timeout(5):
        assert "more than" in await end.ended
    theirs.setblocking(False)
    assert await asyncio.get_running_loop().sock_recv(theirs, 1) == b""
    theirs.close()
    assert end.messages.empty(), "what came with the broken frame is not trusted either"


async def test_what_is_not_taken_is_known() -> None:
    ours, theirs = socket.socketpair()
    end = End()
    channel = await end.open(ours)
    for _ in range(50):
        channel.send({"type": "x", "text": "a" * 100_000})
    assert channel.unsent_bytes > 0
    channel.close()
    theirs.close()
    await asyncio.sleep(0)
