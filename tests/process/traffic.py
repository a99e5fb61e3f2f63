"""Clients that ask again and again, and remember how each request ended.

Owns: the connections, what became of every request. Must not know: what a test makes of it.
Invariant: a request is counted once, as an answer or as a failure; nothing is asked twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

_PAUSE_S = 0.003
"""Some 2,000 requests a second in all: enough for every race, and the processes under test get to run too."""


@dataclass(frozen=True)
class Answer:
    status: int
    backend: str
    began_s: float
    """`time.monotonic`, just before the request was written."""


@dataclass
class Load:
    """What became of the requests. `failures`: what went wrong, by sentence; `refused`: connections that were not taken."""

    answers: list[Answer] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    refused: int = 0

    @property
    def statuses(self) -> Counter[int]:
        return Counter(answer.status for answer in self.answers)

    async def more(self, count: int, timeout_s: float = 30) -> None:
        """Wait until so many further requests have been answered."""
        wanted = len(self.answers) + count
        async with asyncio.timeout(timeout_s):
            while len(self.answers) < wanted:
                await asyncio.sleep(0.005)


class _Client:
    """One after another: a request, its answer. Each has a user of its own, so that a percent takes its share."""

    def __init__(self, name: str, port: int, load: Load, *, keep: bool) -> None:
        self._name = name
        self._port = port
        self._load = load
        self._keep = keep
        self._writer: asyncio.StreamWriter | None = None
        self._number = 0
        self.stopping = False

    async def run(self) -> None:
        try:
            while not self.stopping:
                await self._connection()
        finally:
            if self._writer is not None:
                self._writer.close()

    async def _connection(self) -> None:
        """As many requests as one connection takes."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except ConnectionRefusedError:
            self._load.refused += 1
            await asyncio.sleep(0.01)
            return
        except OSError as error:
            self._load.failures.append(f"connecting: {error!r}")
            return
        self._writer = writer
        number = 0
        try:
            while await self._ask(reader, writer) and self._keep and not self.stopping:
                number += 1
                await asyncio.sleep(_PAUSE_S)
        except (OSError, EOFError) as error:
            self._load.failures.append(f"request {number} of the connection: {error!r}")
        writer.close()
        await asyncio.sleep(_PAUSE_S)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection goes on."""
        began_s = time.monotonic()
        self._number += 1
        writer.write(b"GET /load HTTP/1.1\r\nHost: a\r\nX-User-Id: %b-%d\r\n\r\n" % (self._name.encode(), self._number))
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        await reader.readexactly(int(fields["content-length"]))
        self._load.answers.append(Answer(status, fields.get("x-splitter-backend", ""), began_s))
        return fields.get("connection") != "close"


@contextlib.asynccontextmanager
async def load(port: int, kept: int = 8, new: int = 4) -> AsyncIterator[Load]:
    """Clients on kept connections and clients with a new connection for every request, until the block ends."""
    result = Load()
    clients = [_Client(f"kept{n}", port, result, keep=True) for n in range(kept)]
    clients += [_Client(f"new{n}", port, result, keep=False) for n in range(new)]
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.run())
        try:
            yield result
        finally:
            for client in clients:
                client.stopping = True
