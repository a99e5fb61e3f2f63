"""What an exchange does when its way is barred: another connection, another endpoint, legacy, or an error.

Owns: whose failure it was, what may be tried instead, the one place where an error becomes a status.
Must not know: the good way (`relay`), how pools are filled, what the operator's rule for fallbacks is (`splitter.fallback`).
Invariants:
- a request is sent a second time only where RFC 9110 section 9.2.2 or the operator allows it, and never once a byte of an
  answer was passed on;
- what nothing was sent of is tried at every endpoint of its backend that is fit, each once, before legacy gets it;
- a request that waits is decided again when what is in force changes; only one that legacy is to rescue stays rescued.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING, Final

from splitter.errors import BadRequest, BadResponse, ExchangeError, Retry, Source, cut_short, no_answer, overload
from splitter.http1.request import RequestHead
from splitter.http1.response import ResponseHead
from splitter.proxy.dial import refused_handshake
from splitter.proxy.flow import Hold
from splitter.routing import Backend, Decision, Reason

if TYPE_CHECKING:
    from splitter.proxy.downstream import Downstream
    from splitter.proxy.held import HeldBody
    from splitter.proxy.plane import DataPlane
    from splitter.proxy.pool import EndpointPool
    from splitter.proxy.settings import Timeouts
    from splitter.proxy.upstream import Upstream

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})


class Answer(Enum):
    """How far the response has come."""

    NONE = "none"
    HEAD_SENT = "head sent"
    DONE = "done"


class Recovery(ABC):
    """The half of an exchange that deals with failure. See `relay.Exchange` for what the attributes are."""

    __slots__ = (
        "_answer", "_downstream", "_epoch", "_held", "_plane", "_pool", "_request_done", "_rescued", "_timeouts", "_tried",
        "_upstream", "decision", "error", "failure", "head", "request_id", "status", "waiting",
    )  # fmt: skip

    head: RequestHead
    request_id: bytes
    decision: Decision
    status: int
    error: str
    failure: str
    waiting: bool
    _answer: Answer
    _downstream: Downstream
    _epoch: int
    _held: HeldBody | None
    _plane: DataPlane
    _pool: EndpointPool | None
    _request_done: bool
    _rescued: str
    _timeouts: Timeouts
    _tried: tuple[EndpointPool, ...]
    _upstream: Upstream | None

    @abstractmethod
    def _decide(self, *, domain_ejected: bool) -> None: ...
    @abstractmethod
    def _acquire(self) -> None: ...
    @abstractmethod
    def _record(self) -> None: ...
    @abstractmethod
    def _tell_failure(self, kind: str, detail: str) -> None: ...
    @abstractmethod
    def _awaits_leave(self) -> bool: ...
    @abstractmethod
    def on_connection(self, upstream: Upstream) -> None: ...

    # --- nothing was sent ---

    def reconsider(self) -> None:
        """Something changed while this waited for a connection: another backend or endpoint may be the right one now."""
        if self._is_elsewhere():
            self._let_go()
            self._acquire()

    def _is_elsewhere(self) -> bool:
        """Decide again; whether this should not go to where it was to go any more."""
        before, plane, pool = self.decision.backend, self._plane, self._pool
        if not self._rescued:
            # Domain admits nobody else while one request tries it; that must not turn away the one that tries.
            self._decide(domain_ejected=plane.domain_ejected and not (pool is not None and pool.tries(self)))
        self._epoch = plane.epoch
        if self.decision.backend is not before:
            self._tried = ()
            return True
        return pool is not None and pool.out and plane.backends[before].pool.fit()

    def _queue(self, pool: EndpointPool) -> None:
        """Wait for a connection of this endpoint."""
        try:
            pool.wait(self)
        except ExchangeError as error:
            self.on_no_connection(error)

    def on_no_connection(self, error: ExchangeError) -> None:
        """There will be none here: the endpoint can't be reached or is full, or we can't open any more."""
        pool = self._pool
        if pool is None or error.source is not Source.UPSTREAM:
            self.fail(error)
            return
        self._blame(error.kind, error.message)
        pool.abandon(self)
        if self._epoch != self._plane.epoch and self._is_elsewhere():
            self._acquire()
            return
        self._tried = (*self._tried, pool)
        other = self._plane.backends[self.decision.backend].pool.another(self._tried)
        if other is None:
            self._end(error)
            return
        self._pool = other
        other.begin(self)
        self._queue(other)

    # --- something was sent ---

    def on_upstream_lost(self, error: Exception | None) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is None:
            return
        # A kept connection may be closed by the backend just as a request goes out on it: no answer to it, not even a
        # byte, means that it was not looked at. The next kept one may be as old, so this may happen several times.
        stale = upstream.reused and not upstream.heard and self._answer is Answer.NONE
        if stale and self._may_repeat(by_itself=self.head.method in IDEMPOTENT):
            if not self._rescued:
                self._decide(domain_ejected=self._plane.domain_ejected)
            self._acquire()
            return
        refused = refused_handshake(error) if not upstream.reused and not upstream.heard else None
        if refused is not None and (self._held is None or self._held.whole):
            self.on_no_connection(refused)
            return
        self.fail(cut_short("reset" if error is not None else "closed"))

    def on_bad_response(self, error: BadResponse) -> None:
        self.fail(error)

    def on_timeout(self) -> None:
        """The deadline passed: whose fault it is depends on who was to act."""
        upstream, downstream = self._upstream, self._downstream
        if upstream is None:
            self.fail(overload("no connection to the backend became free in time"))
        elif not downstream.writable:
            if downstream.progressing():
                downstream.set_deadline(self._timeouts.idle_s)  # slow, but not silent
                return
            self._let_go()
            self._record()
            downstream.abort()
        elif downstream.gate.reasons & Hold.PEER_FULL and upstream.progressing():
            downstream.set_deadline(self._timeouts.idle_s)
        elif not self._request_done and not downstream.gate.reasons and not self._awaits_leave():
            self.fail(BadRequest("the request body stopped coming", status=408, kind="request_timeout"))
        else:
            after_s = self._timeouts.response_s if self._answer is Answer.NONE else self._timeouts.idle_s
            self.fail(no_answer(after_s))

    def _instead_of(self, head: ResponseHead) -> bool:
        """The backend answered that it failed: have legacy answer, if it may. Otherwise that answer is passed on."""
        self._blame("5xx", f"the backend answered {head.status}")
        self.failure = self.failure or "5xx"
        return self._plane.fallback.covers_status(head.status) and self._fall_back(str(head.status))

    # --- the ends ---

    def fail(self, error: ExchangeError) -> None:
        """This can't go on where it was."""
        if error.source is Source.UPSTREAM:
            self._blame(error.kind, error.message)
        self._let_go()
        self._end(error)

    def _end(self, error: ExchangeError) -> None:
        """The one place where an error becomes a status, or the end of the connection when it is too late for one.

        Not if legacy may answer instead.
        """
        if error.source is Source.UPSTREAM:
            self.failure = self.failure or error.kind  # domain's, when legacy fails to rescue it
        barred = error.source is Source.UPSTREAM and self._answer is Answer.NONE
        if barred and self._fall_back(error.kind, nothing_sent=error.retry is Retry.ALWAYS):
            return
        self.error = f"{error.kind}: {error.message}"
        if self._answer is not Answer.NONE:
            self._record()
            self._downstream.abort()
            return
        self.status = error.status
        keep_alive = self.head.shape.keep_alive and self._request_done and not self._plane.draining
        self._downstream.write(self._plane.render_error(self, error, close=not keep_alive))
        self._record()
        self._downstream.on_exchange_done(keep_alive=keep_alive)

    def _blame(self, kind: str, detail: str) -> None:
        """The backend failed this request, whatever the client will see of it."""
        self._tell_failure(kind, detail)
        if kind != "overload" and self._pool is not None:
            self._pool.failed(self)

    def _fall_back(self, trigger: str, *, nothing_sent: bool = False) -> bool:
        """Domain failed and no byte of an answer was passed on: ask legacy, if the rule allows it."""
        decision, plane = self.decision, self._plane
        if decision.backend is not Backend.DOMAIN:
            return False
        kind = "5xx" if trigger.isdigit() else trigger
        repeatable = self._may_repeat(by_itself=False)
        if not plane.may_fall_back(trigger, nothing_sent=nothing_sent, repeatable=repeatable):
            plane.stats.fall_back(kind, "refused")
            return False
        self._let_go()
        self._rescued = kind
        self.decision = Decision(Backend.LEGACY, Reason.FALLBACK, decision.route, decision.bucket, decision.force_ignored)
        self._epoch = plane.epoch
        self._tried = ()
        self._acquire()
        return True

    def _may_repeat(self, *, by_itself: bool) -> bool:
        """Whether this may be sent a second time: all of it is still here, and its method or the operator allows it."""
        if self._held is not None and not self._held.whole:
            return False
        plane, head = self._plane, self.head
        return by_itself or plane.fallback.may_repeat(
            head.method, head.fields, plane.router.fallback_methods(self.decision.route)
        )

    def _let_go(self) -> None:
        """No connection and no place in a queue is held after this, and no trial depends on it."""
        pool = self._pool
        if pool is not None:
            if self.waiting:
                pool.cancel(self)
            pool.abandon(self)
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.close()
