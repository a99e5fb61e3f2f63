"""Steady load from many clients on kept connections, and what they got.

Owns: sending, pacing, counting answers. Must not know: what is behind the port.
Invariant: an answer that is not a 200, or a connection that ends, is a failure and is counted, never retried.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

PAUSE_S = 0.01


@dataclass
class Load:
    """Clients of one splitter. `entry` goes along as `X-Entry`; the backend of an answer is the answer's body."""

    port: int
    entry: str
    clients: int = 6
    answers: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.gather(*(self._client(number) for number in range(self.clients)))

    async def _client(self, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            user = number
            while True:
                user += self.clients
                fields = f"Host: a\r\nX-User-Id: user-{user % 5000}\r\nX-Entry: {self.entry}\r\n\r\n"
                writer.write(f"GET / HTTP/1.1\r\n{fields}".encode())
                await self._answer(reader)
                await asyncio.sleep(PAUSE_S)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.failures.append(repr(error))
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        body = (await reader.readexactly(length)).decode()
        if head.startswith(b"http/1.1 200 "):
            self.answers[body] = self.answers.get(body, 0) + 1
        else:
            self.failures.append(f"{head!r} {body}")
