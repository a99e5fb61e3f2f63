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
from splitter.certificates import CertificateError, Certificates
from splitter.client_tls import Renewed, TlsFileError
from splitter.config import BackendConfig, BackendUrl, Config, Listen, Listener, TcpAddress, UnixAddress
from splitter.control.app import Audience, Life, State, make_app
from splitter.control.certificates import CertificateWatch
from splitter.control.controller import Controller
from splitter.control.prober import Prober, ProbeSettings
from splitter.control.reload import follow
from splitter.control.store import Store, open_store
from splitter.control.table import table_of
from splitter.errors import StoreError
from splitter.fallback import FallbackPolicy
from splitter.hops import Style
from splitter.http1.forwarding import ForwardPolicy
from splitter.http1.request import HeadLimits
from splitter.listening import Listening, open_listening
from splitter.logs import FLUSH_EVERY_S, AccessLog, configure, utc_now
from splitter.open_files import affordable, raise_limit
from splitter.proxy.dial import Endpoint
from splitter.proxy.plane import DataPlane
from splitter.proxy.settings import BackendSettings, ConnectionLimits, Ejection, PlaneSettings, PoolLimits, Timeouts
from splitter.routing import Backend
from splitter.snapshot import Snapshot
from splitter.supervision.local import LocalPlane
from splitter.tasks import Tasks

Address = TcpAddress | UnixAddress

_INTERNAL: Final = PoolLimits(
    connect_timeout_s=2.0, idle_s=60.0, max_connections=16, max_waiting=256, header_bytes=64 * 1024, headers=200
)
_MALLOPT: Final = ((-3, 4 << 20), (-1, 16 << 20), (-2, 1 << 20))
"""M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_TOP_PAD of glibc's malloc.h."""


class CannotStartError(Exception):
    """Said to the one who starts the splitter, in one line."""


def _backend_tls(config: BackendConfig) -> Renewed | None:
    """What its `https` endpoints are spoken to with. The files were good when the configuration was loaded."""
    if all(url.scheme == "http" for url in config.urls):
        return None
    log = structlog.get_logger()
    try:
        return Renewed(config.tls.client(), lambda fault: log.error("backend_tls_not_renewed", fault=fault))
    except TlsFileError as error:
        raise CannotStartError(f"{error.role} of a backend {error}") from None


def _endpoint(url: BackendUrl, tls: Renewed | None, server_name: str | None) -> Endpoint:
    if url.scheme == "http":
        return Endpoint(url.host, url.port)
    return Endpoint(url.host, url.port, tls=tls, server_name=server_name or url.host)


def _backend(config: BackendConfig, head: HeadLimits) -> BackendSettings:
    tls = _backend_tls(config)
    return BackendSettings(
        endpoints=tuple(_endpoint(url, tls, config.tls.server_name) for url in config.urls),
        timeouts=Timeouts(config.response_timeout_s, config.idle_timeout_s, config.tunnel_idle_timeout_s),
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


def _client_connections(config: Config) -> int:
    """How many connections of clients there may be, for the files this process may open."""
    wanted, open_files = config.limits.max_connections, raise_limit()
    both = (config.backends.legacy, config.backends.domain)
    to_backends = sum(backend.max_connections * len(backend.urls) for backend in both) + _INTERNAL.max_connections
    found = affordable(wanted, to_backends, open_files)
    if found < wanted:
        structlog.get_logger().warning("fewer_connections", wanted=wanted, limit=found, open_files=open_files)
    return found


def plane_settings(config: Config, internal_socket: str, certificates: Certificates | None) -> PlaneSettings:
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
        limits=ConnectionLimits(limits.header_timeout_s, limits.keepalive_timeout_s, _client_connections(config)),
        replay_bytes=config.fallback.max_body_bytes,
        fallback=FallbackPolicy(
            frozenset(config.fallback.on),
            frozenset(method.encode() for method in config.fallback.methods),
            config.fallback.budget,
            config.fallback.idempotency_key,
        ),
        trusted_proxies=tuple(config.listen.trusted_proxies),
        proxy_protocol=tuple(config.listen.proxy_protocol),
        forward=ForwardPolicy(Style(config.listen.forwarded), make_trace=config.listen.traceparent == "make"),
        certificates=certificates,
    )


