"""One request and its response, from the decision to the record.

Owns: the phases decide, acquire, send, relay, record, and the side exits retry, fail, switch.
Must not know: how bytes become heads, where connections come from, who set the percent.
Invariants:
- the decision that is counted is the one that was acted on; it is taken again if the snapshot changed before the first
  byte went out, so a rollback covers requests still waiting for a connection;
- a request is sent a second time only where RFC 9110 section 9.2.2 allows it;
- every exchange is recorded exactly once, whatever its end;
- the happy path makes no task and no timer.
"""

from __future__ import annotations

from enum import Enum
from time import perf_counter
from typing import TYPE_CHECKING, Final

from splitter.errors import BadRequest, BadResponse, ExchangeError, Retry, Source, cut_short, no_answer, overload
from splitter.http1.chunked import encode_chunk, encode_end
from splitter.http1.fields import Pair
from splitter.http1.request import CHUNKED, NO_BODY, RequestHead, render_request, request_id_of, trace_id_of
from splitter.http1.response import ResponseHead, render_interim, render_response
from splitter.outlier import State
from splitter.proxy.flow import Hold
from splitter.proxy.held import HeldBody
from splitter.proxy.tunnel import Tunnel
from splitter.routing import FORCE_PARAMETER, Backend, Decision, Reason, without_force

if TYPE_CHECKING:
    from splitter.proxy.downstream import Downstream
    from splitter.proxy.plane import DataPlane
    from splitter.proxy.pool import EndpointPool
    from splitter.proxy.upstream import Upstream

_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
_UNSENT_BYTES: Final = 64 * 1024
CLIENT_CLOSED: Final = 499
"""nginx's word for a client that left before its answer; it is only ever counted, never sent."""


class Answer(Enum):
    """How far the response has come."""

    NONE = "none"
    HEAD_SENT = "head sent"
    DONE = "done"


# Aliases: Python 3.11 takes 40 ns to find a member through its class, and a request asks a dozen times.
_NONE: Final = Answer.NONE
_HEAD_SENT: Final = Answer.HEAD_SENT
_DONE: Final = Answer.DONE


