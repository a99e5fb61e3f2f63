"""One copy of a request, on its way to a side and back.

Owns: the connection it uses while it uses it, its deadline, the bound on its answer. Must not know: why it was made, what
is done with the answer.
Invariants: it ends exactly once, with an answer or a reason; it never holds more of an answer than the bound; no client
waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Final

from splitter.errors import BadResponse, ExchangeError
from splitter.http1.fields import Pair
from splitter.http1.response import ResponseHead

if TYPE_CHECKING:
    from splitter.proxy.deadlines import Wheel
    from splitter.proxy.pool import BackendPool, EndpointPool
    from splitter.proxy.upstream import Upstream

_SAFE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})

Render = Callable[[bytes], bytes]
"""From the authority of an endpoint to the whole request, as bytes."""


class Trouble(Enum):
    """Why a copy has no answer."""

    FAILED = "failed"
    TOO_LARGE = "too_large"
    GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: head and body, or (`trouble`) why not, in words for people."""

    head: ResponseHead | None = None
    body: bytes = b""
    trouble: Trouble | None = None
    why: str = ""


class Copy:
    """See the top of the file. `begin` sends it."""

    __slots__ = (
        "_again", "_body_bytes", "_head", "_max_body_bytes", "_method", "_on_end", "_pieces", "_pool", "_render",
        "_timeout_s", "_upstream", "_waits_at", "_wheel", "deadline_s", "slot", "waiting",
    )  # fmt: skip

    def __init__(self, pool: BackendPool, method: bytes, render: Render, max_body_bytes: int, wheel: Wheel) -> None:
        self._pool = pool
        self._method = method
        self._render = render
        self._max_body_bytes = max_body_bytes
        self._wheel = wheel
        self._upstream: Upstream | None = None
        self._waits_at: EndpointPool | None = None
        self._head: ResponseHead | None = None
        self._pieces: list[bytes] = []
        self._body_bytes = 0
        self._again = False
        self._on_end: Callable[[Answer], None] | None = None
        self._timeout_s = 0.0
        self.waiting = False
        self.deadline_s = inf
        self.slot = 0

    def begin(self, timeout_s: float, on_end: Callable[[Answer], None]) -> None:
        """Send it; `on_end` gets what comes of it."""
        self._on_end = on_end
        self._timeout_s = timeout_s
        self._wheel.set(self, timeout_s)
        self._acquire()

    def give_up(self) -> None:
        """Nobody wants the answer any more."""
        self._end(Answer(trouble=Trouble.GIVEN_UP))

    def on_deadline(self) -> None:
        self._fail(f"timed out after {self._timeout_s:g} s")

    # --- for the pool ---

    def _acquire(self) -> None:
        endpoint = self._waits_at = self._pool.choose()
        upstream = endpoint.take_idle(certain=self._method not in _SAFE)
        if upstream is not None:
            self.on_connection(upstream)
            return
        try:
            endpoint.wait(self)
        except ExchangeError as error:
            self._fail(error.message)

    def on_connection(self, upstream: Upstream) -> None:
        self._waits_at = None
        self._upstream = upstream
        upstream.send(self, self._method, self._render(upstream.authority))

    def reconsider(self) -> None:
        """Switched off it is given up; an endpoint that went out is worth a try, since nobody waits for the answer."""

    def on_no_connection(self, error: ExchangeError) -> None:
        self._fail(error.message)

    # --- what the backend answers ---

    def on_whole_response(self, head: ResponseHead, body: bytes) -> None:
        self._head = head
        self.on_response_data(body)
        if self._on_end is not None:
            self.on_response_end([])

    def on_response(self, head: ResponseHead, body: bytes) -> None:
        self._head = head
        self.on_response_data(body)

    def on_response_data(self, data: bytes) -> None:
        self._body_bytes += len(data)
        if self._body_bytes > self._max_body_bytes:
            self._end(Answer(trouble=Trouble.TOO_LARGE))
        else:
            self._pieces.append(data)

    def on_response_end(self, trailers: list[Pair]) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.finish(reusable=True)
        self._end(Answer(self._head, b"".join(self._pieces)))

    def on_interim(self, head: ResponseHead) -> None:
        """Of no interest here."""

    def on_switch(self, head: ResponseHead, rest: bytes) -> None:
        self._fail("the backend switched protocols")

    def on_upstream_lost(self, error: Exception | None) -> None:
        upstream, self._upstream = self._upstream, None
        # A kept connection that the backend was closing just then: the request was not looked at, as far as one can tell.
        stale = upstream is not None and upstream.reused and not upstream.heard
        if stale and self._method in _SAFE and not self._again:
            self._again = True
            self._acquire()
            return
        self._fail("broke off in the middle of its answer" if self._head is not None else "hung up without an answer")

    def on_bad_response(self, error: BadResponse) -> None:
        self._upstream = None
        self._fail(error.message)

    def on_upstream_full(self) -> None:
        """All there is to send was written at once, and it is bounded."""

    def on_upstream_drained(self) -> None:
        """See above."""

    # --- the end ---

    def _fail(self, why: str) -> None:
        self._end(Answer(trouble=Trouble.FAILED, why=why))

    def _end(self, answer: Answer) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is None:
            return
        self._wheel.forget(self)
        if self.waiting and self._waits_at is not None:
            self._waits_at.cancel(self)
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.close()
        on_end(answer)
