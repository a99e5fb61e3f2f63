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
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from splitter import __version__
from splitter.carrier import backend_tls, settle
from splitter.certificates import Certificates
from splitter.config import Config, TcpAddress
from splitter.control.announcer import Announcer
from splitter.control.app import Audience, Life, State, make_app, make_gate
from splitter.control.certificates import CertificateWatch
from splitter.control.controller import Controller
from splitter.control.hooks import LAST_TRIES_S
from splitter.control.pilot import Pilot
from splitter.control.prober import Prober, ProbeSettings
from splitter.control.reload import Reloader, RenewalError
from splitter.control.store import Store, open_store
from splitter.errors import StoreError
from splitter.listening import Listening, open_listening
from splitter.pem import TlsFileError
from splitter.proxy.dial import Endpoint
from splitter.rendezvous import Orphan, Rendezvous, TakenError, name_of
from splitter.routing import Backend
from splitter.supervision.cores import cores
from splitter.supervision.crew import CannotStartError, Crew
from splitter.supervision.sockets import Address, SlotSockets
from splitter.supervision.takeover import open_sockets
from splitter.tasks import Tasks

_MOST_SPLITTERS: Final = 64
"""On one port, with `listen.reuse_port`."""


def _probes(config: Config) -> tuple[ProbeSettings, ...]:
    """Raises CannotStartError."""
    found = []
    for name, backend in ((Backend.LEGACY, config.backends.legacy), (Backend.DOMAIN, config.backends.domain)):
        try:
            tls = backend_tls(backend)
        except TlsFileError as error:
            raise CannotStartError(f"{error.role} of a backend {error}") from None
        for url in backend.urls:
            is_tls = url.scheme == "https"
            found.append(
                ProbeSettings(
                    backend=name.value,
                    endpoint=str(url),
                    url=f"{url.scheme}://{Endpoint(url.host, url.port).authority.decode()}{backend.health.path}",
                    interval_s=backend.health.interval_s,
                    timeout_s=backend.health.timeout_s,
                    healthy_after=backend.health.healthy_after,
                    unhealthy_after=backend.health.unhealthy_after,
                    tls=tls if is_tls else None,
                    server_name=backend.tls.server_name if is_tls else None,
                )
            )
    return tuple(found)


def _certificates(config: Config) -> Certificates | None:
    """Raises CannotStartError."""
    try:
        return None if config.listen.tls is None else Certificates(config.listen.tls)
    except TlsFileError as error:
        raise CannotStartError(f"listen.tls.{error.role}: {error}") from None


def _store(config: Config) -> Store:
    """Raises CannotStartError."""
    try:
        return open_store(config.state.url)
    except StoreError as error:
        raise CannotStartError(str(error)) from None


def _name(address: Address) -> str:
    """What hooks know this splitter by."""
    return f"{socket.gethostname()}:{address.port if isinstance(address, TcpAddress) else address.path}"


def _cannot_listen(address: Address, error: OSError, variable: str) -> CannotStartError:
    if error.errno == errno.EADDRINUSE:
        return CannotStartError(f"{address} is in use: stop what holds it, or choose another with {variable}=HOST:PORT")
    return CannotStartError(f"can't listen on {address}: {error.strerror or error}")


@contextlib.asynccontextmanager
async def _pages(state: State, internal_socket: str, admin: Listening) -> AsyncIterator[None]:
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
        for each in admin.sockets:
            await web.SockSite(operators, each).start()
        yield
    finally:
        await public.cleanup()
        await operators.cleanup()


