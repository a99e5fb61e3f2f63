"""What a process needs to carry traffic: a data plane made from a configuration, its access log, its memory.

Owns: from the schema's words to the data plane's, the access log's flushing, what is tuned for the relay.
Must not know: who made this process, where snapshots come from.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import random
import socket
from typing import Final

import structlog

from splitter.certificates import Certificates
from splitter.client_tls import Renewed
from splitter.config import BackendConfig, BackendUrl, Config
from splitter.fallback import FallbackPolicy
from splitter.hops import Style
from splitter.http1.forwarding import ForwardPolicy
from splitter.http1.request import HeadLimits
from splitter.listening import BACKLOG
from splitter.logs import FLUSH_EVERY_S, AccessLog, current
from splitter.open_files import affordable, raise_limit
from splitter.pem import TlsFileError
from splitter.proxy.dial import Endpoint
from splitter.proxy.mirror import MirrorSettings
from splitter.proxy.plane import DataPlane
from splitter.proxy.settings import BackendSettings, ConnectionLimits, Ejection, PlaneSettings, PoolLimits, Timeouts
from splitter.routing import Backend
from splitter.snapshot import Snapshot
from splitter.tasks import Tasks

_INTERNAL: Final = PoolLimits(
    connect_timeout_s=2.0, idle_s=60.0, max_connections=16, max_waiting=256, header_bytes=64 * 1024, headers=200
)
_MALLOPT: Final = ((-3, 4 << 20), (-1, 16 << 20), (-2, 1 << 20))
"""M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_TOP_PAD of glibc's malloc.h."""
_SETTLE_S: Final = 0.5
"""For comparing what the mirror has been answered already."""


def backend_tls(config: BackendConfig) -> Renewed | None:
    """What its `https` endpoints are spoken to with. Raises TlsFileError."""
    if all(url.scheme == "http" for url in config.urls):
        return None
    log = structlog.get_logger()
    return Renewed(config.tls.client(), lambda fault: log.error("backend_tls_not_renewed", fault=fault))


def _endpoint(url: BackendUrl, tls: Renewed | None, server_name: str | None) -> Endpoint:
    if url.scheme == "http":
        return Endpoint(url.host, url.port)
    return Endpoint(url.host, url.port, tls=tls, server_name=server_name or url.host)


def _backend(config: BackendConfig, head: HeadLimits) -> BackendSettings:
    tls = backend_tls(config)
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
    """What a data plane is made with. Raises TlsFileError."""
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
        mirror=MirrorSettings.of(config),
    )


class Carrier:
    """A data plane, its certificates and its access log; `internal_socket` is where the splitter's own pages are asked for.

    Raises TlsFileError.
    """

    def __init__(self, config: Config, internal_socket: str, snapshot: Snapshot, tasks: Tasks) -> None:
        self._log = AccessLog(current(), config.access_log.sample, random.random)
        self._certificates = None if config.listen.tls is None else Certificates(config.listen.tls)
        settings = plane_settings(config, internal_socket, self._certificates)
        self.plane = DataPlane(settings, snapshot, tasks, self._log, clock=asyncio.get_running_loop().time)
        tasks.start(self._keep_flushing(), "access log")

    def serve(self, sock: socket.socket) -> None:
        """Accept on a bound socket, which is closed here in the end; others may accept on it too. Raises OSError."""
        sock.listen(BACKLOG)
        self.plane.serve(sock)

    def reload_certificates(self) -> None:
        """Let new connections have what is in the files now. Whoever says so has tried it: a fault is logged only."""
        if self._certificates is not None:
            try:
                self._certificates.reload()
            except TlsFileError as error:
                structlog.get_logger().error("certificate_reload_failed", fault=str(error))

    async def _keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            self._flush()

    def _flush(self) -> None:
        for why, lines in self._log.flush().items():
            self.plane.stats.lose_lines(why, lines)

    async def drain(self, timeout_s: float | None, *, for_good: bool) -> bool:
        """Let every request under way end; None: however long it takes. False when some were cut off.

        `for_good`: nobody else goes on accepting on the sockets.
        """
        complete = await self.plane.drain(timeout_s, for_good=for_good)
        await self.plane.mirror.settle(0.0 if timeout_s == 0 else _SETTLE_S)
        self._flush()
        return complete


def keep_freed_memory() -> None:
    """Tell glibc not to return and fetch again the buffers of large bodies.

    A read of up to 256 KiB is an allocation of its own; with the defaults each goes back to the kernel when it is freed,
    which costs 88 page faults for each MiB: 525 µs instead of 395 (mallopt(3); other C libraries have no such function).
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, size_bytes in _MALLOPT:
            mallopt(parameter, size_bytes)


def settle() -> None:
    """Everything that lives as long as the process is made: it need not be looked at again and again."""
    gc.collect()
    gc.freeze()
