"""A backend that remembers when each request reached it: `python -m tools.rollback.recording PORT`.

Owns: that memory, and a counter page to read it by. Must not know: the splitter, who sends, what is being measured.
Invariants: a request counts from the moment its last bytes reached this machine's end of the connection, by the kernel's
own time stamp (socket(7), SO_TIMESTAMPNS), not from when this process found the time to read them: on a busy machine these
are milliseconds apart, and only the first can be blamed on the sender. What is asked about it, and probes, are not counted.

GET /recorded?after=NS  ->  {"count": all, "after": those later than NS, "last_ns": the last one's time, 0 without any}
NS and `last_ns` are nanoseconds since the epoch, as `time.time_ns()`, which any process of this machine can compare.
"""

from __future__ import annotations

import contextlib
import json
import re
import selectors
import socket
import struct
import sys
import time
from array import array
from bisect import bisect_right
from typing import Final

SO_TIMESTAMPNS: Final = 35  # asm-generic/socket.h; Python has no name for it
_TIMESPEC: Final = struct.Struct("qq")
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(_TIMESPEC.size)
_AFTER: Final = re.compile(rb"GET /recorded(?:\?after=(\d+))? ")
_UNCOUNTED: Final = (b"GET /recorded", b"GET /health")
_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


class Recorder:
    """All requests so far, by time of arrival in nanoseconds."""

    def __init__(self) -> None:
        self._arrived_ns = array("q")

    def arrived(self, at_ns: int) -> None:
        """Connections are read in any order, so a little earlier one may come a little later."""
        times = self._arrived_ns
        times.append(at_ns)
        index = len(times) - 1
        while index and times[index - 1] > at_ns:
            times[index] = times[index - 1]
            index -= 1
        times[index] = at_ns

    def page(self, after_ns: int) -> bytes:
        times = self._arrived_ns
        after = len(times) - bisect_right(times, after_ns)
        body = json.dumps({"count": len(times), "after": after, "last_ns": times[-1] if times else 0}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class _Connection:
    """Requests without a body, one after another; nothing else is sent here."""

    def __init__(self, sock: socket.socket, recorder: Recorder) -> None:
        self.sock = sock
        self._recorder = recorder
        self._held = b""

    def readable(self) -> bool:
        """Read and answer what has come. False at its end."""
        data, ancillary, _, _ = self.sock.recvmsg(65536, _ANCILLARY_BYTES)
        if not data:
            return False
        at_ns = _stamp_ns(ancillary)
        *heads, self._held = (self._held + data).split(b"\r\n\r\n")
        if heads:
            self.sock.sendall(b"".join([self._answer(head, at_ns) for head in heads]))
        return True

    def _answer(self, head: bytes, at_ns: int) -> bytes:
        if not head.startswith(_UNCOUNTED):
            self._recorder.arrived(at_ns)
            return _ANSWER
        asked = _AFTER.match(head)
        return _ANSWER if asked is None else self._recorder.page(int(asked[1] or 0))


def _stamp_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return time.time_ns()  # the first packet after the option was set has none


def serve(listener: socket.socket) -> None:
    """Answer for ever."""
    recorder = Recorder()
    listener.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)  # accepted sockets inherit it
    listener.settimeout(0)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ, None)
        while True:
            for key, _ in selector.select():
                connection: _Connection | None = key.data
                if connection is None:
                    with contextlib.suppress(BlockingIOError):
                        _accept(listener, selector, recorder)
                elif not _go_on(connection):
                    selector.unregister(connection.sock)
                    connection.sock.close()


def _accept(listener: socket.socket, selector: selectors.BaseSelector, recorder: Recorder) -> None:
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(sock, selectors.EVENT_READ, _Connection(sock, recorder))


def _go_on(connection: _Connection) -> bool:
    try:
        return connection.readable()
    except OSError:
        return False


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024) as server:
        serve(server)
