"""The supervisor: starts a splitter from its configuration and runs it until it is told to stop.

Owns: composing the planes, the signals, the order of starting and stopping.
Must not know: what any part does inside.
Invariants: the public port opens last, when everything that answers on it is there; SIGTERM and SIGINT let every request
under way end; what was started is stopped, whatever happened in between, but for two cases: when this process breaks down
while it serves, and when SIGUSR2 says so, the workers go on without it, for the next supervisor to take over.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path

import structlog
from aiohttp import web

from splitter import __version__
from splitter.carrier import settle
from splitter.config import Config, TcpAddress, UnixAddress
from splitter.control.app import Audience, Life, State, make_app, make_gate
from splitter.control.controller import Controller
from splitter.control.prober import Prober, ProbeSettings
from splitter.control.reload import Reloader, RenewalError
from splitter.control.store import Store, open_store
from splitter.errors import StoreError
from splitter.proxy.pool import Endpoint
from splitter.rendezvous import Orphan, Rendezvous, TakenError, name_of
from splitter.routing import Backend
from splitter.supervision.cores import cores
from splitter.supervision.crew import CannotStartError, Crew
from splitter.supervision.sockets import Address, Listening
from splitter.supervision.takeover import open_listening
from splitter.tasks import Tasks


def _probes(config: Config) -> tuple[ProbeSettings, ...]:
    return tuple(
        ProbeSettings(
            backend=name.value,
            url=f"{url.scheme}://{Endpoint(url.host, url.port).authority.decode()}{backend.health.path}",
            interval_s=backend.health.interval_s,
            timeout_s=backend.health.timeout_s,
            healthy_after=backend.health.healthy_after,
            unhealthy_after=backend.health.unhealthy_after,
        )
        for name, backend in ((Backend.LEGACY, config.backends.legacy), (Backend.DOMAIN, config.backends.domain))
        for url in backend.urls
    )


def _store(config: Config) -> Store:
    try:
        return open_store(config.state.url)
    except StoreError as error:
        raise CannotStartError(str(error)) from None


def _cannot_listen(address: Address, error: OSError, variable: str) -> CannotStartError:
    if error.errno == errno.EADDRINUSE:
        return CannotStartError(f"{address} is in use: stop what holds it, or choose another with {variable}=HOST:PORT")
    return CannotStartError(f"can't listen on {address}: {error.strerror or error}")


@contextlib.asynccontextmanager
async def _pages(state: State, internal_socket: str, admin: Address) -> AsyncIterator[None]:
    """Serve the splitter's own pages on the internal socket and on the admin address."""
    public, operators = (
        web.AppRunner(make_app(state, audience), access_log=None, shutdown_timeout=1.0)
        for audience in (Audience.PUBLIC, Audience.OPERATORS)
    )
    await public.setup()
    await operators.setup()
    try:
        own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        own.bind(internal_socket)
        await web.SockSite(public, own).start()
        site = (
            web.UnixSite(operators, admin.path)
            if isinstance(admin, UnixAddress)
            else web.TCPSite(operators, admin.host, admin.port)
        )
        try:
            await site.start()
        except OSError as error:
            raise _cannot_listen(admin, error, "SPLITTER_ADMIN_LISTEN") from None
        yield
    finally:
        await public.cleanup()
        await operators.cleanup()


class _Signals:
    """What came, also before anybody could act on it. SIGUSR1 rolls back, SIGHUP reloads, the others end this process.

    `leaves`: SIGUSR2 came, so the workers are to go on without it.
    """

    def __init__(self) -> None:
        self.stop, self.reload, self.roll_back = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.leaves = False
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR2, self._leave)
        for number, event in (
            (signal.SIGTERM, self.stop),
            (signal.SIGINT, self.stop),
            (signal.SIGHUP, self.reload),
            (signal.SIGUSR1, self.roll_back),
        ):
            loop.add_signal_handler(number, event.set)

    def _leave(self) -> None:
        self.leaves = True
        self.stop.set()


