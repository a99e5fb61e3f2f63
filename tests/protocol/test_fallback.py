"""Domain fails; legacy answers, or not, by the rule."""

from __future__ import annotations

import pytest

from splitter.fallback import FallbackPolicy
from splitter.routing import Backend, Rule, Table
from splitter.snapshot import Snapshot
from tests.protocol.rig import CLIENT_IP, FakeTransport, Rig, send, table
from tests.protocol.test_relay import GET, OK, UPGRADE, code, post

POLICY = FallbackPolicy(
    frozenset({"connect", "timeout", "reset", "502", "503", "504"}), frozenset({b"GET", b"HEAD", b"PUT"}), 0.2
)
FALLBACK = b"X-Splitter-Backend: legacy\r\nX-Splitter-Reason: fallback\r\n"
PUT = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"


def rig_at_100(**more: int) -> Rig:
    return Rig(percent=100, fallback=POLICY, **more)  # type: ignore[arg-type]


def asked(rig: Rig) -> FakeTransport:
    """The backend connection that a request waits on."""
    return next(upstream for upstream in rig.upstreams if upstream.written and not upstream.closing)


def answer(rig: Rig, response: bytes) -> None:
    upstream = asked(rig)
    upstream.take()
    send(upstream, response)


async def rescued(rig: Rig, client: FakeTransport) -> bool:
    """Legacy gets the request and answers it; whether the client saw that."""
    await rig.settle()
    if not any(upstream.written and not upstream.closing for upstream in rig.upstreams):
        return False
    answer(rig, OK)
    return FALLBACK in client.written and client.written.endswith(b"ok")


async def started(rig: Rig, request: bytes = GET) -> FakeTransport:
    client = rig.client()
    send(client, request)
    await rig.settle()
    return client


@pytest.mark.parametrize("request_bytes", [GET, PUT])
@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_status_of_domains_is_rescued(request_bytes: bytes, status: int) -> None:
    rig = rig_at_100()
    client = await started(rig, request_bytes)
    answer(rig, b"HTTP/1.1 %d No\r\nContent-Length: 4\r\n\r\nnope" % status)
    assert await rescued(rig, client)
    assert b"nope" not in client.written
    assert rig.plane.stats.failures == {("domain", "5xx"): 1}
    assert rig.plane.stats.fallbacks == {("5xx", "rescued"): 1}
    assert rig.counts() == {("legacy", 200): 1}


