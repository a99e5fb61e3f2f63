"""Starts a splitter from its configuration and runs it until it is told to stop.

Owns: composing the planes, the signals, the order of starting and stopping.
Must not know: what any part does inside.
Invariants: the public port opens last, when everything that answers on it is there; SIGTERM and SIGINT let every request
under way end; what was started is stopped, the internal socket's folder removed, whatever happened in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import gc
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import structlog
import uvloop
from aiohttp import web

from splitter import __version__
from splitter.config import BackendConfig, Config, TcpAddress, UnixAddress
from splitter.control.app import Audience, Life, State, make_app
from splitter.control.controller import Controller
from splitter.control.prober import Prober, ProbeSettings
from splitter.control.reload import follow
from splitter.control.store import Store, open_store
from splitter.control.table import table_of
from splitter.errors import StoreError
from splitter.fallback import FallbackPolicy
from splitter.http1.request import HeadLimits
from splitter.logs import FLUSH_EVERY_S, AccessLog, configure, utc_now
from splitter.proxy.plane import BackendSettings, ConnectionLimits, DataPlane, Ejection, PlaneSettings, Timeouts
from splitter.proxy.pool import Endpoint, PoolLimits
from splitter.routing import Backend
from splitter.snapshot import Snapshot
from splitter.supervision.local import LocalPlane
from splitter.tasks import Tasks

Address = TcpAddress | UnixAddress

_INTERNAL: Final = PoolLimits(
    connect_timeout_s=2.0, idle_s=60.0, max_connections=16, max_waiting=256, header_bytes=64 * 1024, headers=200
)
_TUNNEL_S: Final = 3600.0
"""Silence in a tunnel: cameras' viewers sit and watch, a minute is nothing."""
_MALLOPT: Final = ((-3, 4 << 20), (-1, 16 << 20), (-2, 1 << 20))
"""M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_TOP_PAD of glibc's malloc.h."""


class CannotStartError(Exception):
    """Said to the one who starts the splitter, in one line."""


def _backend(config: BackendConfig, head: HeadLimits) -> BackendSettings:
    return BackendSettings(
        endpoints=tuple(Endpoint(url.host, url.port) for url in config.urls),
        timeouts=Timeouts(config.response_timeout_s, config.idle_timeout_s, max(_TUNNEL_S, config.idle_timeout_s)),
        pool=PoolLimits(
            connect_timeout_s=config.connect_timeout_s,
            idle_s=config.idle_timeout_s,
            max_connections=config.max_connections,
            max_waiting=config.max_connections * 4,
            header_bytes=head.header_bytes,
            headers=head.headers,
        ),
        ejection=Ejection(config.eject.consecutive_failures, config.eject.for_s),
    )


def plane_settings(config: Config, internal_socket: str) -> PlaneSettings:
    """What a data plane is made with."""
    limits = config.limits
    head = HeadLimits(limits.header_bytes, limits.target_bytes, limits.headers, limits.body_bytes)
    internal = BackendSettings(
        (Endpoint("", 0, internal_socket),), Timeouts(10.0, 10.0, 10.0), _INTERNAL, Ejection(1000, 1.0)
    )
    return PlaneSettings(
        backends={
            Backend.LEGACY: _backend(config.backends.legacy, head),
            Backend.DOMAIN: _backend(config.backends.domain, head),
            Backend.INTERNAL: internal,
        },
        head_limits=head,
        limits=ConnectionLimits(limits.header_timeout_s, limits.keepalive_timeout_s),
        replay_bytes=config.fallback.max_body_bytes,
        fallback=FallbackPolicy(
            frozenset(config.fallback.on),
            frozenset(method.encode() for method in config.fallback.methods),
            config.fallback.budget,
        ),
        trusted_proxies=tuple(config.listen.trusted_proxies),
    )


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


