"""Load of WebSocket messages: connections that each send a message and wait for it to come back.

Must not know: the proxy. Invariant: every message is compared with what was sent; one that differs is an error.
Usage: python -m tools.bench.websocket_load PORT CONNECTIONS SECONDS; writes the line that load.py reads.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from typing import Final, cast

import uvloop

PAYLOAD_BYTES: Final = 1024
_MASK: Final = b"\x12\x34\x56\x78"
_HEAD: Final = struct.pack("!BBH", 0x82, 0x80 | 126, PAYLOAD_BYTES) + _MASK
FRAME_BYTES: Final = len(_HEAD) + PAYLOAD_BYTES
UPGRADE: Final = (
    b"GET /ws HTTP/1.1\r\nHost: cameras.example\r\nX-User-Id: user-%d\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
"""Of the user with this number."""
_ANSWER_HEAD: Final = struct.pack("!BBH", 0x82, 126, PAYLOAD_BYTES)
_ANSWER_BYTES: Final = len(_ANSWER_HEAD) + PAYLOAD_BYTES
_PAD: Final = int.from_bytes(_MASK * (PAYLOAD_BYTES // 4), "big")


def unmasked(frame: bytes) -> bytes:
    """The payload of a client's frame, whatever it is masked with: a proxy that takes frames apart masks them anew."""
    pad = int.from_bytes(frame[len(_HEAD) - len(_MASK) : len(_HEAD)] * (PAYLOAD_BYTES // len(_MASK)), "big")
    return (int.from_bytes(frame[len(_HEAD) :], "big") ^ pad).to_bytes(PAYLOAD_BYTES, "big")


def client_frame(payload: bytes) -> bytes:
    return _HEAD + (int.from_bytes(payload, "big") ^ _PAD).to_bytes(PAYLOAD_BYTES, "big")


def server_frame(payload: bytes) -> bytes:
    return _ANSWER_HEAD + payload


class Client(asyncio.Protocol):
    """One connection; `latencies_us` of its messages."""

    def __init__(self, number: int) -> None:
        self._payload = (b"%08d" % number * (PAYLOAD_BYTES // 8))[:PAYLOAD_BYTES]
        self._frame, self._expected = client_frame(self._payload), server_frame(self._payload)
        self._number = number
        self._buffer = b""
        self._open = False
        self._sent_s = 0.0
        self.latencies_us: list[float] = []
        self.errors = 0
        self.stopped = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(UPGRADE % self._number)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._open:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self.errors += 1
                self.transport.close()
                return
            self._open, self._buffer = True, rest
            self._send()
        while len(self._buffer) >= _ANSWER_BYTES:
            answer, self._buffer = self._buffer[:_ANSWER_BYTES], self._buffer[_ANSWER_BYTES:]
            self.errors += answer != self._expected
            self.latencies_us.append((time.perf_counter() - self._sent_s) * 1e6)
            if not self.stopped:
                self._send()

    def connection_lost(self, _error: Exception | None) -> None:
        self.errors += not self.stopped

    def _send(self) -> None:
        self._sent_s = time.perf_counter()
        self.transport.write(self._frame)


async def _run(port: int, connections: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    clients = [Client(number) for number in range(connections)]
    started_s = time.perf_counter()
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.sleep(seconds)
    for client in clients:
        client.stopped = True
        client.transport.close()
    took_us = round((time.perf_counter() - started_s) * 1e6)
    latencies_us = sorted(latency for client in clients for latency in client.latencies_us)
    count = len(latencies_us)
    report = {
        "requests": count,
        "duration_us": took_us,
        "bytes": count * _ANSWER_BYTES,
        "p50_us": latencies_us[count // 2] if count else 0,
        "p99_us": latencies_us[count * 99 // 100] if count else 0,
        "errors": {"message": sum(client.errors for client in clients)},
    }
    sys.stdout.write(f"RESULT {json.dumps(report)}\n")


if __name__ == "__main__":
    uvloop.run(_run(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