async def test_a_status_in_a_streamed_answer_is_rescued() -> None:
    rig = rig_at_100()
    client = await started(rig)
    answer(rig, b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnope\r\n")
    assert await rescued(rig, client)


async def test_a_broken_connection_is_rescued() -> None:
    rig = rig_at_100()
    client = await started(rig)
    asked(rig).lose(ConnectionResetError())
    assert await rescued(rig, client)


async def test_nonsense_is_rescued() -> None:
    rig = rig_at_100()
    client = await started(rig)
    answer(rig, b"SSH-2.0\r\n\r\n")
    assert await rescued(rig, client)


async def test_silence_is_rescued() -> None:
    rig = rig_at_100()
    client = await started(rig)
    rig.pass_time(31)
    assert await rescued(rig, client)


@pytest.mark.parametrize("request_bytes", [GET, PUT, post(3, b"abc"), UPGRADE])
async def test_when_nothing_was_sent_any_method_is_rescued(request_bytes: bytes) -> None:
    rig = rig_at_100()
    rig.refuse = ConnectionRefusedError(111, "Connection refused")
    client = rig.client()
    send(client, request_bytes)
    rig.refuse_ports = {8002}
    await rig.settle()
    assert await rescued(rig, client)
    assert rig.plane.stats.failures == {("domain", "connect"): 1}


async def test_a_body_that_still_comes_goes_to_legacy_whole() -> None:
    rig = rig_at_100()
    client = await started(rig, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
    asked(rig).lose(ConnectionResetError())
    send(client, b"def")
    await rig.settle()
    assert asked(rig).written.endswith(b"\r\n\r\nabcdef")


async def test_a_method_that_may_not_be_sent_twice_gets_domains_own_answer() -> None:
    rig = rig_at_100()
    client = await started(rig, post(3, b"abc"))
    answer(rig, b"HTTP/1.1 503 Mine\r\nContent-Length: 4\r\n\r\nmine")
    await rig.settle()
    assert client.written.startswith(b"HTTP/1.1 503 Mine\r\n")
    assert client.written.endswith(b"mine")
    assert len(rig.upstreams) == 1
    assert rig.plane.stats.fallbacks == {("5xx", "refused"): 1}


async def test_a_lost_post_is_a_502() -> None:
    rig = rig_at_100()
    client = await started(rig, post(3, b"abc"))
    asked(rig).lose(ConnectionResetError())
    await rig.settle()
    assert code(client) == (502, "reset")


async def test_a_body_too_large_to_hold_is_not_sent_again() -> None:
    rig = rig_at_100(replay_bytes=2)
    client = await started(rig, PUT)
    asked(rig).lose(ConnectionResetError())
    await rig.settle()
    assert code(client) == (502, "reset")


async def test_an_ordinary_500_is_domains_answer() -> None:
    rig = rig_at_100()
    client = await started(rig)
    answer(rig, b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
    assert client.written.startswith(b"HTTP/1.1 500 Oh\r\n")
    assert rig.plane.stats.failures == {("domain", "5xx"): 1}


async def test_an_answer_begun_is_never_replaced() -> None:
    rig = rig_at_100()
    client = await started(rig)
    domain = asked(rig)
    send(domain, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    domain.lose(ConnectionResetError())
    await rig.settle()
    assert client.aborted
    assert len(rig.upstreams) == 1


async def test_legacys_failure_is_not_sent_to_domain() -> None:
    rig = Rig(percent=0, fallback=POLICY)
    client = await started(rig)
    answer(rig, b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
    await rig.settle()
    assert client.written.startswith(b"HTTP/1.1 503 No\r\n")
    assert len(rig.upstreams) == 1


async def test_both_fail() -> None:
    rig = rig_at_100()
    client = await started(rig)
    asked(rig).lose(ConnectionResetError())
    await rig.settle()
    asked(rig).lose(ConnectionResetError())
    await rig.settle()
    assert code(client) == (502, "reset")
    assert FALLBACK in client.written
    assert rig.plane.stats.fallbacks == {("reset", "failed"): 1}


async def test_the_budget_keeps_legacy_from_being_flooded() -> None:
    rig = rig_at_100()
    outcomes = []
    for _ in range(40):
        client = await started(rig)
        asked(rig).lose(ConnectionResetError())
        outcomes.append(await rescued(rig, client))
        for breaker in (e.breaker for e in rig.plane.backends[Backend.DOMAIN].pool.endpoints):
            breaker.succeeded()
    assert outcomes[:10] == [True] * 10
    assert sum(outcomes) == 10, "a fifth of 40 is less than the ten that are always allowed"


# --- ejection -------------------------------------------------------------------------------------------------------


async def fail_domain(rig: Rig, times: int) -> None:
    for _ in range(times):
        await started(rig, post(0))
        answer(rig, b"HTTP/1.1 500 fail\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")


async def test_domain_is_taken_out_after_failures_in_a_row_and_tried_again() -> None:
    rig = rig_at_100()
    await fail_domain(rig, 4)
    assert not rig.plane.domain_ejected
    await fail_domain(rig, 1)
    assert rig.plane.domain_ejected
    client = await started(rig)
    answer(rig, OK)
    assert b"X-Splitter-Backend: legacy\r\nX-Splitter-Reason: unhealthy\r\n" in client.written

    rig.pass_time(10.1)
    trial, beside = rig.client(), rig.client()
    send(trial, GET)
    send(beside, GET)
    await rig.settle()
    answer(rig, OK)
    answer(rig, OK)
    assert b"X-Splitter-Backend: domain" in trial.written, "one request tries"
    assert b"X-Splitter-Reason: unhealthy" in beside.written, "the others stay on legacy"
    assert not rig.plane.domain_ejected


async def test_a_failed_trial_doubles_the_time() -> None:
    rig = rig_at_100()
    await fail_domain(rig, 5)
    rig.pass_time(10.1)
    assert not rig.plane.domain_ejected
    await fail_domain(rig, 1)
    rig.pass_time(15)
    assert rig.plane.domain_ejected
    rig.pass_time(5.2)
    assert not rig.plane.domain_ejected


async def test_one_success_forgets_the_failures() -> None:
    rig = rig_at_100()
    await fail_domain(rig, 4)
    await started(rig)
    answer(rig, OK)
    await fail_domain(rig, 4)
    assert not rig.plane.domain_ejected


async def test_when_both_are_out_the_chosen_one_is_tried() -> None:
    rig = rig_at_100()
    rig.plane.publish(Snapshot(table(0)))
    await fail_domain(rig, 5)
    rig.plane.publish(Snapshot(table(100)))
    await fail_domain(rig, 5)
    assert not rig.plane.domain_ejected
    client = await started(rig)
    answer(rig, OK)
    assert b"X-Splitter-Backend: domain\r\nX-Splitter-Reason: bucket\r\n" in client.written


# --- methods that an operator allows to be sent twice ---------------------------------------------------------------

KEYED = b"POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: 7\r\nContent-Length: 3\r\n\r\nabc"


def rig_with_route(fallback: FallbackPolicy = POLICY) -> Rig:
    rig = Rig(percent=100, fallback=fallback)
    rule = Rule("rules", 10_000, (CLIENT_IP,), template="/rules", fallback_methods=frozenset({b"POST"}))
    rig.plane.publish(Snapshot(Table(rig.plane.snapshot.table.default, (rule,))))
    return rig


@pytest.mark.parametrize(("path", "legacy_answers"), [(b"/rules", True), (b"/other", False)])
async def test_a_route_may_allow_a_method_of_its_own(path: bytes, legacy_answers: bool) -> None:
    rig = rig_with_route()
    request = post(3, b"abc").replace(b"/", path, 1)
    client = await started(rig, request)
    asked(rig).lose(ConnectionResetError())
    assert await rescued(rig, client) is legacy_answers
    client = await started(rig, request)
    answer(rig, b"HTTP/1.1 503 Mine\r\nContent-Length: 4\r\n\r\nmine")
    assert await rescued(rig, client) is legacy_answers
    assert client.written.endswith(b"ok" if legacy_answers else b"mine"), "what domain says is passed on if refused"


@pytest.mark.parametrize(("by_key", "request_bytes"), [(True, KEYED), (False, KEYED), (True, post(3, b"abc"))])
async def test_a_key_may_allow_any_method(by_key: bool, request_bytes: bytes) -> None:
    rig = Rig(percent=100, fallback=FallbackPolicy(POLICY.on, POLICY.methods, 0.2, by_key=by_key))
    client = await started(rig, request_bytes)
    asked(rig).lose(ConnectionResetError())
    assert await rescued(rig, client) is (by_key and request_bytes is KEYED)


async def test_what_may_be_sent_twice_may_be_sent_again_on_a_stale_connection() -> None:
    rig = rig_with_route()
    client = await started(rig)
    answer(rig, OK)
    client.take()
    send(client, post(3, b"abc").replace(b"/", b"/rules", 1))
    rig.at(8002)[0].lose(ConnectionResetError())
    await rig.settle()
    assert rig.at(8002)[1].written.endswith(b"abc")
    assert rig.plane.stats.failures == {}


async def test_a_large_body_is_not_sent_twice_whatever_is_allowed() -> None:
    rig = Rig(percent=100, replay_bytes=2, fallback=FallbackPolicy(POLICY.on, POLICY.methods, 0.2, by_key=True))
    client = await started(rig, KEYED)
    asked(rig).lose(ConnectionResetError())
    await rig.settle()
    assert code(client) == (502, "reset")
    assert not rig.at(8001)