class Supervisor:
    """One splitter. `path` is the configuration file to follow, if there is one. Raises CannotStartError."""

    def __init__(self, config: Config, path: Path | None) -> None:
        self._config = config
        self._path = path
        self._log = structlog.get_logger()
        self._tasks = Tasks(lambda name, error: self._log.error("task_failed", task=name, exc_info=error))
        self._signals = _Signals()
        self._store = _store(config)
        self._knocking: asyncio.Queue[Orphan] = asyncio.Queue()
        self._controller: Controller | None = None
        self._rolling_back = asyncio.Lock()

    async def run(self) -> int:
        """Until a signal; 0 when every request was allowed to end. Raises CannotStartError."""
        for sentence in self._config.not_in_force():
            self._log.warning("not_in_force", what=sentence)
        try:
            return await self._run()
        finally:
            await self._tasks.close()
            if self._controller is not None:
                await self._controller.stop()

    async def _run(self) -> int:
        address = self._config.listen.address
        with contextlib.ExitStack() as stack:
            rendezvous = None
            if not (isinstance(address, TcpAddress) and address.port == 0):  # with 0 there is nothing yet to take over
                rendezvous = self._claim(address)
                stack.callback(rendezvous.close)
            listening, orphans = await self._open(address)
            stack.callback(listening.close)
            if rendezvous is None:
                rendezvous = self._claim(listening.address)
                stack.callback(rendezvous.close)
            # No file that a kill -9 would leave behind, and a name that nobody can know.
            internal_socket = f"\0camera-splitter-internal-{secrets.token_hex(16)}"
            crew = Crew(listening, internal_socket, name_of(str(listening.address)), self._tasks)
            for orphan in orphans:
                crew.adopt(orphan)
            while not self._knocking.empty():
                crew.adopt(self._knocking.get_nowait())
            rendezvous.on_orphan = crew.adopt
            return await self._serve(crew, internal_socket, listening.address)

    def _claim(self, address: Address) -> Rendezvous:
        try:
            return Rendezvous(name_of(str(address)), self._knocking.put_nowait)
        except TakenError:
            error = OSError(errno.EADDRINUSE, "")
            raise _cannot_listen(address, error, "SPLITTER_LISTEN") from None

    async def _open(self, address: Address) -> tuple[Listening, list[Orphan]]:
        count = self._config.listen.workers
        try:
            return await open_listening(address, max(1, cores() if count == "auto" else count), self._knocking)
        except OSError as error:
            raise _cannot_listen(address, error, "SPLITTER_LISTEN") from None

    async def _serve(self, crew: Crew, internal_socket: str, address: Address) -> int:
        config, stop = self._config, self._signals.stop
        loop = asyncio.get_running_loop()
        controller = self._controller = Controller(config, crew, self._store, self._tasks)
        prober = Prober(_probes(config), controller.on_backend)
        gate = make_gate(config.admin, loop.time)
        state = State(crew, controller, prober, gate, self._tasks, loop.time, loop.time())
        try:
            async with _pages(state, internal_socket, config.admin.address):
                self._tasks.start(self._roll_back_on_signal(controller), "SIGUSR1")
                reloading = self._tasks.start(self._reloader(state, crew).run(), "configuration")
                await controller.start()
                await state.prober.run(self._tasks)
                await self._unless_stopped(crew.start(config))
                if not stop.is_set():
                    state.life = Life.SERVING
                    self._log.info("serving", listen=str(address), admin=str(config.admin.address), version=__version__)
                    settle()
                await stop.wait()
                reloading.cancel()  # what it has begun ends with the rest
                await self._roll_back_if_wanted(controller)
                leaves = self._signals.leaves and state.life is Life.SERVING and crew.can_go_on_alone
                if not leaves:
                    await self._drain(state, crew)
        except CannotStartError:
            await crew.abandon()
            raise
        if leaves:  # nobody can ask for a change any more: it would wait for workers that can't hear it
            await self._tasks.close()
            crew.leave()
            self._log.info("left", what="the workers go on until another supervisor takes them over")
        return 0

    async def _drain(self, state: State, crew: Crew) -> None:
        state.life = Life.DRAINING
        timeout_s = state.controller.config.limits.drain_timeout_s
        self._log.info("draining", timeout_s=timeout_s)
        self._log.info("stopped", complete=await crew.drain(timeout_s))

    async def _unless_stopped(self, starting: Coroutine[None, None, None]) -> None:
        """Do it, or give it up when the signal to stop comes first."""
        loop = asyncio.get_running_loop()
        start, stop = loop.create_task(starting), loop.create_task(self._signals.stop.wait())
        await asyncio.wait((start, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not start.done():
            start.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await start

    async def _roll_back_on_signal(self, controller: Controller) -> None:
        while True:
            await self._signals.roll_back.wait()
            await self._roll_back_if_wanted(controller)

    async def _roll_back_if_wanted(self, controller: Controller) -> None:
        """Also just before the end: what was wanted by then is saved, and in force with workers that go on."""
        async with self._rolling_back:
            if self._signals.roll_back.is_set():
                self._signals.roll_back.clear()
                await controller.roll_back("signal", "SIGUSR1")

    def _reloader(self, state: State, crew: Crew) -> Reloader:
        controller = state.controller

        async def renew(config: Config) -> None:
            try:
                await crew.renew(config)
            except CannotStartError as error:
                raise RenewalError(str(error)) from None
            if _probes(config) != _probes(controller.config):
                state.prober.stop()
                state.prober = Prober(_probes(config), controller.on_backend)
                await state.prober.run(self._tasks)

        return Reloader(self._path, controller, renew, self._signals.reload)
