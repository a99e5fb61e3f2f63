"""One request and its response, from the decision to the record.

Owns: the phases decide, acquire, send, relay, switch, record. What to do when a backend fails is `recovery`'s.
Must not know: how bytes become heads, where connections come from, who set the percent.
Invariants:
- the decision that is counted is the one that was acted on; it is taken again if what is in force changed before the first
  byte went out, so a rollback covers requests still waiting for a connection;
- every exchange is recorded exactly once, whatever its end;
- the happy path makes no task and no timer.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

from splitter.errors import BadResponse
from splitter.http1.chunked import encode_chunk, encode_end
from splitter.http1.fields import Pair
from splitter.http1.forwarding import END, render_request
from splitter.http1.request import CHUNKED, NO_BODY, RequestHead
from splitter.http1.response import CONTINUE, ResponseHead, render_interim, render_response
from splitter.http1.trace import new_traceparent
from splitter.outlier import State
from splitter.proxy.flow import Hold
from splitter.proxy.held import HeldBody
from splitter.proxy.prepared import Prepared, prepare
from splitter.proxy.recovery import IDEMPOTENT, Answer, Recovery
from splitter.proxy.tunnel import Tunnel
from splitter.routing import FORCE_PARAMETER, without_force

if TYPE_CHECKING:
    from splitter.proxy.downstream import Downstream
    from splitter.proxy.plane import DataPlane
    from splitter.proxy.pool import EndpointPool
    from splitter.proxy.upstream import Upstream
    from splitter.routing import Backend

_UNSENT_BYTES: Final = 64 * 1024
CLIENT_CLOSED: Final = 499
"""nginx's word for a client that left before its answer; it is only ever counted, never sent."""


# Aliases: Python 3.11 takes 40 ns to find a member through its class, and a request asks a dozen times.
_NONE: Final = Answer.NONE
_HEAD_SENT: Final = Answer.HEAD_SENT
_DONE: Final = Answer.DONE
_CLOSED: Final = State.CLOSED