class _Signals:
    """What came, also before anybody could act on it.

    SIGUSR1 rolls back, SIGHUP reloads, the others end this process; `leaves`: SIGUSR2 came, so the workers are to go on
    without it.
    """

    def __init__(self) -> None:
        self.stop, self.hang_up, self.roll_back = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.leaves = False
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR2, self._leave)
        for number, event in (
            (signal.SIGTERM, self.stop),
            (signal.SIGINT, self.stop),
            (signal.SIGHUP, self.hang_up),
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
        self._following: asyncio.Task[None] | None = None
        self._controller: Controller | None = None
        self._announcer: Announcer | None = None
        self._rolling_back = asyncio.Lock()

    async def run(self) -> int:
        """Until a signal; 0 when every request was allowed to end. Raises CannotStartError."""
        for sentence in self._config.not_in_force():
            self._log.warning("not_in_force", what=sentence)
        try:
            with contextlib.ExitStack() as stack:
                return await self._run(stack)
        finally:
            if self._announcer is not None:
                await self._announcer.hooks.close(LAST_TRIES_S)
            await self._tasks.close()
            if self._controller is not None:
                await self._controller.stop()

    async def _run(self, stack: contextlib.ExitStack) -> int:
        config = self._config
        sockets, name = await self._open(stack)
        # No file that a kill -9 would leave behind, and a name that nobody can know.
        internal_socket = f"\0camera-splitter-internal-{secrets.token_hex(16)}"
        crew = Crew(sockets, internal_socket, name, self._tasks)
        for orphan in self._orphans:
            crew.take_in(orphan)
        while not self._knocking.empty():
            crew.adopt(self._knocking.get_nowait())
        self._rendezvous.on_orphan = crew.adopt
        try:
            admin = stack.enter_context(open_listening(config.admin.address, config.admin.socket_mode))
        except OSError as error:
            raise _cannot_listen(config.admin.address, error, "SPLITTER_ADMIN_LISTEN") from None
        controller = self._controller = Controller(config, crew, self._store, self._tasks)
        loop = asyncio.get_running_loop()
        prober, gate = Prober(_probes(config), controller.on_backend), make_gate(config.admin, loop.time)
        announcer = self._announcer = Announcer(controller, self._tasks, _name(sockets.address), os.environ)
        state = State(crew, controller, prober, gate, self._tasks, loop.time, loop.time(), hooks=announcer.hooks)
        self._watch_certificates(state, crew, _certificates(config))
        try:
            async with _pages(state, internal_socket, admin):
                leaves = await self._serve(state, crew, announcer, sockets.address)
        except CannotStartError:
            await crew.abandon()
            raise
        if leaves:  # nobody can ask for a change any more: it would wait for workers that can't hear it
            await announcer.hooks.close(LAST_TRIES_S)
            await self._tasks.close()
            crew.leave()
            self._log.info("left", what="the workers go on until another supervisor takes them over")
        return 0

    async def _open(self, stack: contextlib.ExitStack) -> tuple[SlotSockets, str]:
        """The public sockets, and the name of the place where workers look for a supervisor. Raises CannotStartError."""
        listen = self._config.listen
        chosen = isinstance(listen.address, TcpAddress) and listen.address.port == 0
        name = "" if chosen else self._claim(listen.address, stack)
        try:
            slots = max(1, cores() if listen.workers == "auto" else listen.workers)
            sockets, self._orphans = await open_sockets(listen, slots, self._knocking)
        except OSError as error:
            raise _cannot_listen(listen.address, error, "SPLITTER_LISTEN") from None
        stack.callback(sockets.close)
        return sockets, name or self._claim(sockets.address, stack)

    def _claim(self, address: Address, stack: contextlib.ExitStack) -> str:
        """Take the place of this address, or a free one of several. Raises CannotStartError."""
        for number in range(_MOST_SPLITTERS if self._config.listen.reuse_port else 1):
            name = name_of(str(address), number)
            with contextlib.suppress(TakenError):
                self._rendezvous = Rendezvous(name, self._knocking.put_nowait)
                stack.callback(self._rendezvous.close)
                return name
        raise _cannot_listen(address, OSError(errno.EADDRINUSE, ""), "SPLITTER_LISTEN")

    async def _serve(self, state: State, crew: Crew, announcer: Announcer, address: Address) -> bool:
        """Until a signal; whether the workers are to go on without this process."""
        config, signals, controller = self._config, self._signals, state.controller
        self._tasks.start(self._roll_back_on_signal(controller), "SIGUSR1")
        await controller.start()
        announcer.follow()
        Pilot(controller, crew, announcer.confirm, self._tasks, asyncio.get_running_loop().time).start()
        reloading = self._tasks.start(self._reload(state, crew), "configuration")
        await state.prober.run(self._tasks)
        await self._unless_stopped(crew.start(config))
        if not signals.stop.is_set():
            state.life = Life.SERVING
            self._log.info("serving", listen=str(address), admin=str(config.admin.address), version=__version__)
            settle()
        await signals.stop.wait()
        reloading.cancel()  # what it has begun ends with the rest
        await self._roll_back_if_wanted(controller)
        if signals.leaves and state.life is Life.SERVING and crew.can_go_on_alone:
            return True
        state.life = Life.DRAINING
        timeout_s = controller.config.limits.drain_timeout_s
        self._log.info("draining", timeout_s=timeout_s)
        self._log.info("stopped", complete=await crew.drain(timeout_s))
        return False

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

    # --- what can be taken up while running ---

    async def _reload(self, state: State, crew: Crew) -> None:
        """Follow the configuration file and SIGHUP, until cancelled."""

        async def renew(config: Config) -> None:
            try:
                await self._renew(config, state, crew)
            except CannotStartError as error:
                raise RenewalError(str(error)) from None

        reloader = Reloader(self._path, state.controller, renew)
        async with asyncio.TaskGroup() as group:
            group.create_task(reloader.run())
            while True:
                await self._signals.hang_up.wait()
                self._signals.hang_up.clear()
                reloader.wanted.set()
                if state.certificates is not None:
                    state.certificates.reload()

    async def _renew(self, config: Config, state: State, crew: Crew) -> None:
        """Make everything anew that is made from a configuration. Raises CannotStartError, and then nothing has changed."""
        before = state.controller.config
        certificates, probes = _certificates(config), _probes(config)
        await crew.renew(config)
        if config.listen.tls != before.listen.tls:
            self._watch_certificates(state, crew, certificates)
        if config.backends != before.backends:
            state.prober.stop()
            state.prober = Prober(probes, state.controller.on_backend)
            await state.prober.run(self._tasks)

    def _watch_certificates(self, state: State, crew: Crew, certificates: Certificates | None) -> None:
        if self._following is not None:
            self._following.cancel()
        state.certificates = None
        if certificates is not None:
            state.certificates = CertificateWatch(certificates, crew.reload_certificates)
            self._following = self._tasks.start(state.certificates.follow(), "certificates")
