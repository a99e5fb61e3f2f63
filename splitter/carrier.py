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
from typing import Final

from splitter.config import BackendConfig, Config
from splitter.fallback import FallbackPolicy
from splitter.http1.request import HeadLimits
from splitter.logs import FLUSH_EVERY_S, AccessLog, unbuffered_stdout, utc_now
from splitter.proxy.plane import BackendSettings, ConnectionLimits, DataPlane, Ejection, PlaneSettings, Timeouts
from splitter.proxy.pool import Endpoint, PoolLimits
from splitter.routing import Backend
from splitter.snapshot import Snapshot
from splitter.tasks import Tasks

_INTERNAL: Final = PoolLimits(
    connect_timeout_s=2.0, idle_s=60.0, max_connections=16, max_waiting=256, header_bytes=64 * 1024, headers=200
)
_TUNNEL_S: Final = 3600.0
"""Silence in a tunnel: cameras' viewers sit and watch, a minute is nothing."""
_MALLOPT: Final = ((-3, 4 << 20), (-1, 16 << 20), (-2, 1 << 20))
"""M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_TOP_PAD of glibc's malloc.h."""


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


class Carrier:
    """A data plane and its access log; `internal_socket` is where the splitter's own pages are asked for."""

    def __init__(self, config: Config, internal_socket: str, snapshot: Snapshot, tasks: Tasks) -> None:
        sample = config.access_log.sample
        self._log = AccessLog(unbuffered_stdout(), sample, random.random, utc_now) if sample else None
        clock = asyncio.get_running_loop().time
        self.plane = DataPlane(plane_settings(config, internal_socket), snapshot, tasks, self._log, clock=clock)
        if self._log is not None:
            tasks.start(self._flush(self._log), "access log")

    @staticmethod
    async def _flush(log: AccessLog) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            log.flush()

    async def drain(self, timeout_s: float | None) -> bool:
        """Let every request under way end; None: however long it takes. False when some were cut off."""
        complete = await self.plane.drain(timeout_s)
        if self._log is not None:
            self._log.flush()
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
