"""A service that stands in for legacy or domain, and does wrong what it is told to.

`python -m splitter.rehearsal.service NAME PORT LATENCY_S`; an answer takes up to half as long again. Reads orders from
standard input, a line each: `well`, `errors STATUS SHARE` (0: the answer breaks off), `slow SECONDS`. Ends at the end of it.
Owns: answering. Must not know: the story, nor import anything heavy: it is started in the middle of it.
Invariant: `GET /health` is always well and fast, as with services whose health page says little.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

_LINE_BYTES: Final = 64 << 10


@dataclass(slots=True)
class Conduct:
    """How it behaves: the share of failures and their status, and how much later it answers."""

    status: int = 0
    share: float = 0.0
    delay_s: float = 0.0

    def order(self, words: list[str]) -> None:
        match words:
            case ["well"]:
                self.status, self.share, self.delay_s = 0, 0.0, 0.0
            case ["errors", status, share]:
                self.status, self.share = int(status), float(share)
            case ["slow", seconds]:
                self.delay_s = float(seconds)


class Service:
    """Answers HTTP/1.1 as it comes from a proxy: one request at a time, bodies by their length."""

    def __init__(self, name: str, latency_s: float) -> None:
        self._name = name
        self._latency_s = latency_s
        self._conduct = Conduct()

    async def serve(self, port: int) -> None:
        """Until the input ends."""
        server = await asyncio.start_server(self._connection, "127.0.0.1", port, limit=_LINE_BYTES, backlog=1024)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        async with server:
            while line := await reader.readline():
                self._conduct.order(line.decode().split())

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # the proxy has left
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        _, found, rest = head.partition(b"\r\ncontent-length:")
        if found:
            await reader.readexactly(int(rest.partition(b"\r\n")[0]))
        method, path = head.split(b" ", 2)[:2]
        conduct = self._conduct
        if path == b"/health":
            status, body = 200, b'{"status":"ok"}'
        else:
            await asyncio.sleep(self._latency_s * random.uniform(1.0, 1.5) + conduct.delay_s)  # noqa: S311
            if random.random() < conduct.share:  # noqa: S311
                if not conduct.status:
                    return False
                status, body = conduct.status, b'{"error":"rehearsed"}'
            else:
                status, body = 200, json.dumps({"service": self._name}).encode()
        writer.write(b"HTTP/1.1 %d %b\r\n" % (status, HTTPStatus(status).phrase.encode()))
        writer.write(b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
        if method != b"head":
            writer.write(body)
        await writer.drain()
        return True


if __name__ == "__main__":
    asyncio.run(Service(sys.argv[1], float(sys.argv[3])).serve(int(sys.argv[2])))
