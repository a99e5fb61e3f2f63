"""A backend that writes down when requests arrive: `python -m tests.process.counting_backend PORT NAME`.

Owns: counts and times of arrival, by the request's field `X-Entry` (through which splitter it was sent). CLOCK_MONOTONIC is
one clock for all processes of a machine, so a test can compare these times with its own.
Must not know: splitters. GET /arrivals gives the counts, GET /health is not counted, everything else is answered with NAME.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Final

_END: Final = b"\r\n\r\n"
_FIELD: Final = b"x-entry:"


class Arrivals:
    """Per entry: how many, and when the last one came (seconds of CLOCK_MONOTONIC)."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.last_s: dict[str, float] = {}

    def note(self, entry: str) -> None:
        self.counts[entry] = self.counts.get(entry, 0) + 1
        self.last_s[entry] = time.monotonic()


class Connection(asyncio.Protocol):
    """Requests without a body, one after the other."""

    def __init__(self, name: bytes, arrivals: Arrivals) -> None:
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name)
        self._arrivals = arrivals
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *heads, self._buffer = (self._buffer + data).split(_END)
        for head in heads:
            if head.startswith(b"GET /arrivals "):
                body = json.dumps({"counts": self._arrivals.counts, "last_s": self._arrivals.last_s}).encode()
                self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                continue
            if not head.startswith(b"GET /health "):
                lower = head.lower()
                at = lower.find(_FIELD)
                entry = lower[at + len(_FIELD) :].split(b"\r\n")[0].strip() if at >= 0 else b""
                self._arrivals.note(entry.decode())
            self._transport.write(self._answer)


async def main(port: int, name: bytes) -> None:
    arrivals = Arrivals()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(name, arrivals), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2].encode()))