class Exchange(Recovery):
    """See the top of the file. `begin`, then `start`; everything after that is a call from one of its two connections."""

    __slots__ = (
        "_begin", "_chunk_out", "_continued", "_keep_alive", "_target", "answered_s", "request_bytes", "response_bytes",
        "started_s", "traceparent",
    )  # fmt: skip

    def begin(self, plane: DataPlane, downstream: Downstream, head: RequestHead) -> None:
        """What `__init__` would be, for one that was just made."""
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
        self._continued = False
        self.answered_s = 0.0
        self.request_bytes = 0
        self.response_bytes = 0
        self.status = 0
        self.error = ""
        self.failure = ""
        self._rescued = ""
        self._tried: tuple[EndpointPool, ...] = ()
        self.traceparent = b""
        self.waiting = False
        self._begin = b""

    @property
    def peer(self) -> str:
        return self._downstream.peer

    @property
    def backend(self) -> Backend:
        return self.decision.backend

    @property
    def upstream(self) -> str:
        """The address of the endpoint asked last."""
        return self._pool.name if self._pool is not None else ""

    @property
    def trace_id(self) -> bytes:
        """32 hexadecimal digits, empty without a trace."""
        return self.traceparent[3:35] or self.head.shape.trace_id

    # --- decide, acquire, send ---

    def start_known(self) -> None:
        """`start` for a head that was asked before: what it comes to is prepared."""
        head, plane, client = self.head, self._plane, self._downstream.client
        prepared: Prepared | None = head.prepared
        if prepared is None or prepared.client is not client or prepared.epoch != plane.epoch:
            prepared = prepare(head, client, plane)
        if not prepared.begin:
            self.start()
            return
        self.request_id = plane.new_request_id()
        self._target = head.target
        self._epoch = prepared.epoch
        self.decision = prepared.decision
        self._begin = prepared.begin
        self._acquire()

    def start(self) -> None:
        head, plane = self.head, self._plane
        self.request_id = head.shape.request_id or plane.new_request_id()
        if plane.makes_trace and not head.shape.trace_id:
            self.traceparent = new_traceparent(plane.random_bits)
        self._target = without_force(head.target) if head.query and FORCE_PARAMETER in head.query else head.target
        self._decide(domain_ejected=plane.domain_ejected)
        if self.decision.force_ignored:
            plane.stats.force_ignored += 1
        self._acquire()

    def _decide(self, *, domain_ejected: bool) -> None:
        plane = self._plane
        self._epoch = plane.epoch
        self.decision = plane.router.decide(self.head, self._downstream.client.address, domain_ejected=domain_ejected)

    def _acquire(self) -> None:
        backend = self._plane.backends[self.decision.backend]
        self._timeouts = backend.timeouts
        if self._downstream.gate.reasons:
            self._downstream.gate.release(Hold.PEER_FULL)  # the connection that was full is not ours any more
        pool = self._pool = backend.pool.only or backend.pool.choose()
        if pool.breaker.state is not _CLOSED:
            pool.begin(self)
        upstream = pool.take_idle(certain=self.head.method not in IDEMPOTENT)
        if upstream is not None:
            self._send(upstream)
            return
        self._downstream.set_deadline(self._timeouts.response_s)
        self._queue(pool)

    def on_connection(self, upstream: Upstream) -> None:
        """The pool has one now."""
        if self._epoch != self._plane.epoch and self._is_elsewhere():
            if self._pool is not None:
                self._pool.give_back(upstream)
            self._acquire()
            return
        self._send(upstream)

    def _awaits_leave(self) -> bool:
        """Whether the client waits to be told to go on, and so the backend is the one to act (RFC 9110 section 10.1.1)."""
        if self._continued or self._held is None or not self.head.shape.expects_continue:
            return False
        return self._held.whole and not self._held.size_bytes

    def _send(self, upstream: Upstream) -> None:
        self._upstream = upstream
        head, downstream, plane = self.head, self._downstream, self._plane
        if self._begin:
            data = self._begin + self.request_id + END
        else:
            client = downstream.client
            data = render_request(head, self._target, client, self.request_id, upstream.authority, self.traceparent)
        held = self._held
        if held is not None:
            data += held.joined()
            held.bound(plane.replay_bytes)
        timeouts = self._timeouts
        upstream.send(self, head.method, data)
        if self._request_done:
            plane.wheel.set(downstream, timeouts.response_s)
        else:
            plane.wheel.set(downstream, timeouts.response_s if self._awaits_leave() else timeouts.idle_s)
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
        plane, asked, decision = self._plane, self.head, self.decision
        keep_alive = asked.shape.keep_alive and self._request_done and not plane.draining
        if head.body < 0:  # chunked, or until the backend closes
            if asked.minor == 1:
                self._chunk_out = True
            else:
                keep_alive = False
        self._keep_alive = keep_alive
        pool = self._pool
        if pool is not None and pool.breaker.failures and head.status < 500:
            pool.succeeded()
        mark = plane.marks[decision.backend, decision.reason]
        if head.rendered_for is mark and keep_alive and asked.minor == 1 and not self._chunk_out:
            return head.rendered
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
        if head.status == CONTINUE and self._awaits_leave():
            self._downstream.set_deadline(self._timeouts.idle_s)
            self._continued = True
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
        tunnel = Tunnel(plane, self.backend, downstream, upstream, self._timeouts.tunnel_s)
        upstream.join(tunnel)
        downstream.begin_tunnel(tunnel)

    # --- the end ---

    def cut(self) -> None:
        """End a response that is on its way; one that has not begun has its own end."""
        if self._answer is _HEAD_SENT:
            self._let_go()
            self.error = "cut: the rollout was taken back"
            self._record()
            self._downstream.abort()

    def on_downstream_lost(self) -> None:
        """The client left: whatever was held for it is given up."""
        self._let_go()
        if self._answer is _NONE:
            self.status = CLIENT_CLOSED
        self._record()

    def _tell_failure(self, kind: str, detail: str) -> None:
        self._plane.on_failure(self, kind, detail)

    def _record(self) -> None:
        if self._answer is not _DONE:
            self._answer = _DONE
            if self._rescued:
                self._plane.stats.fall_back(self._rescued, "rescued" if 0 < self.status < 499 else "failed")
            self._plane.record(self)
