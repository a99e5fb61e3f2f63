"""The mirror, with backends in the test's hands: who is copied, when, what the client notices (nothing), every outcome."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from splitter.config import Comparison
from splitter.fallback import FallbackPolicy
from splitter.proxy.mirror import MirrorSettings
from splitter.proxy.mirrored import MirroredExchange
from splitter.proxy.relay import Exchange
from splitter.routing import BUCKETS, Backend, bucket_of
from splitter.snapshot import Snapshot
from splitter.stats import MIRROR_OUTCOMES
from tests.protocol.rig import FakeTransport, Rig, send, table

ALL = MirrorSettings(
    threshold=BUCKETS,
    noise_threshold=0,
    methods=frozenset({b"GET", b"HEAD"}),
    max_body_bytes=1000,
    max_in_flight=4,
    timeout_s=5,
)
GET = b"GET /things/5 HTTP/1.1\r\nHost: a\r\nX-User-Id: u\r\n\r\n"
LEGACY, DOMAIN = 8001, 8002


def settings(**changes: Any) -> MirrorSettings:
    return dataclasses.replace(ALL, **changes)


def answer(body: bytes, *lines: bytes, status: int = 200) -> bytes:
    head = b"".join(line + b"\r\n" for line in (b"Content-Type: application/json", *lines))
    return b"HTTP/1.1 %d OK\r\n%bContent-Length: %d\r\n\r\n%b" % (status, head, len(body), body)


def to(rig: Rig, port: int) -> list[FakeTransport]:
    """Connections to one side that are still open and were sent something."""
    return [each for each in rig.upstreams if each.get_extra_info("peername")[1] == port and each.written and not each.lost]


async def live(rig: Rig, response: bytes = answer(b'{"a": 1}'), request: bytes = GET, port: int = LEGACY) -> FakeTransport:
    """A client is answered by one side."""
    client = rig.client()
    send(client, request)
    await rig.settle()
    (upstream,) = to(rig, port)
    upstream.take()
    send(upstream, response)
    await rig.settle()
    return client


async def outcomes(rig: Rig) -> dict[str, int]:
    """What was counted, once all comparisons are made."""
    for _ in range(200):
        if not rig.plane.mirror._comparing:
            break
        await asyncio.sleep(0.005)
    assert rig.errors == []
    return {outcome: count for (outcome,), count in rig.plane.stats.mirrored.items()}


def places(rig: Rig) -> list[tuple[str, str, str]]:
    return [(row.endpoint, row.path, row.kind.value) for row in rig.plane.mirror.report.mismatches()]


async def copied(rig: Rig, response: bytes, port: int = DOMAIN) -> bytes:
    """Answer the one copy there is; what was sent."""
    (copy,) = to(rig, port)
    request = copy.take()
    send(copy, response)
    await rig.settle()
    return request


class TestACopy:
    async def test_is_made_after_the_client_was_answered(self) -> None:
        rig = Rig(mirror=ALL)
        client = rig.client()
        send(client, GET)
        await rig.settle()
        assert to(rig, DOMAIN) == []
        (upstream,) = to(rig, LEGACY)
        send(upstream, answer(b'{"a": 1}'))
        assert client.take().startswith(b"HTTP/1.1 200 OK\r\n")
        await rig.settle()
        assert len(to(rig, DOMAIN)) == 1

    async def test_is_the_same_request_with_a_mark(self) -> None:
        rig = Rig(mirror=ALL)
        client = rig.client()
        send(
            client,
            b"GET /a?x=%20&force_domain=false HTTP/1.1\r\nHost: a\r\nX-Request-Id: r1\r\nx-splitter-mirror: 1\r\n\r\n",
        )
        await rig.settle()
        original = to(rig, LEGACY)[0].take()
        assert b"mirror" not in original.lower()
        send(rig.upstreams[0], answer(b"{}"))
        await rig.settle()
        request = await copied(rig, answer(b"{}"))
        assert request == original.replace(b"\r\n\r\n", b"\r\nX-Splitter-Mirror: 1\r\n\r\n")
        assert request.startswith(b"GET /a?x=%20 HTTP/1.1\r\n")

    async def test_goes_over_connections_of_its_own(self) -> None:
        rig = Rig(mirror=ALL, percent=0)
        await live(rig)
        await copied(rig, answer(b'{"a": 1}'))
        assert rig.plane.gauges().upstream == {"idle": 1, "active": 0, "connecting": 0}
        assert len(rig.upstreams) == 2
        await live(rig)
        await copied(rig, answer(b'{"a": 1}'))
        assert len(rig.upstreams) == 2, "both are kept and used again"

    async def test_is_not_counted_as_a_request_and_breaks_no_circuit(self) -> None:
        rig = Rig(mirror=ALL)
        for _ in range(10):
            await live(rig)
            (copy,) = to(rig, DOMAIN)
            copy.take()
            copy.lose(ConnectionResetError())
            await rig.settle()
            await outcomes(rig)  # until it is compared, a copy takes up room
        assert await outcomes(rig) == {"failed": 10}
        assert rig.counts() == {("legacy", 200): 10}
        assert rig.plane.stats.failures == {}
        assert not rig.plane.domain_ejected
        assert list(rig.plane.stats.durations) == [("legacy", "default")]

    async def test_nothing_is_made_by_a_plane_that_does_not_mirror(self) -> None:
        rig = Rig()
        assert rig.plane.exchange is Exchange
        await live(rig)
        assert len(rig.upstreams) == 1
        assert Rig(mirror=ALL).plane.exchange is MirroredExchange


class TestOutcomes:
    async def test_match(self) -> None:
        rig = Rig(mirror=ALL)
        await live(rig, answer(b'{"a": 1, "b": 2}', b"Date: x"))
        await copied(rig, answer(b'{"b":2,"a":1}', b"Date: y"))
        assert await outcomes(rig) == {"match": 1}
        assert places(rig) == []

    async def test_mismatch(self) -> None:
        rig = Rig(mirror=ALL)
        await live(rig, answer(b'{"port": 1}', b"Location: /x", status=201))
        await copied(rig, answer(b'{"port": "1"}'))
        assert await outcomes(rig) == {"mismatch": 1}
        assert places(rig) == [
            ("GET /things/{id}", "$.port", "type"),
            ("GET /things/{id}", "header:location", "missing"),
            ("GET /things/{id}", "status", "value"),
        ]
        (sample,) = rig.plane.mirror.report.mismatches()[0].samples
        assert (sample.request, sample.control, sample.candidate) == ("/things/5", "1", '"1"')
        assert sample.request_id == "00000000000000010000000000000002"

    async def test_ignored(self) -> None:
        rules = Comparison.model_validate({"ignore": ["$.now"]})
        rig = Rig(mirror=settings(rules=rules))
        await live(rig, answer(b'{"now": 1}'))
        await copied(rig, answer(b'{"now": 2}'))
        assert await outcomes(rig) == {"ignored": 1}

    async def test_noise(self) -> None:
        rig = Rig(mirror=settings(noise_threshold=BUCKETS))
        await live(rig, answer(b'{"now": 1, "a": 1}'))
        (domain,), (legacy,) = to(rig, DOMAIN), to(rig, LEGACY)
        assert legacy.take().endswith(b"X-Splitter-Mirror: 1\r\n\r\n")
        send(domain, answer(b'{"now": 3, "a": 1}'))
        await rig.settle()
        assert await outcomes(rig) == {}, "both copies are awaited"
        send(legacy, answer(b'{"now": 2, "a": 1}'))
        await rig.settle()
        assert await outcomes(rig) == {"noise": 1}
        assert places(rig) == []
        assert rig.plane.mirror.report.asked("GET /things/{id}") == 1

    async def test_a_noise_copy_that_fails_leaves_the_comparison(self) -> None:
        rig = Rig(mirror=settings(noise_threshold=BUCKETS))
        await live(rig, answer(b'{"now": 1}'))
        (domain,), (legacy,) = to(rig, DOMAIN), to(rig, LEGACY)
        send(domain, answer(b'{"now": 3}'))
        legacy.take()
        legacy.lose(None)
        await rig.settle()
        assert await outcomes(rig) == {"mismatch": 1}

    async def test_dropped_when_too_many_are_under_way(self) -> None:
        rig = Rig(mirror=settings(max_in_flight=2))
        for _ in range(5):
            await live(rig)
        assert len(to(rig, DOMAIN)) == 2
        assert await outcomes(rig) == {"dropped": 3}
        for copy in to(rig, DOMAIN):
            copy.take()
            send(copy, answer(b'{"a": 1}'))
        await rig.settle()
        assert await outcomes(rig) == {"dropped": 3, "match": 2}
        await live(rig)
        assert len(to(rig, DOMAIN)) == 1, "there is room again"

    async def test_two_copies_are_made_only_when_there_is_room_for_two(self) -> None:
        rig = Rig(mirror=settings(max_in_flight=1, noise_threshold=BUCKETS))
        await live(rig)
        assert (len(to(rig, DOMAIN)), len(to(rig, LEGACY))) == (1, 0)

    @pytest.mark.parametrize(("whole", "size"), [(True, 1001), (False, 1001), (True, 1000), (False, 1000)])
    async def test_too_large_an_answer_of_its_own(self, whole: bool, size: int) -> None:
        rig = Rig(mirror=ALL)
        response = answer(b"x" * size)
        client = rig.client()
        send(client, GET)
        await rig.settle()
        (upstream,) = to(rig, LEGACY)
        upstream.take()
        for piece in [response] if whole else [response[:-500], response[-500:]]:
            send(upstream, piece)
        await rig.settle()
        assert client.take().endswith(b"x" * size), "the client gets all of it"
        assert await outcomes(rig) == ({"too_large": 1} if size > 1000 else {})
        assert len(to(rig, DOMAIN)) == (size <= 1000)

    async def test_too_large_an_answer_of_the_copy(self) -> None:
        rig = Rig(mirror=ALL)
        await live(rig)
        (copy,) = to(rig, DOMAIN)
        copy.take()
        send(copy, b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + b"x" * 1001)
        await rig.settle()
        assert await outcomes(rig) == {"too_large": 1}
        assert copy.closing, "the rest is not read"

    async def test_too_large_a_request(self) -> None:
        rig = Rig(mirror=settings(methods=frozenset({b"PUT"})), replay_bytes=100)
        for size in (100, 101):
            body = b"x" * size
            request = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (size, body)
            await live(rig, request=request)
            if size == 100:
                sent = await copied(rig, answer(b'{"a": 1}'))
                assert sent.endswith(b"X-Splitter-Mirror: 1\r\n\r\n" + body)
        assert await outcomes(rig) == {"match": 1, "too_large": 1}

    @pytest.mark.parametrize(
        ("how", "why"),
        [
            ("refused", "could not connect: Connection refused"),
            ("silent", "timed out after 5 s"),
            ("hangs up", "hung up without an answer"),
            ("breaks off", "broke off in the middle of its answer"),
            ("nonsense", "the backend's status line is not HTTP/1.x"),
        ],
    )
    async def test_failed(self, how: str, why: str) -> None:
        rig = Rig(mirror=ALL)
        if how == "refused":
            rig.refuse, rig.refuse_ports = ConnectionRefusedError(111, "Connection refused"), {DOMAIN}
        await live(rig)
        if how != "refused":
            (copy,) = to(rig, DOMAIN)
            copy.take()
            if how == "silent":
                rig.pass_time(5.2)
                assert copy.closing
            elif how == "hangs up":
                copy.lose(None)
            elif how == "breaks off":
                send(copy, answer(b"{}" * 9)[:-5])
                copy.lose(None)
            else:
                send(copy, b"nonsense\r\n\r\n")
        await rig.settle()
        assert await outcomes(rig) == {"failed": 1}
        assert places(rig) == [("GET /things/{id}", "status", "no answer")]
        assert rig.plane.mirror.report.mismatches()[0].samples[0].candidate == why

    async def test_a_kept_connection_that_was_just_closed_is_no_failure(self) -> None:
        rig = Rig(mirror=ALL)
        await live(rig)
        await copied(rig, answer(b'{"a": 1}'))
        await live(rig)
        (copy,) = to(rig, DOMAIN)
        copy.take()
        copy.lose(None)
        await rig.settle()
        await copied(rig, answer(b'{"a": 1}'))
        assert await outcomes(rig) == {"match": 2}

    async def test_skipped_when_its_own_answer_never_ends(self) -> None:
        rig = Rig(mirror=ALL)
        for way in ("the client leaves", "legacy breaks off"):
            client = rig.client()
            send(client, GET)
            await rig.settle()
            (upstream,) = to(rig, LEGACY)
            upstream.take()
            send(upstream, answer(b"x" * 99)[:-5])
            (client if way == "the client leaves" else upstream).lose(None)
            await rig.settle()
        assert await outcomes(rig) == {"skipped": 2}
        assert to(rig, DOMAIN) == []

    def test_every_outcome_has_a_series(self) -> None:
        assert set(MIRROR_OUTCOMES) == {
            "match", "mismatch", "noise", "ignored", "dropped", "too_large", "failed", "skipped"
        }  # fmt: skip


class TestWhoIsCopied:
    async def test_a_share_that_is_independent_of_who_is_on_domain(self) -> None:
        rig = Rig(mirror=settings(threshold=BUCKETS // 4), percent=50)
        wanted = on_domain = both = 0
        for number in range(4000):
            name = b"%x" % (number * 7919)
            is_wanted, is_on_domain = rig.plane.mirror.wants(b"GET", name), bucket_of(name) < BUCKETS // 2
            wanted += is_wanted
            on_domain += is_on_domain
            both += is_wanted and is_on_domain
        assert 900 < wanted < 1100
        assert 0.4 < both / wanted < 0.6, "of those who are copied as many are on domain as of all"

    async def test_only_the_methods_that_are_named(self) -> None:
        rig = Rig(mirror=ALL)
        request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
        await live(rig, request=request)
        await live(rig, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", request=GET.replace(b"GET", b"HEAD"))
        assert (await copied(rig, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")).startswith(b"HEAD ")
        assert await outcomes(rig) == {"match": 1}

    async def test_no_request_for_another_protocol(self) -> None:
        rig = Rig(mirror=ALL)
        await live(rig, request=GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert to(rig, DOMAIN) == []

    async def test_what_domain_serves_is_not_copied_to_it(self) -> None:
        rig = Rig(mirror=ALL, percent=100)
        await live(rig, port=DOMAIN)
        assert to(rig, LEGACY) == to(rig, DOMAIN) == []
        assert await outcomes(rig) == {}

    async def test_towards_legacy_its_answer_is_control(self) -> None:
        rig = Rig(mirror=settings(to=Backend.LEGACY, noise_threshold=BUCKETS), percent=100)
        await live(rig, answer(b'{"now": 1, "port": "5"}'), port=DOMAIN)
        for number, copy in enumerate(to(rig, LEGACY)):
            copy.take()
            send(copy, answer(b'{"now": %d, "port": 5}' % (number + 2)))
        await rig.settle()
        assert await outcomes(rig) == {"mismatch": 1}
        assert places(rig) == [("GET /things/{id}", "$.port", "type")]
        (row,) = rig.plane.mirror.report.mismatches()
        assert (row.samples[0].control, row.samples[0].candidate) == ("5", '"5"')

    async def test_without_control_there_is_nothing_to_compare(self) -> None:
        rig = Rig(mirror=settings(to=Backend.LEGACY), percent=100)
        await live(rig, port=DOMAIN)
        (copy,) = to(rig, LEGACY)
        copy.lose(None)
        await rig.settle()
        assert await outcomes(rig) == {"failed": 1}
        assert places(rig) == []

    async def test_what_legacy_answered_in_domain_s_stead_is_not_compared_with_domain(self) -> None:
        fallback = FallbackPolicy(frozenset({"503"}), frozenset({b"GET"}), 1.0)
        rig = Rig(mirror=ALL, percent=100, fallback=fallback)
        client = rig.client()
        send(client, GET)
        await rig.settle()
        (domain,) = to(rig, DOMAIN)
        domain.take()
        send(domain, answer(b"{}", status=503))
        await rig.settle()
        (legacy,) = to(rig, LEGACY)
        legacy.take()
        send(legacy, answer(b"{}"))
        await rig.settle()
        assert b"X-Splitter-Reason: fallback" in client.take()
        assert to(rig, DOMAIN) == []
        assert await outcomes(rig) == {}

    async def test_legacy_is_asked_twice_at_first_and_then_for_a_share(self) -> None:
        rig = Rig(mirror=settings(noise_threshold=1))
        twice = 0
        for _ in range(12):
            await live(rig)
            (domain,), again = to(rig, DOMAIN), to(rig, LEGACY)
            twice += len(again)
            for copy in (domain, *again):
                copy.take()
                send(copy, answer(b'{"a": 1}'))
            await rig.settle()
            await outcomes(rig)
        assert twice == 5


class TestSwitches:
    @pytest.mark.parametrize("switches", [{"rolled_back": True}, {"domain_enabled": False}])
    async def test_nothing_goes_to_domain_once_it_is_switched_off(self, switches: dict[str, Any]) -> None:
        rig = Rig(mirror=ALL)
        await live(rig)
        (copy,) = to(rig, DOMAIN)
        rig.plane.publish(Snapshot(table(0, **switches)))
        assert copy.closing, "what was under way has ended"
        assert await outcomes(rig) == {"skipped": 1}
        assert rig.plane.exchange is Exchange
        await live(rig)
        assert to(rig, DOMAIN) == []
        assert await outcomes(rig) == {"skipped": 1}
        rig.plane.publish(Snapshot(table(0)))
        await live(rig)
        assert len(to(rig, DOMAIN)) == 1

    async def test_a_copy_that_waits_for_a_connection_never_goes_out(self) -> None:
        rig = Rig(mirror=ALL)
        client = rig.client()
        send(client, GET)
        await rig.settle()
        rig.hold_connects = asyncio.Event()
        send(rig.backend, answer(b"{}"))
        await rig.settle()
        rig.plane.publish(Snapshot(table(0, rolled_back=True)))
        rig.hold_connects.set()
        await rig.settle()
        assert to(rig, DOMAIN) == []
        assert await outcomes(rig) == {"skipped": 1}

    async def test_an_answer_under_way_when_it_is_switched_off(self) -> None:
        rig = Rig(mirror=ALL)
        client = rig.client()
        send(client, GET)
        await rig.settle()
        response = answer(b"x" * 99)
        send(rig.backend, response[:-5])
        rig.plane.publish(Snapshot(table(0, rolled_back=True)))
        send(rig.backend, response[-5:])
        await rig.settle()
        assert client.take().endswith(b"x" * 99)
        assert await outcomes(rig) == {"skipped": 1}

    async def test_domain_is_left_alone_while_it_is_out(self) -> None:
        rig = Rig(mirror=ALL)
        rig.plane.publish(Snapshot(table(0), domain_ejected=True))
        await live(rig)
        assert to(rig, DOMAIN) == []
        assert await outcomes(rig) == {"skipped": 1}

    async def test_a_plane_that_stops_ends_its_copies(self) -> None:
        rig = Rig(mirror=ALL)
        client = await live(rig)
        (copy,) = to(rig, DOMAIN)
        client.lose(None)
        assert await rig.plane.drain(1)
        assert copy.closing
        assert await outcomes(rig) == {"skipped": 1}


async def test_chunked_answers_and_pipelined_requests() -> None:
    rig = Rig(mirror=ALL)
    client = rig.client()
    send(client, GET + GET)
    await rig.settle()
    for _ in range(2):
        (upstream,) = to(rig, LEGACY)
        upstream.take()
        send(
            upstream, b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n'
        )
        send(upstream, b"4\r\n: 1}\r\n0\r\n\r\n")
        await rig.settle()
    assert client.take().count(b"HTTP/1.1 200 OK") == 2
    for copy in to(rig, DOMAIN):
        copy.take()
        send(copy, answer(b'{"a":1}'))
    await rig.settle()
    assert await outcomes(rig) == {"match": 2}
    assert places(rig) == []


async def test_large_bodies_are_compared_on_a_thread() -> None:
    rig = Rig(mirror=settings(max_body_bytes=1 << 20))
    large = b"[" + b",".join(b'{"n": %d}' % number for number in range(9000)) + b"]"
    await live(rig, answer(large))
    await copied(rig, answer(large.replace(b'"n": 77}', b'"n": "77"}')))
    assert await outcomes(rig) == {"mismatch": 1}
    assert places(rig) == [("GET /things/{id}", "$[*].n", "type")]
