"""Both backends for WebSocket work: each connection is switched over, and what it sends comes back.

Must not know: the proxies. Invariant: as cheap as Python gets, since what is measured is the proxy: frames are not taken
apart more than an echo needs (a client's frame is masked, a server's is not: RFC 6455 section 5.1).
Usage: python -m tools.bench.echo LEGACY_PORT DOMAIN_PORT
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import signal
import sys
from typing import Final, cast

import uvloop

from tools.bench.websocket_load import FRAME_BYTES, server_frame, unmasked

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Echo(asyncio.Protocol):
    """Answers plain requests with a word, upgrades the others, then echoes frames of one size."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._buffer = b""
        self._switched = False

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._switched:
            self._read_head()
        while self._switched and len(self._buffer) >= FRAME_BYTES:
            frame, self._buffer = self._buffer[:FRAME_BYTES], self._buffer[FRAME_BYTES:]
            self._transport.write(server_frame(unmasked(frame)))

    def _read_head(self) -> None:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        self._buffer = rest
        fields = {
            name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }
        key = fields.get(b"sec-websocket-key")
        if key is None:
            self._transport.write(_OK)
            return
        accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self._switched = True


async def _serve(ports: list[int]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    servers = [await loop.create_server(Echo, "127.0.0.1", port, backlog=4096) for port in ports]
    await stop.wait()
    for server in servers:
        server.close()


if __name__ == "__main__":
    uvloop.run(_serve([int(word) for word in sys.argv[1:]]))
