"""A plan carried out on two real servers: order, own names, noise, clean-up, and what is no answer."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from splitter.cli.compare.asker import Asker, Settings
from splitter.cli.compare.findings import Findings, Verdict
from splitter.cli.compare.request_list import read_request_list
from splitter.cli.compare.runner import Options, Run
from splitter.cli.compare.side import Side
from splitter.compare import Mask
from tools.ports import free_port

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Service:
    """One side: what it was asked, and what it makes of it."""

    def __init__(self, handle: Handler | None = None) -> None:
        self.asked: list[str] = []
        self.bodies: list[str] = []
        self._things: dict[str, Any] = {}
        self._handle = handle or self.things

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path_qs}")
        self.bodies.append(await request.text())
        return await self._handle(request)

    async def things(self, request: web.Request) -> web.Response:
        """A service of things with ids of its own, as a table with a counter gives them."""
        name = request.path.rpartition("/")[2]
        if request.method == "POST":
            number = f"thing-{len(self._things) + 1:04}"
            self._things[number] = {"id": number, **await request.json()}
            return web.json_response(self._things[number], status=201, headers={"Location": f"/things/{number}"})
        if name not in self._things:
            return web.json_response({"error": f"there is no {name}"}, status=404)
        if request.method == "DELETE":
            del self._things[name]
            return web.Response(status=204)
        return web.json_response(self._things[name])


@asynccontextmanager
async def server(handle: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handle)
    async with TestServer(app) as running:
        yield str(running.make_url("")).rstrip("/")


async def compare_urls(
    text: str,
    urls: tuple[str, str],
    *,
    noise: bool = True,
    force: bool = False,
    timeout_s: float = 5,
    rounds: int = 1,
    concurrency: int = 1,
    body_bytes: int = 1 << 20,
) -> Findings:
    """The findings of a list on two base URLs."""
    findings = Findings(warm_up=0)
    words = (f"w{number}" for number in itertools.count())
    options = Options(noise, rounds, concurrency, Mask(), lambda: next(words), lambda: 0.0)
    settings = Settings(timeout_s, body_bytes, (("X-All", "yes"),))
    old, new = Side("legacy", urls[0], "false" if force else ""), Side("domain", urls[1], "true" if force else "")
    async with Asker(old, settings) as control, Asker(new, settings) as candidate:
        await Run(control, candidate, options, findings, lambda: None).carry_out(read_request_list(text, "list"))
    return findings


async def run(text: str, control: Handler, candidate: Handler, **options: Any) -> Findings:
    """The findings of a list on two handlers."""
    async with server(control) as old, server(candidate) as new:
        return await compare_urls(text, (old, new), **options)


def names(findings: Findings) -> list[tuple[str, str, str]]:
    return [(row.endpoint, row.path, row.kind.value) for row in findings.mismatches()]


THINGS = """
variables: {name: "{run}-{side}-name"}
setup:
- {request: POST /things, json: {name: "{name}"}, expect: 201, capture: {thing: $.id}}
requests:
- {request: "GET /things/{thing}", expect: 200, repeat: 3}
cleanup:
- {request: "DELETE /things/{thing}", expect: 204}
- {request: "GET /things/{thing}", name: it is gone, expect: 404}
"""


async def test_each_side_works_on_its_own_and_names_are_made_alike() -> None:
    old, new = Service(), Service()
    old._things["thing-0001"] = {}  # so that the two count differently
    findings = await run(THINGS, old.serve, new.serve)
    assert names(findings) == []
    assert findings.verdict is Verdict.MATCH
    assert findings.report.compared == 6
    assert new.asked == [
        "POST /things", *["GET /things/thing-0001"] * 3, "DELETE /things/thing-0001", "GET /things/thing-0001"
    ]  # fmt: skip
    assert old.asked == [
        "POST /things", "POST /things", *["GET /things/thing-0002", "GET /things/thing-0003"] * 3,
        "DELETE /things/thing-0002", "DELETE /things/thing-0003", "GET /things/thing-0002", "GET /things/thing-0003",
    ]  # fmt: skip
    assert [json.loads(body)["name"] for body in old.bodies[:2]] == ["w0-a-name", "w0-c-name"]
    assert old._things == {"thing-0001": {}}
    assert new._things == {}


async def test_a_real_difference_among_own_names_is_found() -> None:
    async def other(request: web.Request) -> web.StreamResponse:
        response = await new.serve(request)
        if request.method == "POST" and isinstance(response, web.Response) and response.text:
            document = json.loads(response.text)
            response.text = json.dumps(document | {"name": document["name"] + "!"})
        return response

    new = Service()
    findings = await run(THINGS, Service().serve, other)
    assert names(findings) == [("POST /things", "$.name", "value")]
    (row,) = findings.mismatches()
    assert (row.samples[0].control, row.samples[0].candidate) == ('"{name}"', '"{name}!"')


async def test_who_is_asked_first_alternates() -> None:
    order: list[str] = []

    def noted(letter: str) -> Handler:
        async def handle(_: web.Request) -> web.Response:
            order.append(letter)
            return web.Response()

        return handle

    await run("requests: [{request: GET /, repeat: 4}]", noted("c"), noted("n"), noise=False)
    assert "".join(order) == "nccnnccn"


async def test_noise_is_learned_from_control_alone() -> None:
    counter = itertools.count()

    async def old(_: web.Request) -> web.Response:
        return web.json_response({"now": next(counter), "port": 1})

    async def new(_: web.Request) -> web.Response:
        return web.json_response({"now": next(counter), "port": "1"})

    findings = await run("requests: [{request: GET /, repeat: 5}]", old, new)
    assert names(findings) == [("GET /", "$.port", "type")]
    assert [row.path for row in findings.noise()] == ["$.now"]
    findings = await run("requests: [{request: GET /, repeat: 5}]", old, new, noise=False)
    assert names(findings) == [("GET /", "$.now", "value"), ("GET /", "$.port", "type")]


async def test_without_its_set_up_a_list_ends_with_the_clean_up() -> None:
    async def broken(_: web.Request) -> web.Response:
        return web.json_response({"error": "no"}, status=500)

    old = Service(broken)
    findings = await run(THINGS, old.serve, Service().serve)
    assert findings.verdict is Verdict.MISMATCH
    assert "POST /things: legacy was to answer 201, not 500" in findings.problems
    assert not any("GET" in asked for asked in old.asked)
    failures = {each.result.title: each.result.failures for each in findings.verdicts()}
    assert failures["DELETE /things/{thing}"] == {"thing was to be captured before, and was not": 1}


async def test_what_one_side_made_is_cleaned_up_though_the_other_made_nothing() -> None:
    async def broken(_: web.Request) -> web.Response:
        return web.json_response({"error": "no"}, status=500)

    old = Service()
    findings = await run(THINGS, old.serve, broken)
    assert names(findings)[0] == ("POST /things", "$.error", "extra")
    assert old._things == {}


async def test_who_stops_a_run_still_cleans_up() -> None:
    reached = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path == "/slow":
            reached.set()
            await asyncio.sleep(3600)
        return web.Response(status=204 if request.method == "DELETE" else 200)

    old = Service(handle)
    text = "requests: [{request: GET /slow}]\ncleanup: [{request: DELETE /mine}]"
    running = asyncio.get_running_loop().create_task(run(text, old.serve, handle, noise=False, timeout_s=30))
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert "DELETE /mine" in old.asked


async def test_no_answer_is_a_difference_and_from_control_a_failure() -> None:
    async def hangs(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        return web.Response()

    async def hangs_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async def answers(_: web.Request) -> web.Response:
        return web.Response()

    text = "requests: [{request: POST /}]"
    for bad, why in ((hangs, "timed out after 0.2 s"), (hangs_up, "hung up without an answer")):
        findings = await run(text, answers, bad, timeout_s=0.2)
        assert names(findings) == [("POST /", "status", "no answer")]
        assert findings.mismatches()[0].samples[0].candidate == why
        findings = await run(text, bad, answers, timeout_s=0.2)
        assert (findings.verdict, findings.failed) == (Verdict.FAILED, 1)
        (verdict,) = findings.verdicts()
        assert verdict.result.failures == {f"legacy: {why}": 1}


async def test_a_port_nobody_listens_on() -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    findings = await compare_urls("requests: [{request: GET /}]", (nobody, nobody))
    (verdict,) = findings.verdicts()
    assert verdict.result.failures == {"legacy: no connection: Connection refused": 1}
    assert findings.verdict is Verdict.FAILED


class TestThroughASplitter:
    @staticmethod
    def marked(backend: str, reason: str) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            headers = {"X-Splitter-Backend": backend, "X-Splitter-Reason": reason} if backend else {}
            return web.Response(text=request.query["force_domain"], headers=headers)

        return handle

    async def test_sides_are_forced(self) -> None:
        old, new = Service(self.marked("legacy", "forced")), Service(self.marked("domain", "forced"))
        text = "requests: [{request: GET /a}, {request: 'GET /b?x=1'}]"
        await run(text, old.serve, new.serve, force=True, noise=False)
        assert old.asked == ["GET /a?force_domain=false", "GET /b?x=1&force_domain=false"]
        assert new.asked == ["GET /a?force_domain=true", "GET /b?x=1&force_domain=true"]

    @pytest.mark.parametrize(
        ("backend", "reason", "why"),
        [
            ("legacy", "rollback", "the splitter sent it to legacy, not to domain (rollback)"),
            ("", "", "no splitter passed it on: the answer has no X-Splitter-Backend"),
        ],
    )
    async def test_legacy_is_not_compared_with_itself(self, backend: str, reason: str, why: str) -> None:
        findings = await run(
            "requests: [{request: GET /}]", self.marked("legacy", "forced"), self.marked(backend, reason), force=True
        )
        assert findings.verdict is Verdict.FAILED
        assert findings.report.compared == 0
        (verdict,) = findings.verdicts()
        assert verdict.result.failures == {why: 1}

    async def test_a_fallback_is_domain_s_failure(self) -> None:
        findings = await run(
            "requests: [{request: GET /}]", self.marked("legacy", "forced"), self.marked("legacy", "fallback"), force=True
        )
        assert names(findings) == [("GET /", "status", "no answer")]
        assert "domain failed, and legacy answered instead (fallback)" in findings.mismatches()[0].samples[0].candidate


async def test_what_is_sent_and_what_is_kept() -> None:
    seen: list[web.Request] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        if request.path == "/large":
            return web.Response(body=b"x" * 5000)
        if request.path == "/gzip":
            return web.Response(
                body=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"}, content_type="application/json"
            )
        if request.path == "/moved":
            return web.Response(status=302, headers={"Location": "/elsewhere", "Set-Cookie": "a=b"})
        return web.Response()

    async def different(request: web.Request) -> web.StreamResponse:
        if request.path == "/large":
            return web.Response(body=b"x" * 4999 + b"y")
        return await handle(request)

    text = """
    requests:
    - {request: 'GET /a%20b?x=%zz&&y', send_headers: {Accept: text/plain}}
    - {request: GET /large}
    - {request: GET /gzip}
    - {request: GET /moved}
    """
    findings = await run(text, handle, different, noise=False, body_bytes=1000)
    assert names(findings) == [("GET /large", "body", "value")]
    assert findings.mismatches()[0].samples[0].control.startswith("5,000 bytes, sha256 ")
    first = seen[0]
    assert first.raw_path == "/a%20b?x=%zz&&y"
    assert first.headers["Accept"] == "text/plain"
    assert first.headers["X-All"] == "yes"
    assert first.headers["X-Request-Id"] == seen[1].headers["X-Request-Id"]
    assert "User-Agent" not in first.headers
    assert "Accept-Encoding" not in first.headers
    assert "Cookie" not in seen[-1].headers
    assert not any(request.path == "/elsewhere" for request in seen)


async def test_streams_and_websockets() -> None:
    def side(seq: int) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            if request.path == "/events":
                socket = web.WebSocketResponse()
                await socket.prepare(request)
                await socket.send_json({"type": "snapshot", "seq": seq})
                await socket.send_bytes(b"123")
                await socket.close()
                return socket
            response = web.StreamResponse(headers={"Content-Type": "multipart/x-mixed-replace"})
            await response.prepare(request)
            while True:
                await response.write(b"--frame")
                await asyncio.sleep(0.01)

        return handle

    text = """
    requests:
    - {request: GET /stream, stream: true, expect: 200}
    - {request: GET /events, websocket: 3, expect: 101}
    """
    findings = await run(text, side(1), side(2), noise=False)
    assert names(findings) == [("GET /events", "$[*].seq", "value")]
    assert findings.problems == []


async def test_rounds_and_concurrency() -> None:
    old, new = Service(), Service()
    findings = await run(THINGS, old.serve, new.serve, rounds=6, concurrency=3)
    assert findings.report.compared == 36
    assert findings.verdict is Verdict.MATCH
    assert (old._things, new._things) == ({}, {})
