"""A backend that knows which requests it has seen: `python -m tools.soak.backend PORT NAME`.

Owns: how often each id came, the faults it is told to have. Must not know: splitters, who asks.
Invariant: a request is noted when its head is there, before anything can go wrong with it. Every answer bears the id of its
request. `/soak/fault?kind=...&share=...` sets a fault, `/soak/seen` gives the counts, one byte for each id.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
from typing import Final

from aiohttp import WSMsgType, web

ID: Final = "X-Soak-Id"
FAULTS: Final = ("none", "5xx", "hang", "reset", "torn")
_HANG_S: Final = 30.0


class Backend:
    """See the top of the file."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._seen = bytearray()
        self._fault = "none"
        self._share = 0.0
        self._random = random.Random(name)  # noqa: S311 - which requests fail is no secret

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_get("/health", self._health)
        app.router.add_get("/soak/fault", self._set_fault)
        app.router.add_get("/soak/seen", self._tell)
        app.router.add_get("/ws", self._echo)
        app.router.add_route("*", "/work", self._work)
        return app

    def _note(self, request: web.Request) -> str:
        number = int(request.headers[ID])
        if number >= len(self._seen):
            self._seen.extend(bytes(number + 4096 - len(self._seen)))
        self._seen[number] = min(255, self._seen[number] + 1)
        return str(number)

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _set_fault(self, request: web.Request) -> web.Response:
        self._fault, self._share = request.query["kind"], float(request.query["share"])
        return web.Response()

    async def _tell(self, _request: web.Request) -> web.Response:
        return web.Response(body=bytes(self._seen))

    async def _work(self, request: web.Request) -> web.StreamResponse:
        number = self._note(request)
        body = await request.read()
        told = {ID: number, "X-Soak-Digest": hashlib.md5(body, usedforsecurity=False).hexdigest()}
        fault = self._fault if self._random.random() < self._share else "none"
        if fault == "hang":
            await asyncio.sleep(_HANG_S)
        if fault == "reset" and request.transport is not None:
            request.transport.abort()
        if fault == "5xx":
            return web.Response(status=503, headers=told, text=f"{self._name} {number}")
        await asyncio.sleep(int(request.query.get("ms", "0")) / 1000)
        text = f"{self._name} {number} ".encode()
        content = text + b"x" * int(request.query.get("bytes", "0"))
        if "chunked" not in request.query and fault != "torn":
            return web.Response(headers=told, body=content)
        response = web.StreamResponse(headers=told)
        if fault == "torn":
            response.content_length = len(content) + 1000
        await response.prepare(request)
        for first in range(0, len(content), 10_000):
            await response.write(content[first : first + 10_000])
        if fault == "torn" and request.transport is not None:
            request.transport.close()
        return response

    async def _echo(self, request: web.Request) -> web.WebSocketResponse:
        number = self._note(request)
        socket = web.WebSocketResponse()
        socket.headers[ID] = number
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(f"{number} {message.data}")
        return socket


def main() -> None:
    port, name = int(sys.argv[1]), sys.argv[2]
    web.run_app(Backend(name).application(), host="127.0.0.1", port=port, print=None, access_log=None)


if __name__ == "__main__":
    main()
