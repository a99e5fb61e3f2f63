"""TLS between a client's socket and the protocol that reads requests from it.

Owns: the handshake, encryption both ways, close_notify. Must not know: HTTP, certificates, who is trusted.
Invariants: the protocol above hears of nothing but plain bytes, and of its end once; bytes are taken from the socket only as
fast as that protocol reads; a connection that was cut is never made to look as if it had ended in order.

Why not asyncio's own TLS: it can't close one direction (RFC 8446 section 6.1), which the last response on a connection and
tunnels need; it tells nothing of what a slow client has still to take; a PROXY header before the handshake leaves bytes
behind that could not be given to it; and uvloop's keeps 590 KiB for a connection that once carried a large body, this one
60, at the same CPU.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

_RECORD_BYTES: Final = 16 * 1024
"""The most a record holds (RFC 8446 section 5.1): a read of this size leaves nothing of it behind."""

_SLICE_BYTES: Final = 2 * _RECORD_BYTES
"""At most so much goes through OpenSSL's buffers at once: they never shrink again, and each connection has two. With 32 KiB
an idle connection that once carried a large body holds 60 to 70 KiB, with 256 KiB it was 300; 16 KiB cost 40 % more CPU."""

OnFailure = Callable[[ssl.SSLError], bytes]
"""Told why a handshake failed; what it returns is sent as it is, in plain bytes."""


class TlsTransport(asyncio.Protocol, asyncio.Transport):
    """The protocol of a socket's transport, and the transport of the protocol above it."""

    __slots__ = (
        "_above", "_established", "_goodbye_heard", "_goodbye_said", "_incoming", "_keep_open", "_on_failure", "_outgoing",
        "_raw", "_ssl",
    )  # fmt: skip

    _raw: asyncio.Transport

    def __init__(self, above: asyncio.Protocol, context: ssl.SSLContext, on_failure: OnFailure) -> None:
        self._above = above
        self._on_failure = on_failure
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._established = False
        self._goodbye_said = False
        self._goodbye_heard = False
        self._keep_open = False

    # --- from the socket ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        self._above.connection_made(self)

    def data_received(self, data: bytes) -> None:
        if len(data) <= _SLICE_BYTES:
            self._take(data)
            return
        view = memoryview(data)
        for start in range(0, len(data), _SLICE_BYTES):
            self._take(view[start : start + _SLICE_BYTES])

    def _take(self, data: bytes | memoryview[int]) -> None:
        if self._goodbye_heard or self._raw.is_closing():
            return
        self._incoming.write(data)
        if self._established or self._shake_hands():
            self._read()

    def eof_received(self) -> bool:
        # Without close_notify the end may be an attacker's: whoever is above learns that the connection is gone.
        return self._goodbye_heard and self._keep_open

    def connection_lost(self, exc: Exception | None) -> None:
        self._above.connection_lost(exc)

    def pause_writing(self) -> None:
        self._above.pause_writing()

    def resume_writing(self) -> None:
        self._above.resume_writing()

    def _shake_hands(self) -> bool:
        """Go on with the handshake; True when it is complete."""
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            reply = self._on_failure(error)
            if reply:
                self._raw.write(reply)
            else:
                self._flush()  # the alert that says why
            self._raw.close()
            return False
        self._established = True
        self._flush()  # session tickets
        return True

    def _read(self) -> None:
        """Pass up all that has come: nothing decrypted stays here, so that pausing the socket is enough to slow a client."""
        pieces: list[bytes] = []
        broken = False
        try:
            while True:
                piece = self._ssl.read(_RECORD_BYTES)
                if not piece:
                    self._goodbye_heard = True
                    break
                pieces.append(piece)
                if not self._incoming.pending:  # rather than hear so by an exception
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._goodbye_heard = True
        except ssl.SSLError:
            broken = True
        if pieces:
            self._above.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if broken:
            self._flush()
            self.abort()
        elif self._goodbye_heard and not self.is_closing():
            self._keep_open = self._above.eof_received() or False
            if not self._keep_open:
                self.close()
        elif self._outgoing.pending:
            self._flush()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data and not self._raw.is_closing():
            self._raw.write(data)

    # --- for the protocol above ---

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._above = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._above

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send `data`; before the handshake is complete there is nobody to send it to."""
        if not self._established or self._goodbye_said or not data:
            return
        if len(data) <= _RECORD_BYTES:
            self._ssl.write(data)
            self._raw.write(self._outgoing.read())
            return
        encrypted: list[bytes] = []
        rest = memoryview(data)
        while rest:
            written = self._ssl.write(rest[:_SLICE_BYTES])  # all of it, or a record: OpenSSL's choice
            rest = rest[written:]
            encrypted.append(self._outgoing.read())
        self._raw.writelines(encrypted)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Say that no more will come; the client's own bytes are read on."""
        self._say_goodbye()
        self._raw.write_eof()

    def close(self) -> None:
        if not self._raw.is_closing():
            self._say_goodbye()
            self._raw.close()

    def abort(self) -> None:
        self._raw.abort()

    def _say_goodbye(self) -> None:
        if self._established and not self._goodbye_said:
            self._goodbye_said = True
            with contextlib.suppress(ssl.SSLError):  # that the client's own has not come yet
                self._ssl.unwrap()
            self._flush()

    def is_closing(self) -> bool:
        return self._raw.is_closing()

    def pause_reading(self) -> None:
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        self._raw.resume_reading()

    def is_reading(self) -> bool:
        return self._raw.is_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._ssl if name == "ssl_object" else self._raw.get_extra_info(name, default)