def _probes(config: Config) -> tuple[ProbeSettings, ...]:
    return tuple(
        ProbeSettings(
            backend=name.value,
            endpoint=str(url),
            url=f"{url.scheme}://{Endpoint(url.host, url.port).authority.decode()}{backend.health.path}",
            interval_s=backend.health.interval_s,
            timeout_s=backend.health.timeout_s,
            healthy_after=backend.health.healthy_after,
            unhealthy_after=backend.health.unhealthy_after,
            tls=tls if url.scheme == "https" else None,
            server_name=backend.tls.server_name if url.scheme == "https" else None,
        )
        for name, backend in ((Backend.LEGACY, config.backends.legacy), (Backend.DOMAIN, config.backends.domain))
        for tls in (_backend_tls(backend),)
        for url in backend.urls
    )


def _cannot_listen(address: Address, error: OSError, variable: str) -> CannotStartError:
    if error.errno == errno.EADDRINUSE:
        return CannotStartError(f"{address} is in use: stop what holds it, or choose another with {variable}=HOST:PORT")
    return CannotStartError(f"can't listen on {address}: {error.strerror or error}")


def _open(listener: Listener, variable: str) -> Listening:
    try:
        reuse_port = isinstance(listener, Listen) and listener.reuse_port
        return open_listening(listener.address, listener.socket_mode, reuse_port=reuse_port)
    except OSError as error:
        raise _cannot_listen(listener.address, error, variable) from None


def _certificates(config: Config) -> Certificates | None:
    try:
        return None if config.listen.tls is None else Certificates(config.listen.tls)
    except CertificateError as error:
        raise CannotStartError(f"listen.tls.{error.key}: {error.message}") from None


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
        await web.UnixSite(public, internal_socket).start()
        for each in admin.sockets:
            await web.SockSite(operators, each).start()
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
    opened = contextlib.ExitStack()
    folder = tempfile.mkdtemp(prefix="splitter-")
    internal_socket = f"{folder}/internal.sock"
    controller: Controller | None = None
    try:
        certificates = _certificates(config)
        plane = DataPlane(
            plane_settings(config, internal_socket, certificates),
            Snapshot(table_of(config)),
            tasks,
            access_log,
            clock=loop.time,
        )
        local = LocalPlane(plane)
        controller = Controller(config, local, store, tasks)
        prober = Prober(_probes(config), controller.on_backend)
        watch = CertificateWatch(certificates) if certificates is not None else None
        state = State(local, controller, prober, loop.time, loop.time(), certificates=watch)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(
            signal.SIGUSR1, lambda: tasks.start(controller.roll_back("signal", "SIGUSR1"), "rollback by signal")
        )
        admin = opened.enter_context(_open(config.admin, "SPLITTER_ADMIN_LISTEN"))
        async with _pages(state, internal_socket, admin):
            await controller.start()
            await prober.run(tasks)
            if access_log is not None:
                tasks.start(_flush(access_log), "access log")
            tasks.start(follow(path, controller, loop, watch.reload if watch else lambda: None), "configuration")
            if watch is not None:
                tasks.start(watch.follow(), "certificates")
            listening = opened.enter_context(_open(config.listen, "SPLITTER_LISTEN"))
            for each in listening.sockets:
                plane.serve(each)
            state.life = Life.SERVING
            log.info("serving", listen=str(listening.address), admin=str(admin.address), version=__version__)
            gc.collect()
            gc.freeze()  # what lives as long as the process need not be looked at again and again
            await stop.wait()
            state.life = Life.DRAINING
            log.info("draining", timeout_s=config.limits.drain_timeout_s)
            complete = await plane.drain(config.limits.drain_timeout_s)
        log.info("stopped", complete=complete)
        return 0
    finally:
        opened.close()
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