class Exchange:
    """See the top of the file. `start` begins it; everything after that is a call from one of its two connections."""

    __slots__ = (
        "_answer",
        "_chunk_out",
        "_downstream",
        "_held",
        "_keep_alive",
        "_plane",
        "_pool",
        "_request_done",
        "_rescued",
        "_router",
        "_target",
        "_timeouts",
        "_upstream",
        "answered_s",
        "decision",
        "error",
        "head",
        "request_bytes",
        "request_id",
        "response_bytes",
        "started_s",
        "status",
        "trace_id",
        "waiting",
    )

    def __init__(self, plane: DataPlane, downstream: Downstream, head: RequestHead) -> None:
        self._plane = plane
        self._downstream = downstream
        self.head = head
        self.started_s = perf_counter()
        self._answer = _NONE
        self._upstream: Upstream | None = None
        self._pool: EndpointPool | None = None
        self._request_done = head.shape.body == NO_BODY
        self._held: HeldBody | None = None if self._request_done else HeldBody()
        self._keep_alive = False
        self._chunk_out = False
        self.answered_s = 0.0
        self.request_bytes = 0
        self.response_bytes = 0
        self.status = 0
        self.error = ""
        self._rescued = ""
        self.waiting = False

    @property
    def peer(self) -> str:
        return self._downstream.peer

    @property
    def upstream(self) -> str:
        """The address of the endpoint asked last."""
        return self._pool.name if self._pool is not None else ""

    # --- decide, acquire, send ---

    def start(self) -> None:
        head, plane = self.head, self._plane
        self.request_id = request_id_of(head) or plane.new_request_id()
        self.trace_id = trace_id_of(head)
        self._target = without_force(head.target) if FORCE_PARAMETER in head.query else head.target
        self._decide()
        if self.decision.force_ignored:
            plane.stats.force_ignored += 1
        self._acquire()

    def _decide(self) -> None:
        plane = self._plane
        self._router = plane.router
        self.decision = plane.router.decide(self.head, self._downstream.peer, domain_ejected=plane.domain_ejected)

    def _acquire(self) -> None:
        backend = self._plane.backends[self.decision.backend]
        self._timeouts = backend.timeouts
        pool = self._pool = backend.pool.choose()
        if pool.breaker.state is not State.CLOSED:
            pool.begin()
        if self._downstream.gate.reasons:
            self._downstream.gate.release(Hold.PEER_FULL)  # the connection that was full is not ours any more
        upstream = pool.take_idle()
        if upstream is not None:
            self._send(upstream)
            return
        self._downstream.set_deadline(self._timeouts.response_s)
        try:
            pool.wait(self)
        except ExchangeError as error:
            self.fail(error)

    def on_connection(self, upstream: Upstream) -> None:
        """The pool has one now."""
        if self._router is not self._plane.router and not self._rescued:
            before = self.decision.backend
            self._decide()
            if self.decision.backend is not before:
                if self._pool is not None:
                    self._pool.give_back(upstream)
                self._acquire()
                return
        self._send(upstream)

    def on_no_connection(self, error: ExchangeError) -> None:
        self.fail(error)

    def _send(self, upstream: Upstream) -> None:
        self._upstream = upstream
        head, downstream, plane = self.head, self._downstream, self._plane
        upstream.bind(self, head.method)
        authority = upstream.authority
        data = render_request(head, self._target, downstream.forwarded, self.request_id, authority)
        held = self._held
        if held is not None:
            data += held.joined()
            held.bound(plane.replay_bytes)
        timeouts = self._timeouts
        upstream.write(data)
        if self._request_done:
            plane.wheel.set(downstream, timeouts.response_s)
        else:
            plane.wheel.set(downstream, timeouts.idle_s)
            downstream.gate.release(Hold.NOT_SENT)

    def on_request_data(self, data: bytes) -> None:
        """A piece of the body, in order."""
        self.request_bytes += len(data)
        self._pass_up(encode_chunk(data) if self.head.shape.body == CHUNKED else data)
        if self._upstream is not None and self._answer is _NONE:
            self._downstream.set_deadline(self._timeouts.idle_s)

    def on_request_end(self, trailers: list[Pair]) -> None:
        """The body is complete."""
        self._request_done = True
        if self.head.shape.body == CHUNKED:
            self._pass_up(encode_end(trailers))
        if self._upstream is not None and self._answer is _NONE:
            self._downstream.set_deadline(self._timeouts.response_s)

    def _pass_up(self, data: bytes) -> None:
        upstream, held = self._upstream, self._held
        if held is not None:
            held.add(data)
            if upstream is not None:
                held.bound(self._plane.replay_bytes)
            elif held.size_bytes > _UNSENT_BYTES:
                self._downstream.gate.hold(Hold.NOT_SENT)  # nowhere to put more
        if upstream is not None:
            upstream.write(data)

    # --- relay ---

    def on_whole_response(self, head: ResponseHead, body: bytes) -> None:
        """Head and body came in one piece: one write, and the exchange is over."""
        if head.status >= 500 and self._instead_of(head):
            return
        data = self._head_for_client(head)
        self.response_bytes = len(body)
        if body:
            data += body
        self._downstream.write(data)
        self._complete()

    def on_response(self, head: ResponseHead, body: bytes) -> None:
        """The head, and what came of the body with it."""
        if head.status >= 500 and self._instead_of(head):
            return
        data = self._head_for_client(head)
        self._downstream.set_deadline(self._timeouts.idle_s)
        if body:
            self.response_bytes = len(body)
            data += encode_chunk(body) if self._chunk_out else body
        self._downstream.write(data)

    def _head_for_client(self, head: ResponseHead) -> bytes:
        self.status = head.status
        self.answered_s = perf_counter() - self.started_s
        self._answer = _HEAD_SENT
        plane, asked = self._plane, self.head
        keep_alive = asked.shape.keep_alive and self._request_done and not plane.draining
        if head.body < 0:  # chunked, or until the backend closes
            if asked.minor == 1:
                self._chunk_out = True
            else:
                keep_alive = False
        self._keep_alive = keep_alive
        if head.status < 500 and self._pool is not None and self._pool.breaker.failures:
            self._pool.succeeded()
        mark = plane.marks[self.decision.backend, self.decision.reason]
        return render_response(head, mark, client_minor=asked.minor, keep_alive=keep_alive, chunked=self._chunk_out)

    def on_response_data(self, data: bytes) -> None:
        self.response_bytes += len(data)
        self._downstream.write(encode_chunk(data) if self._chunk_out else data)
        self._downstream.set_deadline(self._timeouts.idle_s)

    def on_response_end(self, trailers: list[Pair]) -> None:
        if self._chunk_out:
            self._downstream.write(encode_end(trailers))
        self._complete()

    def on_interim(self, head: ResponseHead) -> None:
        """100, 102, 103 and the like are for the client; one of HTTP/1.0 doesn't know them (RFC 9110 section 15.2)."""
        if self.head.minor == 1:
            self._downstream.write(render_interim(head, b""))

    def _complete(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            if upstream.gate.reasons:
                upstream.gate.release(Hold.ANY)
            upstream.finish(reusable=self._request_done)
        self._record()
        self._downstream.on_exchange_done(keep_alive=self._keep_alive and self._request_done)

    # --- backpressure ---

    def on_downstream_full(self) -> None:
        if self._upstream is not None:
            self._upstream.gate.hold(Hold.PEER_FULL)

    def on_downstream_drained(self) -> None:
        if self._upstream is not None:
            self._upstream.gate.release(Hold.PEER_FULL)
            self._touch()

    def on_upstream_full(self) -> None:
        self._downstream.gate.hold(Hold.PEER_FULL)

    def on_upstream_drained(self) -> None:
        self._downstream.gate.release(Hold.PEER_FULL)
        self._touch()

    def _touch(self) -> None:
        self._downstream.set_deadline(self._timeouts.idle_s)

    # --- switch ---

    def on_switch(self, head: ResponseHead, rest: bytes) -> None:
        """101: from here on the two connections are a tunnel."""
        upstream, downstream, plane = self._upstream, self._downstream, self._plane
        if upstream is None or not self.head.shape.upgrade or not head.upgrade or not self._request_done:
            self.on_bad_response(BadResponse("the backend switched protocols without being asked"))
            return
        self._upstream = None
        self.status = head.status
        downstream.write(render_interim(head, plane.marks[self.decision.backend, self.decision.reason]) + rest)
        self._record()
        plane.on_tunnel(1)
        tunnel = Tunnel(downstream, upstream, self._timeouts.tunnel_s, lambda: plane.on_tunnel(-1))
        upstream.join(tunnel)
        downstream.begin_tunnel(tunnel)

    # --- ends other than the good one ---

    def on_downstream_lost(self) -> None:
        """The client left: whatever was held for it is given up."""
        self._let_go()
        if self._answer is _NONE:
            self.status = CLIENT_CLOSED
        self._record()

    def on_upstream_lost(self, error: Exception | None) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is None:
            return
        # A kept connection may be closed by the backend just as a request goes out on it: no answer to it, not even a
        # byte, means that it was not looked at. The next kept one may be as old, so this may happen several times.
        stale = upstream.reused and not upstream.heard and self._can_repeat()
        if stale and self._answer is _NONE and self.head.method in _IDEMPOTENT:
            if not self._rescued:
                self._decide()
            self._acquire()
            return
        self.fail(cut_short("reset" if error is not None else "closed"))

    def on_bad_response(self, error: BadResponse) -> None:
        self.fail(error)

    def on_timeout(self) -> None:
        """The deadline passed: whose fault it is depends on who was to act."""
        if self._upstream is None:
            self.fail(overload("no connection to the backend became free in time"))
        elif not self._downstream.writable:
            self._let_go()
            self._record()
            self._downstream.abort()
        elif not self._request_done and not self._downstream.gate.reasons:
            self.fail(BadRequest("the request body stopped coming", status=408, kind="request_timeout"))
        else:
            after_s = self._timeouts.response_s if self._answer is _NONE else self._timeouts.idle_s
            self.fail(no_answer(after_s))

    def fail(self, error: ExchangeError) -> None:
        """The one place where an error becomes a status, or the end of the connection when it is too late for one."""
        self._let_go()
        if error.source is Source.UPSTREAM:
            self._blame(error.kind, error.message)
            nothing_sent = error.retry is Retry.ALWAYS
            if self._answer is _NONE and self._fall_back(error.kind, nothing_sent=nothing_sent):
                return
        self.error = f"{error.kind}: {error.message}"
        if self._answer is not _NONE:
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
        self._plane.on_failure(self, kind, detail)
        if kind != "overload" and self._pool is not None:
            self._pool.failed()

    def _instead_of(self, head: ResponseHead) -> bool:
        """The backend answered that it failed: have legacy answer, if it may. Otherwise that answer is passed on."""
        self._blame("5xx", f"the backend answered {head.status}")
        return self._plane.fallback.covers_status(head.status) and self._fall_back(str(head.status))

    def _fall_back(self, trigger: str, *, nothing_sent: bool = False) -> bool:
        """Domain failed and no byte of an answer was passed on: ask legacy, if the rule allows it."""
        decision, plane = self.decision, self._plane
        if decision.backend is not Backend.DOMAIN:
            return False
        kind = "5xx" if trigger.isdigit() else trigger
        held = self._can_repeat()
        if not plane.may_fall_back(trigger, self.head.method, nothing_sent=nothing_sent, body_held=held):
            plane.stats.fall_back(kind, "refused")
            return False
        self._let_go()
        self._rescued = kind
        self.decision = Decision(Backend.LEGACY, Reason.FALLBACK, decision.route, decision.bucket, decision.force_ignored)
        self._router = plane.router
        self._acquire()
        return True

    def _can_repeat(self) -> bool:
        return self._held is None or self._held.whole

    def _let_go(self) -> None:
        """No connection and no place in a queue is held after this."""
        if self.waiting and self._pool is not None:
            self._pool.cancel(self)
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.close()

    def _record(self) -> None:
        if self._answer is not _DONE:
            self._answer = _DONE
            if self._rescued:
                self._plane.stats.fall_back(self._rescued, "rescued" if 0 < self.status < 499 else "failed")
            self._plane.record(self)
