"""The clients of a rehearsal, and what they saw.

Owns: who they are, what they ask for, at which rate, the record of every answer. Must not know: the story.
Invariants: a client asks one thing at a time over a connection of its own, so the order of its answers is the order of its
questions; their keys lie evenly over the buckets, so that a percent of buckets is that percent of clients.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from splitter.config import KeySource, Rollout, Route
from splitter.rehearsal.script import Script
from splitter.routing import BUCKETS, bucket_of, seed_of

CLIENTS: Final = 401
"""A prime: were it divisible by the number of shapes, each client would always ask the same."""
ANSWER_S: Final = 10.0
_TICK_S: Final = 0.01
_WRITES_EVERY: Final = 8
"""One request in so many changes something."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of request. `path` with `{id}` for the client's; `rescued`: may legacy answer it when domain fails."""

    name: str
    method: str
    path: str
    rescued: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client saw. `at_s` is when it asked, seconds since 1970; status 0 for no answer, and then `reason` says why."""

    client: int
    shape: Shape
    at_s: float
    took_s: float
    status: int
    backend: str
    reason: str

    @property
    def is_error(self) -> bool:
        return self.status == 0 or self.status >= 500


def shapes_of(rollout: Rollout, script: Script) -> tuple[Shape, ...]:
    """What is asked for: what no route is for, by reading and by writing, and each route."""
    shapes = [Shape("default", method, "/rehearsal", method in script.rescued) for method in ("GET", "POST")]
    for route in rollout.routes:
        method = next((method for method in (*route.methods, "GET") if method != "CONNECT"), "GET")
        rescued = method in script.rescued or (bool(script.rescued) and method in route.fallback_methods)
        shapes.append(Shape(route.name, method, _path(route), rescued))
    return tuple(shapes)


def _path(route: Route) -> str:
    segments = ("{id}" if segment.startswith("{") else segment for segment in route.path.removesuffix("*").split("/"))
    return "/".join(segments) + ("rehearsal" if route.path.endswith("*") else "")


def evenly(names: Iterator[str], seed: int, count: int = CLIENTS) -> list[str]:
    """The first names that lie in each of `count` equal parts of the buckets."""
    parts: dict[int, str] = {}
    for name in names:
        parts.setdefault(bucket_of(name.encode(), seed) * count // BUCKETS, name)
        if len(parts) == count:
            break
    return list(parts.values())


def _addresses() -> Iterator[str]:
    return (f"127.{a}.{b}.{c}" for a, b, c in itertools.product(range(77, 90), range(1, 250), range(1, 250)))


class _Client:
    """One client: its connection, and the fields that tell who it is."""

    def __init__(self, number: int, name: str, address: str, fields: str, query: str) -> None:
        self.number = number
        self.busy = False
        self._name = name
        self._address = address
        self._fields = fields
        self._query = query
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, port: int, shape: Shape) -> Answer:
        """One request and its answer; never raises."""
        at_s, started_s = time.time(), time.perf_counter()
        try:
            async with asyncio.timeout(ANSWER_S):
                status, backend, reason = await self._exchange(port, shape)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as error:
            self.close()
            status, backend, reason = 0, "", type(error).__name__
        return Answer(self.number, shape, at_s, time.perf_counter() - started_s, status, backend, reason)

    async def _exchange(self, port: int, shape: Shape) -> tuple[int, str, str]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", port, local_addr=(self._address, 0))
        reader, writer = self._streams
        body = "" if shape.method in ("GET", "HEAD", "OPTIONS", "DELETE") else '{"rehearsal":true}'
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        target = shape.path.replace("{id}", self._name) + self._query
        writer.write(f"{shape.method} {target} HTTP/1.1\r\nHost: rehearsal\r\n{self._fields}{length}\r\n{body}".encode())
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])}
        if shape.method != "HEAD":
            await reader.readexactly(int(fields.get("content-length", "0")))
        if fields.get("connection", "").lower() == "close":
            self.close()
        return int(lines[0].split(" ", 2)[1]), fields.get("x-splitter-backend", ""), fields.get("x-splitter-reason", "")

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Clients:
    """All of them. `answers` grows as they ask; `late` counts requests that no client was free for."""

    def __init__(self, port: int, rollout: Rollout, script: Script) -> None:
        self.answers: list[Answer] = []
        self.late = 0
        self._port = port
        self._per_s = script.requests_per_s
        shapes, seed = shapes_of(rollout, script), seed_of(rollout.salt)
        writes, reads = [shapes[1]], [shapes[0]]
        self._order = itertools.cycle([*(reads * (_WRITES_EVERY - 1)), *writes, *shapes[2:]])
        sources = [*rollout.key, *(source for route in rollout.routes for source in route.key or ())]
        names = evenly((f"client-{number}" for number in itertools.count()), seed)
        addresses = evenly(_addresses(), seed)
        self._clients = [
            _Client(number, name, address, _fields(sources, name), _query(sources, name))
            for number, (name, address) in enumerate(zip(names, addresses, strict=True))
        ]
        self._asking: set[asyncio.Task[None]] = set()

    def last(self, seconds: float) -> list[Answer]:
        """What came in the last seconds."""
        since_s = time.time() - seconds
        return list(itertools.takewhile(lambda answer: answer.at_s + answer.took_s > since_s, reversed(self.answers)))

    async def run(self) -> None:
        """Ask until cancelled."""
        loop = asyncio.get_running_loop()
        turn = itertools.cycle(self._clients)
        began_s, asked = loop.time(), 0
        try:
            while True:
                await asyncio.sleep(_TICK_S)
                due = int((loop.time() - began_s) * self._per_s) - asked
                for _ in range(min(due, CLIENTS)):
                    client, shape = next(turn), next(self._order)
                    if client.busy:
                        self.late += 1
                        continue
                    client.busy = True
                    task = loop.create_task(self._ask(client, shape))
                    self._asking.add(task)
                    task.add_done_callback(self._asking.discard)
                asked += due
        finally:
            await self._end()

    async def _ask(self, client: _Client, shape: Shape) -> None:
        answer = await client.ask(self._port, shape)
        client.busy = False
        self.answers.append(answer)

    async def _end(self) -> None:
        if self._asking:
            await asyncio.wait(self._asking, timeout=1.0)
        for task in self._asking:
            task.cancel()
        for client in self._clients:
            client.close()


def _fields(sources: list[KeySource], name: str) -> str:
    """The header lines in which the configuration looks for a key."""
    lines = {source.name: name for source in sources if source.kind == "header"}
    cookies = [f"{source.name}={name}" for source in sources if source.kind == "cookie"]
    if cookies:
        lines["Cookie"] = "; ".join(dict.fromkeys(cookies))
    claims = {source.name: name for source in sources if source.kind == "jwt"}
    if claims:
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        lines["Authorization"] = f"Bearer e30.{payload}.rehearsal"
    return "".join(f"{field}: {value}\r\n" for field, value in lines.items())


def _query(sources: list[KeySource], name: str) -> str:
    found = dict.fromkeys(f"{source.name}={name}" for source in sources if source.kind == "query")
    return f"?{'&'.join(found)}" if found else ""
