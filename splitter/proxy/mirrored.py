"""A request whose answer may be compared: the exchange of a plane that mirrors.

Owns: recording the answer while it is passed on. Must not know: what becomes of the recording.
Invariants: the client's answer is what it would have been without this, and it is written first; no more is held than the
bound; a plane that does not mirror never makes one of these, so it pays nothing.
"""

from __future__ import annotations

from typing import Final

from splitter.http1.fields import Pair
from splitter.http1.forwarding import render_request
from splitter.http1.response import ResponseHead
from splitter.proxy.recovery import Answer
from splitter.proxy.relay import Exchange
from splitter.routing import Reason

MARK: Final = b"X-Splitter-Mirror: 1\r\n"
"""How a backend can tell a copy: to leave it out of its counts, or of what it bills. No client can send it."""


# Aliases: Python 3.11 takes 40 ns to find a member through its class.
_DONE: Final = Answer.DONE
_HEAD_SENT: Final = Answer.HEAD_SENT


class Recording:
    """A head and the body that goes with it, as far as it has come; nothing of a body above the bound."""

    __slots__ = ("_max_bytes", "_pieces", "head", "size_bytes")

    def __init__(self, head: ResponseHead, body: bytes, max_bytes: int) -> None:
        self.head = head
        self.size_bytes = 0
        self._pieces: list[bytes] = []
        self._max_bytes = max_bytes
        self.add(body)

    @property
    def is_whole(self) -> bool:
        return self.size_bytes <= self._max_bytes

    def add(self, data: bytes) -> None:
        self.size_bytes += len(data)
        if self.size_bytes <= self._max_bytes:
            self._pieces.append(data)
        else:
            self._pieces.clear()

    def body(self) -> bytes:
        return b"".join(self._pieces)


class MirroredExchange(Exchange):
    """See the top of the file."""

    __slots__ = ("_recording",)

    _recording: Recording | None

    def on_whole_response(self, head: ResponseHead, body: bytes) -> None:
        super().on_whole_response(head, body)
        mirror = self._plane.mirror
        if mirror.wants(self.head.method, self.request_id) and self._answer is _DONE and self._is_comparable():
            mirror.offer(self, Recording(head, body, mirror.max_body_bytes))

    def on_response(self, head: ResponseHead, body: bytes) -> None:
        super().on_response(head, body)
        mirror = self._plane.mirror
        if mirror.wants(self.head.method, self.request_id) and self._answer is _HEAD_SENT and self._is_comparable():
            self._recording = Recording(head, body, mirror.max_body_bytes)
            self.__class__ = RecordedExchange  # so that only those that are recorded ask at every piece

    def _is_comparable(self) -> bool:
        """Whether the side answered whose answers are compared, and with an answer one can ask for twice.

        What legacy said in domain's stead is no such answer, nor a refusal to become a WebSocket.
        """
        decision = self.decision
        if decision.backend is not self._plane.mirror.source or decision.reason is Reason.FALLBACK:
            return False
        return not self.head.shape.upgrade

    # --- for the copies ---

    def request_for(self, authority: bytes) -> bytes:
        """The request once more, for another endpoint, marked as a copy. Only when `can_be_copied`."""
        client = self._downstream.client
        head = render_request(self.head, self._target, client, self.request_id, authority, self.traceparent)
        body = self._held.joined() if self._held is not None else b""
        return b"%b%b\r\n%b" % (head[:-2], MARK, body)

    @property
    def can_be_copied(self) -> bool:
        """Whether all of it is still here."""
        return self._request_done and (self._held is None or self._held.whole)

    @property
    def target(self) -> str:
        return self._target.decode("latin-1")


class RecordedExchange(MirroredExchange):
    """One whose answer comes in pieces, and is recorded."""

    __slots__ = ()

    def on_response_data(self, data: bytes) -> None:
        super().on_response_data(data)
        if self._recording is not None:
            self._recording.add(data)

    def on_response_end(self, trailers: list[Pair]) -> None:
        recording, self._recording = self._recording, None
        super().on_response_end(trailers)
        if recording is not None:
            self._plane.mirror.offer(self, recording)

    def _record(self) -> None:
        super()._record()
        if self._recording is not None:  # an end before the answer's end
            self._recording = None
            self._plane.mirror.skip()
