"""Two connections joined after 101 (RFC 9110 section 7.8): bytes pass both ways as they are.

Owns: passing, half-closes, backpressure, the end of both. Must not know: HTTP, the decision that led here.
Invariants: each side hears of the other's end; the tunnel ends once, and with it both connections; nothing is written to a
transport that is closing, which both are from the end on.
Why a protocol for each direction: a message then costs one call of Python, not six (docs/performance.md).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from splitter.proxy.deadlines import RESOLUTION_S
from splitter.proxy.flow import Hold
from splitter.proxy.upstream import RawListener

if TYPE_CHECKING:
    from splitter.proxy.downstream import Downstream
    from splitter.proxy.plane import DataPlane
    from splitter.proxy.upstream import Upstream
    from splitter.routing import Backend


class Way(asyncio.Protocol):
    """The protocol of a transport in a tunnel: its bytes go to the other one, all else to the protocol it had before.

    Every byte moves the deadline away, which the wheel lets anyone do by one assignment.
    """

    __slots__ = ("_before", "_client", "_is_closing", "_silence_s", "_stats", "_wheel", "_write")

    def __init__(
        self, plane: DataPlane, before: asyncio.Protocol, to: asyncio.Transport, client: Downstream, idle_s: float
    ) -> None:
        self._before = before
        self._write = to.write
        self._is_closing = to.is_closing
        self._stats = plane.stats
        self._wheel = plane.wheel
        self._client = client
        self._silence_s = idle_s + RESOLUTION_S  # as `Wheel.set` adds it

    def eof_received(self) -> bool | None:
        return self._before.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._before.connection_lost(exc)

    def pause_writing(self) -> None:
        self._before.pause_writing()

    def resume_writing(self) -> None:
        self._before.resume_writing()


class FromClient(Way):
    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        stats, size_bytes = self._stats, len(data)
        stats.downstream_read_bytes += size_bytes
        is_closing, write = self._is_closing, self._write  # called as `self._write`, each would cost 150 instructions more
        if not is_closing():
            stats.upstream_written_bytes += size_bytes
            write(data)
            self._client.deadline_s = self._wheel.now_s + self._silence_s


class FromBackend(Way):
    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        stats, size_bytes = self._stats, len(data)
        stats.upstream_read_bytes += size_bytes
        is_closing, write = self._is_closing, self._write
        if not is_closing():
            stats.downstream_written_bytes += size_bytes
            write(data)
            self._client.deadline_s = self._wheel.now_s + self._silence_s


class Tunnel(RawListener):
    """Lives from the 101 to the end of both sides; the plane counts those that do."""

    __slots__ = ("_downstream", "_eofs", "_idle_s", "_plane", "_upstream", "backend")

    def __init__(
        self, plane: DataPlane, backend: Backend, downstream: Downstream, upstream: Upstream, idle_s: float
    ) -> None:
        self._plane = plane
        self.backend = backend
        self._downstream = downstream
        self._upstream: Upstream | None = upstream
        self._idle_s = idle_s
        self._eofs = 0
        plane.tunnels += 1
        downstream.set_deadline(idle_s)

    @classmethod
    def begin(cls, plane: DataPlane, backend: Backend, downstream: Downstream, upstream: Upstream, idle_s: float) -> None:
        """Join the two connections. What the client sent early is on its way when this returns."""
        tunnel = cls(plane, backend, downstream, upstream, idle_s)
        upstream.join(tunnel, FromBackend(plane, upstream, downstream.transport, downstream, idle_s))
        downstream.join(tunnel, FromClient(plane, downstream, upstream.transport, downstream, idle_s))

    # --- from the client ---

    def on_downstream_eof(self) -> None:
        if self._upstream is not None:
            self._upstream.write_eof()
        self._one_side_ended()

    def on_downstream_lost(self) -> None:
        self.end()

    def on_downstream_full(self) -> None:
        if self._upstream is not None:
            self._upstream.gate.hold(Hold.PEER_FULL)

    def on_downstream_drained(self) -> None:
        if self._upstream is not None:
            self._upstream.gate.release(Hold.PEER_FULL)
            self._downstream.set_deadline(self._idle_s)

    def on_timeout(self) -> None:
        self.end()

    # --- from the backend ---

    def on_upstream_eof(self) -> None:
        self._downstream.write_eof()
        self._one_side_ended()

    def on_upstream_lost(self, error: Exception | None) -> None:
        self.end()

    def on_upstream_full(self) -> None:
        self._downstream.gate.hold(Hold.PEER_FULL)

    def on_upstream_drained(self) -> None:
        self._downstream.gate.release(Hold.PEER_FULL)
        self._downstream.set_deadline(self._idle_s)

    # --- the end ---

    def _one_side_ended(self) -> None:
        self._eofs += 1
        if self._eofs == 2:
            self.end()

    def cut(self) -> None:
        self.end()

    def end(self) -> None:
        """Close both sides once what was written is on its way."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.close_when_sent(self._plane.wheel)
            self._downstream.end_tunnel()
            self._plane.tunnels -= 1
