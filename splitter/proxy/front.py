"""What an accepted connection goes through before requests are read from it: a PROXY header, then TLS, each if configured.

Owns: the order of the layers, whose connection it is. Must not know: HTTP, what a request is.
Invariants: a connection is known to the plane from its first moment, so it is counted, has a deadline and is closed by a
drain; the header of a sender that is not trusted is never looked at, a trusted one gets nothing through without one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final, cast

from splitter.certificates import Certificates
from splitter.errors import BadRequest
from splitter.hops import Trust, parse_address
from splitter.pem import reason_of
from splitter.proxy.downstream import Downstream
from splitter.proxy.tls import TlsTransport
from splitter.proxy_protocol import ProxyHeaderError, read_proxy_header

if TYPE_CHECKING:
    from splitter.proxy.plane import DataPlane
    from splitter.routing import Backend

Above = Callable[[str | None], asyncio.Protocol]
"""Makes what comes next, given the client's address; None when the connection's own is the client's."""

# What OpenSSL calls a handshake that begins like a request.
_PLAIN_HTTP: Final = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST"})


def make_accept(plane: DataPlane, certificates: Certificates | None, senders: Trust) -> Callable[[], asyncio.Protocol]:
    """The factory of protocols for accepted connections."""
    above: Above = partial(_plain, plane) if certificates is None else partial(_encrypted, plane, certificates)
    return partial(ProxyHeaderReader, plane, senders, above) if senders else partial(above, None)


def _plain(plane: DataPlane, peer: str | None) -> asyncio.Protocol:
    return Downstream(plane, peer)


def _encrypted(plane: DataPlane, certificates: Certificates, peer: str | None) -> asyncio.Protocol:
    downstream = Downstream(plane, peer, b"https")
    return TlsTransport(downstream, certificates.context, partial(_on_handshake_failure, plane, downstream))


def _on_handshake_failure(plane: DataPlane, downstream: Downstream, error: ssl.SSLError) -> bytes:
    """Say so in the log; a client that speaks plain HTTP is told what to do, as far as it can read it."""
    if error.reason not in _PLAIN_HTTP:
        plane.on_unusable(downstream.peer, BadRequest(f"the TLS handshake failed: {reason_of(error)}", kind="tls"))
        return b""
    message = "this port speaks TLS: use https://"
    return plane.refusal(downstream.peer, BadRequest(message, kind="plain_http"))


class ProxyHeaderReader(asyncio.Protocol):
    """Waits for the PROXY header of a trusted sender; whoever else connects is handed on at once."""

    __slots__ = ("_above", "_buffer", "_peer", "_plane", "_senders", "_transport", "deadline_s", "slot")

    _transport: asyncio.Transport

    def __init__(self, plane: DataPlane, senders: Trust, above: Above) -> None:
        self._plane = plane
        self._senders = senders
        self._above = above
        self._buffer = b""
        self._peer = ""
        self.deadline_s = inf
        self.slot = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        name = transport.get_extra_info("peername")
        self._peer = name[0] if isinstance(name, tuple) else ""
        if (parse_address(self._peer) if self._peer else None) in self._senders:
            self._plane.on_connected(self)
            self._plane.wheel.set(self, self._plane.limits.header_timeout_s)
        else:
            self._hand_on(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            header = read_proxy_header(self._buffer)
        except ProxyHeaderError as error:
            self._plane.on_unusable(self._peer, BadRequest(str(error), kind="proxy_header"))
            self._transport.abort()
            return
        if header is None:
            return
        above = self._hand_on(header.peer)
        self._leave()  # only now: in between the plane would have no connection, and a drain would be complete
        rest = self._buffer[header.size_bytes :]
        if rest and not self._transport.is_closing():
            above.data_received(rest)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        self._leave()

    def on_deadline(self) -> None:
        self._transport.abort()

    def busy(self) -> bool:
        """Nothing is lost by closing now: no request has begun."""
        return False

    def idle_s(self) -> float:
        return max(0.0, self._plane.wheel.now_s + self._plane.limits.header_timeout_s - self.deadline_s)

    def set_deadline(self, after_s: float) -> None:
        self._plane.wheel.set(self, after_s)

    def leave(self, backend: Backend) -> None:
        """No backend knows of it yet."""

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def _hand_on(self, peer: str | None) -> asyncio.Protocol:
        above = self._above(peer)
        self._transport.set_protocol(above)
        above.connection_made(self._transport)
        return above

    def _leave(self) -> None:
        self._plane.wheel.forget(self)
        self._plane.on_disconnected(self)