def _cannot_listen(address: Address, error: OSError, variable: str) -> CannotStartError:
    if error.errno == errno.EADDRINUSE:
        return CannotStartError(f"{address} is in use: stop what holds it, or choose another with {variable}=HOST:PORT")
    return CannotStartError(f"can't listen on {address}: {error.strerror or error}")


async def _listen(plane: DataPlane, address: Address) -> str:
    try:
        if isinstance(address, UnixAddress):
            await plane.serve_unix(address.path)
            return str(address)
        return str(TcpAddress(*await plane.serve_tcp(address.host, address.port)))
    except OSError as error:
        raise _cannot_listen(address, error, "SPLITTER_LISTEN") from None


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
        await web.UnixSite(public, internal_socket).start()
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


async def _flush(access_log: AccessLog) -> None:
    while True:
        await asyncio.sleep(FLUSH_EVERY_S)
        access_log.flush()


def _store(config: Config) -> Store:
    try:
        return open_store(config.state.url)
    except StoreError as error:
        raise CannotStartError(str(error)) from None


async def serve(config: Config, path: Path | None) -> int:
    """Run until a signal; 0 when every request was allowed to end. Raises CannotStartError."""
    store = _store(config)
    loop = asyncio.get_running_loop()
    log = structlog.get_logger()
    for sentence in config.not_in_force():
        log.warning("not_in_force", what=sentence)
    tasks = Tasks(lambda name, error: log.error("task_failed", task=name, exc_info=error))
    sample = config.access_log.sample
    access_log = AccessLog(sys.stdout.buffer, sample, random.random, utc_now) if sample else None
    folder = tempfile.mkdtemp(prefix="splitter-")
    internal_socket = f"{folder}/internal.sock"
    controller: Controller | None = None
    try:
        plane = DataPlane(
            plane_settings(config, internal_socket), Snapshot(table_of(config)), tasks, access_log, clock=loop.time
        )
        local = LocalPlane(plane)
        controller = Controller(config, local, store, tasks)
        prober = Prober(_probes(config), controller.on_backend)
        state = State(local, controller, prober, tasks, loop.time, loop.time())
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(
            signal.SIGUSR1, lambda: tasks.start(controller.roll_back("signal", "SIGUSR1"), "rollback by signal")
        )
        async with _pages(state, internal_socket, config.admin.address):
            await controller.start()
            await prober.run(tasks)
            if access_log is not None:
                tasks.start(_flush(access_log), "access log")
            tasks.start(follow(path, controller, loop), "configuration")
            address = await _listen(plane, config.listen.address)
            state.life = Life.SERVING
            log.info("serving", listen=address, admin=str(config.admin.address), version=__version__)
            gc.collect()
            gc.freeze()  # what lives as long as the process need not be looked at again and again
            await stop.wait()
            state.life = Life.DRAINING
            log.info("draining", timeout_s=config.limits.drain_timeout_s)
            complete = await plane.drain(config.limits.drain_timeout_s)
        log.info("stopped", complete=complete)
        return 0
    finally:
        await tasks.close()
        if controller is not None:
            await controller.stop()
        if access_log is not None:
            access_log.flush()
        shutil.rmtree(folder, ignore_errors=True)


def _keep_freed_memory() -> None:
    """Tell glibc not to return and fetch again the buffers of large bodies.

    A read of up to 256 KiB is an allocation of its own; with the defaults each goes back to the kernel when it is freed,
    which costs 88 page faults for each MiB: 525 µs instead of 395 (mallopt(3); other C libraries have no such function).
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, size_bytes in _MALLOPT:
            mallopt(parameter, size_bytes)


def run(config: Config, path: Path | None = None) -> int:
    """Run a splitter in this process; the exit status. `path` is the configuration file to follow, if there is one."""
    _keep_freed_memory()
    configure(config.log_level, terminal=sys.stdout.isatty())
    try:
        return uvloop.run(serve(config, path))
    except CannotStartError as error:
        print(f"splitter: {error}", file=sys.stderr)  # noqa: T201 - to the person at the terminal
        return 1
