"""One request to one side.

Owns: the connections, time-outs, the reading of an answer, making sure that the wanted side was the one that answered.
Must not know: what is compared, in which order requests go out.
Invariants: `ask` never raises for what a side does: no answer is an observation too; no more of a body is kept than the
bound, whatever comes; nothing is followed, stored or unpacked on the way.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from time import perf_counter
from types import TracebackType
from typing import Any, Final

import aiohttp
from yarl import URL

from splitter.cli.compare.side import Side
from splitter.cli.compare.steps import Step
from splitter.compare import Observation

_PIECE_BYTES: Final = 64 * 1024
_HEAD_BYTES: Final = 64 * 1024
_OPEN_END_BYTES: Final = 64 * 1024
"""How much of an answer without end is read: enough to see that it flows."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for every request. `headers` are sent with each."""

    timeout_s: float
    body_bytes: int
    headers: tuple[tuple[str, str], ...] = ()
    connections: int = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """An answer, and how long it took from the first byte sent to the last one read.

    `not_comparable`: why it says nothing about this side, which was not asked, or was not the one that answered; else empty.
    """

    observation: Observation
    duration_s: float
    not_comparable: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A step with everything filled in."""

    step: Step
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class _MisroutedError(Exception):
    """Somebody else answered."""


class _Socket(aiohttp.ClientWebSocketResponse):
    """A WebSocket that keeps the headers of the answer that opened it."""

    def __init__(self, reader: Any, writer: Any, protocol: Any, response: aiohttp.ClientResponse, *more: Any, **named: Any):
        super().__init__(reader, writer, protocol, response, *more, **named)
        self.opened_with = response.headers


class Asker:
    """Sends requests to one side over connections of its own."""

    def __init__(self, side: Side, settings: Settings) -> None:
        self.side = side
        self._settings = settings

    async def __aenter__(self) -> Asker:
        settings = self._settings
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=settings.connections),
            timeout=aiohttp.ClientTimeout(total=settings.timeout_s),
            skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept", "Content-Type"),
            max_line_size=_HEAD_BYTES,
            max_field_size=_HEAD_BYTES,
            ws_response_class=_Socket,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ask(self, request: Request) -> Asked:
        """What the side says to a request."""
        started_s = perf_counter()
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                answer = self._converse if request.step.messages else self._fetch
                observation = await answer(request)
        except _MisroutedError as error:
            return Asked(_failed(str(error)), perf_counter() - started_s, not_comparable=str(error))
        except TimeoutError:
            observation = _failed(f"timed out after {self._settings.timeout_s:g} s")
        except aiohttp.WSServerHandshakeError as error:
            observation = Observation(error.status, tuple(error.headers.items()) if error.headers else ())
        except (aiohttp.ClientError, OSError, ValueError) as error:
            observation = _failed(_reason(error))
        return Asked(observation, perf_counter() - started_s)

    def _url(self, request: Request) -> URL:
        return URL(self.side.url + self.side.target(request.target), encoded=True)

    def _headers(self, request: Request) -> list[tuple[str, str]]:
        given = {name.lower() for name, _ in request.headers}
        return [*request.headers, *(pair for pair in self._settings.headers if pair[0].lower() not in given)]

    async def _fetch(self, request: Request) -> Observation:
        async with self._session.request(
            request.step.method,
            self._url(request),
            headers=self._headers(request),
            data=request.body or None,
            allow_redirects=False,
        ) as response:
            self._check_side(response.headers)
            headers = _pairs(response)
            if request.step.stream:
                await response.content.read(_OPEN_END_BYTES)
                response.close()
                return Observation(response.status, headers)
            return await self._whole(response, headers)

    async def _whole(self, response: aiohttp.ClientResponse, headers: tuple[tuple[str, str], ...]) -> Observation:
        body, digest, size_bytes = bytearray(), sha256(), 0
        async for piece in response.content.iter_chunked(_PIECE_BYTES):
            size_bytes += len(piece)
            digest.update(piece)
            if size_bytes <= self._settings.body_bytes:
                body += piece
        if size_bytes > self._settings.body_bytes:
            return Observation(response.status, headers, size_bytes=size_bytes, digest=digest.hexdigest())
        return Observation(response.status, headers, bytes(body))

    async def _converse(self, request: Request) -> Observation:
        """A WebSocket: its first messages, as a JSON list."""
        async with self._session.ws_connect(self._url(request), headers=self._headers(request)) as socket:
            if isinstance(socket, _Socket):
                self._check_side(socket.opened_with)
            messages: list[object] = []
            while len(messages) < request.step.messages:
                message = await socket.receive()
                if message.type not in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
                    messages.append({"closed": socket.close_code})
                    break
                messages.append(_message(message))
        return Observation(101, (("Content-Type", "application/json"),), json.dumps(messages).encode())

    def _check_side(self, headers: Mapping[str, str]) -> None:
        """Raises _MisroutedError; ClientError when it was asked, and failed, and the other one stood in for it."""
        if not self.side.force:
            return
        wanted = "domain" if self.side.force == "true" else "legacy"
        got, reason = headers.get("X-Splitter-Backend", ""), headers.get("X-Splitter-Reason", "")
        if got == wanted:
            return
        if not got:
            raise _MisroutedError("no splitter passed it on: the answer has no X-Splitter-Backend")
        if reason == "fallback":
            raise aiohttp.ClientError(f"{wanted} failed, and {got} answered instead (fallback)")
        raise _MisroutedError(f"the splitter sent it to {got}, not to {wanted} ({reason or 'no reason given'})")


def not_asked(why: str) -> Asked:
    """What stands for the answer of a side that could not be asked."""
    return Asked(_failed(why), 0.0, not_comparable=why)


def _pairs(response: aiohttp.ClientResponse) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers)


def _message(message: aiohttp.WSMessage) -> object:
    """What a message says: its JSON, or its text, or how long it is."""
    if message.type is aiohttp.WSMsgType.BINARY:
        return {"binary_bytes": len(message.data)}
    try:
        return json.loads(message.data)
    except (ValueError, RecursionError):
        return message.data


def _failed(why: str) -> Observation:
    return Observation(0, failure=why)


def _reason(error: Exception) -> str:
    """Why there is no answer, in words that say nothing of ports and objects that change from run to run."""
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno  # its own words name the address, and are the same for every reason
        return f"no connection: {os.strerror(number) if number and number > 0 else error.os_error}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "hung up without an answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "broke off in the middle of its answer"
    if isinstance(error, OSError) and error.strerror:
        return f"the connection failed: {error.strerror}"
    return f"no usable answer: {str(error)[:200] or type(error).__name__}"
