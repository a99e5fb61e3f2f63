"""Messages between the supervisor and a worker: JSON in frames, over a stream socket, both ways.

Owns: the framing, its bound, and the connection that carries it. Must not know: what any message means.
Invariants: a message is delivered whole or not at all, in order; `on_end` comes exactly once, and nothing after it; what
the other side sends can't make this grow beyond one frame.
Why JSON and not pickle: a worker faces the network, and reading its words must not be able to run code.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final, cast

import orjson

Message = dict[str, Any]
"""`type` says which; the rest belongs to the type."""

MAX_FRAME_BYTES: Final = 16 << 20
"""A configuration has at most 256 Ki characters; the totals of thousands of routes fit too."""
LENGTH_BYTES: Final = 4
UNASKED: Final = 0
"""In place of a question's number: what is told without having been asked for."""


class FrameError(Exception):
    """What came is no frame: the other side is not what it should be, or broken."""


def encode(message: Message) -> bytes:
    """A message as a frame: four bytes of length, big end first, and JSON. Raises FrameError when it is too long."""
    body = orjson.dumps(message)
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError(f"a message of {len(body)} bytes is more than {MAX_FRAME_BYTES}")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


class Framer:
    """From bytes as they come to messages. Pure: after a FrameError it is of no use any more."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete now. Raises FrameError."""
        buffer = self._buffer
        buffer += data
        messages: list[Message] = []
        start = 0
        while len(buffer) - start >= LENGTH_BYTES:
            size = int.from_bytes(buffer[start : start + LENGTH_BYTES], "big")
            if size > MAX_FRAME_BYTES:
                raise FrameError(f"a frame of {size} bytes is more than {MAX_FRAME_BYTES}")
            end = start + LENGTH_BYTES + size
            if len(buffer) < end:
                break
            messages.append(_decode(bytes(buffer[start + LENGTH_BYTES : end])))
            start = end
        del buffer[:start]
        return messages


def _decode(body: bytes) -> Message:
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise FrameError(f"a frame is not JSON: {error}") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise FrameError("a frame holds no message with a type")
    return message


class Channel(asyncio.Protocol):
    """One end of the connection. `on_end` gets a sentence when the other side is broken, empty when it is gone."""

    __slots__ = ("_framer", "_on_end", "_on_message", "_transport")

    _transport: asyncio.Transport

    def __init__(self, on_message: Callable[[Message], None], on_end: Callable[[str], None]) -> None:
        self._framer = Framer()
        self._on_message = on_message
        self._on_end: Callable[[str], None] | None = on_end

    @classmethod
    async def over(
        cls, sock: socket.socket, on_message: Callable[[Message], None], on_end: Callable[[str], None]
    ) -> Channel:
        """A channel over a connected stream socket, which belongs to it from then on."""
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_unix_connection(lambda: cls(on_message, on_end), sock=sock)
        return channel

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._framer.feed(data)
        except FrameError as error:
            self._end(str(error))
            self._transport.abort()
            return
        for message in messages:
            if self._on_end is None:
                return  # it was closed by what an earlier message led to
            self._on_message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("")

    def _end(self, why: str) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(why)

    @property
    def unsent_bytes(self) -> int:
        """What the other side has not taken yet. Who sends again and again looks here first."""
        return 0 if self._on_end is None else self._transport.get_write_buffer_size()

    def send(self, message: Message) -> None:
        """Send it, unless the other side is gone."""
        self.send_frame(encode(message))

    def send_frame(self, frame: bytes) -> None:
        """The same for what `encode` made: a snapshot goes to every worker."""
        if self._on_end is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def close(self) -> None:
        """Leave once what was sent is on its way; `on_end` does not come."""
        self._on_end = None
        self._transport.close()
