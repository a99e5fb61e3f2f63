"""Active probes: is a backend there?

Owns: asking each endpoint every `interval_s`, and the thresholds between up and down.
Must not know: what follows from a backend being up or down.
Invariants: a backend is up while any of its endpoints is; one lost probe changes nothing unless the threshold is 1; an
answer below 500 counts as being there, because a service without a health page answers 404 and is well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import aiohttp

from splitter.tasks import Tasks

_UNREACHABLE: Final = (aiohttp.ClientError, TimeoutError, OSError)


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """`url` of one endpoint's health page; after how many answers or silences in a row it counts as up or down."""

    backend: str
    url: str
    interval_s: float
    timeout_s: float
    healthy_after: int
    unhealthy_after: int


@dataclass(slots=True)
class EndpointState:
    """What is known of one endpoint. `fault` says why it is down, for people."""

    settings: ProbeSettings
    up: bool = True
    fault: str = ""
    in_a_row: int = 0

    def observe(self, fault: str) -> bool:
        """Take in one probe's result, empty for good. True when it changed whether the endpoint is up."""
        if (fault == "") == self.up:
            self.in_a_row = 0
            self.fault = ""
            return False
        self.in_a_row += 1
        self.fault = fault
        needed = self.settings.healthy_after if not self.up else self.settings.unhealthy_after
        if self.in_a_row < needed:
            return False
        self.up = not self.up
        self.in_a_row = 0
        return True


class Prober:
    """Probes all endpoints until closed; `on_change` hears when a backend as a whole goes up or down."""

    def __init__(self, settings: tuple[ProbeSettings, ...], on_change: Callable[[str, bool], Awaitable[object]]) -> None:
        self.endpoints = tuple(EndpointState(setting) for setting in settings)
        self._on_change = on_change
        self._running: asyncio.Task[None] | None = None

    def up(self) -> dict[str, bool]:
        """Whether each backend has an endpoint that is up."""
        found: dict[str, bool] = {}
        for endpoint in self.endpoints:
            name = endpoint.settings.backend
            found[name] = found.get(name, False) or endpoint.up
        return found

    async def run(self, tasks: Tasks) -> None:
        """Probe everything once, at once and to the last consequence, then leave the rounds to `tasks`.

        The first probe alone decides: at the start there is no traffic yet to protect from a wrong guess.
        """
        session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        faults = await asyncio.gather(*(self._probe(session, endpoint) for endpoint in self.endpoints))
        for endpoint, fault in zip(self.endpoints, faults, strict=True):
            endpoint.up, endpoint.fault = fault == "", fault
        for name, up in self.up().items():
            await self._on_change(name, up)
        self._running = tasks.start(self._rounds(session), "prober")

    def stop(self) -> None:
        """Probe no more."""
        if self._running is not None:
            self._running.cancel()

    async def _rounds(self, session: aiohttp.ClientSession) -> None:
        try:
            await asyncio.gather(*(self._watch(session, endpoint) for endpoint in self.endpoints))
        finally:
            await session.close()

    async def _watch(self, session: aiohttp.ClientSession, endpoint: EndpointState) -> None:
        while True:
            await asyncio.sleep(endpoint.settings.interval_s)
            fault = await self._probe(session, endpoint)
            before = self.up()
            if endpoint.observe(fault):
                name = endpoint.settings.backend
                after = self.up()[name]
                if after != before[name]:
                    await self._on_change(name, after)

    @staticmethod
    async def _probe(session: aiohttp.ClientSession, endpoint: EndpointState) -> str:
        settings = endpoint.settings
        timeout = aiohttp.ClientTimeout(total=settings.timeout_s)
        try:
            async with session.get(settings.url, timeout=timeout, allow_redirects=False) as response:
                return f"answered {response.status}" if response.status >= 500 else ""
        except TimeoutError:
            return f"no answer within {settings.timeout_s:g} s"
        except _UNREACHABLE as error:
            return str(error) or type(error).__name__
