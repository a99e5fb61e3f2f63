"""A TLS client that can do what ssl.SSLSocket can't: close one direction, leave without a word, send byte by byte.

Owns: the client's side of one connection. Must not know: what a test checks.
Invariant: how a connection ended is told apart: in order (close_notify), cut (EOF without it), reset.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from enum import Enum
from types import TracebackType

TIMEOUT_S = 10.0


class End(Enum):
    """How the other side ended the connection."""

    CLOSE_NOTIFY = "close_notify"
    CUT = "cut"
    RESET = "reset"


class TlsClient:
    """Connected and, unless `handshake` is false, through with the handshake. Raises ssl.SSLError, OSError."""

    def __init__(
        self, port: int, context: ssl.SSLContext, *, first: bytes = b"", handshake: bool = True, size: int = 1 << 16
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self._size = size
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname="localhost")
        self._buffer = b""
        self.end: End | None = None
        if first:
            self.socket.sendall(first)
        if handshake:
            try:
                self._shake_hands()
            except BaseException:
                self.socket.close()
                raise

    def __enter__(self) -> TlsClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()

    def _shake_hands(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                data = self.socket.recv(1 << 16)
                if not data:
                    raise ConnectionResetError("the handshake was ended by the other side") from None
                self._in.write(data)
                continue
            break
        self.flush()

    def flush(self) -> None:
        """Send what the TLS layer has made, in pieces of `size` bytes."""
        data = self._out.read()
        for start in range(0, len(data), self._size):
            self.socket.sendall(data[start : start + self._size])

    def send(self, data: bytes) -> None:
        """Encrypt and send; with as many records as pieces of 16 KiB."""
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view[: 1 << 14]) :]
            self.flush()

    def half_close(self) -> None:
        """Say close_notify and end this direction; what the other side says can still be read."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.flush()
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _more(self) -> bool:
        """Read once; False at the end."""
        while self.end is None:
            try:
                data = self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                try:
                    raw = self.socket.recv(1 << 16)
                except ConnectionResetError:
                    self.end = End.RESET
                    break
                if not raw:
                    self.end = End.CUT
                    break
                self._in.write(raw)
                continue
            except ssl.SSLZeroReturnError:
                data = b""
            if not data:
                self.end = End.CLOSE_NOTIFY
                break
            self._buffer += data
            return True
        return False

    def read(self, size: int) -> bytes:
        """Exactly so many bytes, fewer at the end."""
        while len(self._buffer) < size and self._more():
            pass
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def read_until(self, end: bytes) -> bytes:
        """All up to and with `end`, fewer at the end of the connection."""
        while end not in self._buffer and self._more():
            pass
        head, separator, rest = self._buffer.partition(end)
        self._buffer = rest
        return head + separator

    def read_response(self) -> tuple[bytes, bytes]:
        """Head and body of a response with a length."""
        head = self.read_until(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
        return head, self.read(length)

    def read_all(self) -> bytes:
        """Everything up to the end, which `end` then tells."""
        while self._more():
            pass
        data, self._buffer = self._buffer, b""
        return data
