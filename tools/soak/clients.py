"""Clients of every manner: those that keep connections, that upload, that are slow, that leave, that speak nonsense.

Owns: what each asks and how, and telling the ledger what became of it. Must not know: what is broken on purpose, and when.
Invariants: a client has one request under way; `pause` returns when none has any; an answer is good only if it bears the id
of its own request and is as long as it says.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Final

from tools.soak.backend import ID
from tools.soak.ledger import Asked, Ledger, Outcome
from tools.soak.wire import Answer, Torn, read_answer

_PATIENCE_S: Final = 20.0
_PAUSE_S: Final = (0.005, 0.04)
_RESET: Final = struct.pack("ii", 1, 0)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Client:
    """One of them. Its subclasses say what it asks."""

    kind = ""
    refusals: frozenset[int] = frozenset()
    """Statuses with which it is rightly refused."""

    def __init__(self, name: str, port: int, ledger: Ledger, going: asyncio.Event) -> None:
        self.name = name
        self._port = port
        self._ledger = ledger
        self._going = going
        self._random = random.Random(name)  # noqa: S311 - the same traffic each time
        self._connection: Connection | None = None
        self.resting = asyncio.Event()
        self.stopped = False

    async def run(self) -> None:
        """Until `stopped`."""
        try:
            while not self.stopped:
                if not self._going.is_set():
                    self._let_go()
                    self.resting.set()
                    await self._going.wait()
                    self.resting.clear()
                    continue
                await self.turn()
                await asyncio.sleep(self._random.uniform(*_PAUSE_S))
        finally:
            self._let_go()

    async def turn(self) -> None:
        raise NotImplementedError

    # --- for the kinds ---

    async def _connected(self) -> Connection | None:
        """The kept connection, or a new one; None while nobody takes it."""
        if self._connection is not None and not self._connection[0].at_eof():
            return self._connection
        self._let_go()
        try:
            self._connection = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        except OSError as error:
            if not self._ledger.broken_between(time.monotonic(), time.monotonic()):
                self._ledger.blame(f"connecting: {error!r} though nothing was broken")
            await asyncio.sleep(0.05)
        return self._connection

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection[1].close()

    def _head(self, asked: Asked, method: str = "GET", query: str = "", *more: str) -> bytes:
        user = f"{self.name}-{self._random.randrange(50)}"
        lines = [f"{method} /work?{query} HTTP/1.1", "Host: soak", f"X-User-Id: {user}", f"{ID}: {asked.number}", *more]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def _exchange(
        self, asked: Asked, send: Callable[[asyncio.StreamWriter], Awaitable[None]], body: bytes = b""
    ) -> None:
        """Send, read the answer, and take down what became of it."""
        reader, writer = self._connection or await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                _, answer = await asyncio.gather(send(writer), read_answer(reader))
        except (OSError, EOFError, Torn, TimeoutError) as error:
            self._let_go()
            self._ledger.end(asked, Outcome.CUT, time.monotonic(), repr(error))
            return
        outcome, why = self._outcome(asked, answer, body)
        self._ledger.end(asked, outcome, time.monotonic(), why)
        if answer.closes:
            self._let_go()

    def _outcome(self, asked: Asked, answer: Answer, body: bytes) -> tuple[Outcome, str]:
        number = answer.fields.get(ID.lower())
        if number is None:
            refused = answer.status in self.refusals and "x-splitter-backend" not in answer.fields
            return Outcome.REFUSED if refused else Outcome.FAILED, f"{answer.status} {answer.body[:200]!r}"
        side = answer.body.split(b" ", 2)
        good = (
            number == str(asked.number)
            and side[1:2] == [number.encode()]
            and answer.fields["x-soak-digest"] == hashlib.md5(body, usedforsecurity=False).hexdigest()
            and answer.fields["x-splitter-backend"] == side[0].decode()
        )
        if not good:
            self._ledger.blame(f"request {asked.number} got the answer {answer.fields} {answer.body[:80]!r}")
        if answer.status != 200:
            return Outcome.FAILED, f"{answer.status}"
        return Outcome.DOMAIN if side[0] == b"domain" else Outcome.LEGACY, ""

    def _ask(self, *, again: bool) -> Asked:
        return self._ledger.ask(self.kind, time.monotonic(), again=again)


def _writes(data: bytes) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return send


class Keeping(Client):
    kind = "GET, kept connection"
    closes = False

    async def turn(self) -> None:
        if await self._connected() is None:
            return
        asked = self._ask(again=True)
        size = self._random.choice((0, 0, 0, 100, 5_000, 300_000))
        chunked = "&chunked=1" if self._random.random() < 0.3 else ""
        more = ("Connection: close",) if self.closes else ()
        await self._exchange(asked, _writes(self._head(asked, "GET", f"bytes={size}{chunked}", *more)))


class Closing(Keeping):
    kind = "GET, new connection"
    closes = True


class Uploading(Client):
    kind = "POST"

    async def turn(self) -> None:
        if await self._connected() is None:
            return
        asked = self._ask(again=False)
        body = self._random.randbytes(self._random.choice((1, 1_000, 70_000, 400_000)))
        if self._random.random() < 0.5:
            head = self._head(asked, "POST", "", f"Content-Length: {len(body)}")
            await self._exchange(asked, _writes(head + body), body)
            return
        head = self._head(asked, "POST", "", "Transfer-Encoding: chunked")
        pieces = [body[first : first + 30_000] for first in range(0, len(body), 30_000)]
        coded = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        await self._exchange(asked, _writes(head + coded), body)


class Slow(Client):
    """Sends its head and its body in small pieces."""

    kind = "slow POST"

    async def turn(self) -> None:
        if await self._connected() is None:
            return
        asked = self._ask(again=False)
        body = self._random.randbytes(500)
        data = self._head(asked, "POST", "bytes=200000&chunked=1", f"Content-Length: {len(body)}") + body

        async def send(writer: asyncio.StreamWriter) -> None:
            for first in range(0, len(data), 50):
                writer.write(data[first : first + 50])
                await writer.drain()
                await asyncio.sleep(0.01)

        await self._exchange(asked, send, body)


class Leaving(Client):
    """Goes away at some moment after its head has gone out whole, politely or not."""

    kind = "client that leaves"

    async def turn(self) -> None:
        connection = await self._connected()
        if connection is None:
            return
        asked = self._ask(again=True)
        with_body = self._random.random() < 0.3
        more = ("Content-Length: 1000",) if with_body else ()
        head = self._head(asked, "PUT" if with_body else "GET", "bytes=300000&ms=30", *more)
        with contextlib.suppress(OSError):
            connection[1].write(head + (b"x" * 100 if with_body else b""))
            await connection[1].drain()
            await asyncio.sleep(self._random.uniform(0.0, 0.08))
        sock: socket.socket | None = connection[1].get_extra_info("socket")
        if sock is not None and self._random.random() < 0.5:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._let_go()
        self._ledger.end(asked, Outcome.LEFT, time.monotonic())


class Malformed(Client):
    """Speaks what no backend may see."""

    kind = "bad request"
    refusals = frozenset({400, 501})

    async def turn(self) -> None:
        if await self._connected() is None:
            return
        asked = self._ask(again=False)
        line = self._random.choice(("Content-Length: +1", "Host: twice", "Transfer-Encoding: gzip, chunked", "no colon"))
        await self._exchange(asked, _writes(self._head(asked, "GET", "", line)))
        await asyncio.sleep(0.2)


KINDS: Final[dict[type[Client], int]] = {Keeping: 8, Closing: 2, Uploading: 3, Slow: 2, Leaving: 2, Malformed: 1}
"""How many of each."""
