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

from splitter.client_tls import Renewed, refusal_of
from splitter.tasks import Tasks

_UNREACHABLE: Final = (aiohttp.ClientError, TimeoutError, OSError)


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """`endpoint` is the URL of the configuration, `url` that of its health page; the thresholds count probes in a row.

    `tls` is what an `https` endpoint is spoken to with, as requests are, `server_name` another name than the URL's.
    """

    backend: str
    endpoint: str
    url: str
    interval_s: float
    timeout_s: float
    healthy_after: int
    unhealthy_after: int
    tls: Renewed | None = None
    server_name: str | None = None


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
            self.fault = fault
            return False
        self.in_a_row += 1
        self.fault = fault or self.fault  # one good probe does not say what was wrong
        needed = self.settings.healthy_after if not self.up else self.settings.unhealthy_after
        if self.in_a_row < needed:
            return False
        self.up = not self.up
        self.fault = "" if self.up else self.fault
        self.in_a_row = 0
        return True


class Prober:
    """Probes all endpoints until closed.

    `on_change` hears when an endpoint goes up or down: the backend's name, whether it is up, which of its endpoints are
    down.
    """

    def __init__(
        self, settings: tuple[ProbeSettings, ...], on_change: Callable[[str, bool, frozenset[str]], Awaitable[object]]
    ) -> None:
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

    def down(self, backend: str) -> frozenset[str]:
        """The URLs of a backend's endpoints that are down."""
        return frozenset(e.settings.endpoint for e in self.endpoints if e.settings.backend == backend and not e.up)

    async def run(self, tasks: Tasks) -> None:
        """Probe everything once, at once and to the last consequence, then leave the rounds to `tasks`.

        The first probe alone decides: at the start there is no traffic yet to protect from a wrong guess.
        """
        session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        faults = await asyncio.gather(*(self._probe(session, endpoint) for endpoint in self.endpoints))
        for endpoint, fault in zip(self.endpoints, faults, strict=True):
            endpoint.up, endpoint.fault = fault == "", fault
        for name, up in self.up().items():
            await self._on_change(name, up, self.down(name))
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
            if endpoint.observe(fault):
                name = endpoint.settings.backend
                await self._on_change(name, self.up()[name], self.down(name))

    @staticmethod
    async def _probe(session: aiohttp.ClientSession, endpoint: EndpointState) -> str:
        settings = endpoint.settings
        timeout = aiohttp.ClientTimeout(total=settings.timeout_s)
        try:
            tls = settings.tls.context() if settings.tls is not None else True
            async with session.get(
                settings.url, timeout=timeout, allow_redirects=False, ssl=tls, server_hostname=settings.server_name
            ) as response:
                return f"answered {response.status}" if response.status >= 500 else ""
        except aiohttp.ClientConnectorCertificateError as error:
            return refusal_of(error.certificate_error) or str(error)
        except aiohttp.ClientConnectorError as error:
            return refusal_of(error.os_error) or str(error)
        except TimeoutError:
            return f"no answer within {settings.timeout_s:g} s"
        except _UNREACHABLE as error:
            return str(error) or type(error).__name__
