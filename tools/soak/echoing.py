"""Clients on WebSockets: every message comes back once, in order, with the id of its connection.

Must not know: what is broken on purpose. Invariant: as in `clients`; a connection counts as one request.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import aiohttp

from tools.soak.backend import ID
from tools.soak.clients import Client
from tools.soak.ledger import Outcome

_MESSAGES: Final = 40
_PATIENCE_S: Final = 15.0


class Echoing(Client):
    kind = "WebSocket"

    async def turn(self) -> None:
        asked = self._ask(again=True)
        headers = {ID: str(asked.number), "X-User-Id": f"{self.name}-{asked.number % 50}"}
        side, why = "", ""
        try:
            async with (
                asyncio.timeout(_PATIENCE_S),
                aiohttp.ClientSession() as session,
                session.ws_connect(f"http://127.0.0.1:{self._port}/ws", headers=headers) as socket,
            ):
                side = socket._response.headers["X-Splitter-Backend"]  # there is no other way to it
                for count in range(_MESSAGES):
                    await socket.send_str(f"message {count}")
                    answer = await socket.receive_str()
                    if answer != f"{asked.number} message {count}":
                        self._ledger.blame(f"WebSocket {asked.number}: message {count} came back as {answer!r}")
                    await asyncio.sleep(0.02)
        except (OSError, aiohttp.ClientError, TypeError, TimeoutError) as error:  # TypeError: a close instead of a text
            why = repr(error)
        if why:
            self._ledger.end(asked, Outcome.CUT, time.monotonic(), why)
        else:
            self._ledger.end(asked, Outcome.DOMAIN if side == "domain" else Outcome.LEGACY, time.monotonic())
