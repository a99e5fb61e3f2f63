"""The admin API over real sockets: what it answers, what it refuses, what it never does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from splitter.control.auth import FIRST_DELAY_S
from splitter.control.openapi import document
from splitter.control.store import Stored
from splitter.errors import StoreError
from splitter.state import Record
from tests.integration.operators import Operators, operators

TOKEN = "correct-horse-battery"


@pytest.fixture
async def ops(tmp_path: Path) -> AsyncIterator[Operators]:
    async with operators(tmp_path) as running:
        yield running


async def test_a_rollback_is_answered_when_it_is_in_force(ops: Operators) -> None:
    ops.plane.gate.clear()
    asking = asyncio.gather(ops.ask("POST", "/rollback", {"reason": "too slow"}))
    await asyncio.sleep(0.05)
    assert not asking.done()
    ops.plane.gate.set()
    ((status, body, _),) = await asking
    assert status == 200
    assert ops.plane.snapshots[-1].table.rolled_back
    assert (body["changed"], body["saved"], body["workers"], body["replaced"]) == (True, True, 2, 0)
    assert body["took_ms"] > 10
    latch = body["status"]["rolled_back"]
    assert (latch["value"], latch["who"], latch["why"], latch["from"]) == (True, "api:127.0.0.1", "too slow", "operator")
    assert body["version"] == body["status"]["version"]
    assert body["status"]["workers"]["in_force_on"] == 2


async def test_twice_and_without_a_body(ops: Operators) -> None:
    assert (await ops.ask("POST", "/rollback"))[1]["changed"] is True
    status, body, _ = await ops.ask("POST", "/rollback", {"reason": "again"})
    assert (status, body["changed"]) == (200, False)
    assert body["status"]["rolled_back"]["why"] == "", "the first one's reason stays"


async def test_resume_and_percent(ops: Operators) -> None:
    status, body, _ = await ops.ask("PUT", "/percent", {"percent": 12.34, "reason": "a"}, X_Splitter_Actor="cli:ann@ops")
    assert (status, body["changed"]) == (200, True)
    percent = body["status"]["percent"]
    assert (percent["value"], percent["from"], percent["who"], percent["why"]) == (12.34, "operator", "cli:ann@ops", "a")
    status, body, _ = await ops.ask("PUT", "/percent", {"percent": 50, "route": "camera-control"})
    assert body["status"]["routes"]["camera-control"]["value"] == 50
    assert ops.plane.snapshots[-1].table.default.threshold == 1234
    await ops.ask("POST", "/rollback")
    status, body, _ = await ops.ask("POST", "/resume", {"reason": "mended"})
    assert (status, body["changed"], body["status"]["rolled_back"]["value"]) == (200, True, False)
    assert not ops.plane.snapshots[-1].table.rolled_back
    assert ops.plane.snapshots[-1].table.default.threshold == 1234
    assert (await ops.ask("POST", "/resume"))[1]["changed"] is False
    status, body, _ = await ops.ask("POST", "/resume", {"from_stage": 1})
    assert (status, body["error"]["code"]) == (409, "illegal")


async def test_events(ops: Operators) -> None:
    for percent in (20, 30):
        await ops.ask("PUT", "/percent", {"percent": percent, "reason": f"step {percent}"})
    status, body, _ = await ops.ask("GET", "/events?limit=2")
    assert status == 200
    newest, older = body["events"]
    assert (newest["from"], newest["to"], newest["why"], newest["who"]) == ("20 %", "30 %", "step 30", "api:127.0.0.1")
    assert (older["from"], older["to"]) == ("10 %", "20 %")
    assert newest["version"] == older["version"] + 1
    for limit in ("0", "201", "x", "-1", "1.5", "", "00000"):
        assert (await ops.ask("GET", f"/events?limit={limit}"))[0] == 422, limit


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "code"),
    [
        ("PUT", "/percent", {"percent": 12.345}, {}, 422, "invalid"),
        ("PUT", "/percent", {"percent": 1, "x": 2}, {}, 422, "invalid"),
        ("PUT", "/percent", {"percent": 1, "route": "camera"}, {}, 404, "unknown_route"),
        ("PUT", "/percent", b"{", {}, 400, "bad_json"),
        ("PUT", "/percent", b"percent=1", {"Content_Type": "text/plain"}, 415, "unsupported_media_type"),
        ("PUT", "/percent", b'{"percent": 1, "reason": "' + b"x" * 20_000 + b'"}', {}, 413, "content_too_large"),
        ("POST", "/percent", {}, {}, 405, "method_not_allowed"),
        ("GET", "/rollback", None, {}, 405, "method_not_allowed"),
        ("DELETE", "", None, {}, 405, "method_not_allowed"),
        ("GET", "/nothing", None, {}, 404, "not_found"),
        ("GET", "/api/v2", None, {}, 404, "not_found"),
        ("GET", "", None, {"Host": "evil.example"}, 421, "misdirected"),
        ("POST", "/rollback", None, {"Origin": "http://evil.example"}, 403, "cross_site"),
    ],
)
async def test_refused(
    ops: Operators, method: str, path: str, body: object, headers: dict[str, str], status: int, code: str
) -> None:
    before = (await ops.ask("GET"))[1]["version"]
    got, answer, fields = await ops.ask(method, path, body, X_Request_Id="id-7", **headers)
    assert (got, answer["error"]["code"]) == (status, code)
    assert answer["error"].keys() == {"code", "message", "request_id"}
    assert answer["error"]["request_id"] == fields["x-request-id"] == "id-7"
    assert fields["content-type"].startswith("application/json")
    assert ("allow" in fields) == (status == 405)
    assert (await ops.ask("GET"))[1]["version"] == before


async def test_an_unknown_route_is_told_what_there_is(ops: Operators) -> None:
    for given, told in (("camera-contrl", "did you mean camera-control?"), ("x", "there are: camera-control")):
        message = (await ops.ask("PUT", "/percent", {"percent": 1, "route": given}))[1]["error"]["message"]
        assert told in message


async def test_every_answer_is_protected_against_browsers(ops: Operators) -> None:
    for method, path in (("GET", ""), ("GET", "/nothing"), ("POST", "/rollback"), ("GET", "/api/v1/monitoring/metrics")):
        headers = (await ops.client.request(method, ops.server.make_url(f"/api/v1/rollout{path}"))).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Frame-Options"] == "DENY"
        assert not [name for name in headers if name.lower().startswith("access-control")]
    assert (await ops.ask("OPTIONS", "", None, Origin="http://evil.example"))[0] == 403
    assert (await ops.ask("OPTIONS"))[0] == 405, "no preflight is ever answered"


async def test_with_and_without_a_slash_at_the_end(ops: Operators) -> None:
    for path in ("", "/events", "/api/v1/openapi.json"):
        assert (await ops.ask("GET", path))[0] == (await ops.ask("GET", f"{path}/"))[0] == 200
    assert (await ops.ask("POST", "/rollback/"))[0] == 200


async def test_the_token(tmp_path: Path) -> None:
    async with operators(tmp_path, SPLITTER_ADMIN_TOKEN=TOKEN) as ops:
        assert (await ops.ask("GET"))[0] == 200, "reading wants none"
        status, body, headers = await ops.ask("POST", "/rollback")
        assert (status, body["error"]["code"]) == (401, "unauthorized")
        assert headers["www-authenticate"] == 'Bearer realm="splitter"'
        assert not ops.plane.snapshots[-1].table.rolled_back
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        assert (await ops.ask("POST", "/rollback", None, Authorization="Bearer wrong"))[0] == 401
        assert loop.time() - started_s >= 2 * FIRST_DELAY_S - 0.01, "the second failure waits longer"
        guesses = [ops.ask("POST", "/rollback", None, Authorization=f"Bearer guess-{number}") for number in range(12)]
        guessing = asyncio.gather(*guesses)
        await asyncio.sleep(0.05)
        started_s = loop.time()
        status, body, _ = await ops.ask("POST", "/rollback", None, Authorization=f"Bearer {TOKEN}")
        assert (status, body["changed"]) == (200, True)
        assert loop.time() - started_s < 0.5, "nobody's failures hold up the right token"
        guessing.cancel()
        async with ops.client.get(ops.server.make_url("/api/v1/monitoring/metrics")) as response:
            series = dict(line.rsplit(" ", 1) for line in (await response.text()).splitlines() if line[0] != "#")
        assert float(series['splitter_admin_refused_total{cause="no_token"}']) == 1
        assert float(series['splitter_admin_refused_total{cause="wrong_token"}']) >= 2
        assert float(series['splitter_admin_refused_total{cause="host"}']) == 0


class StoreAway:
    """A store that can't save any more."""

    where, is_shared = "file:nowhere", False

    async def load(self) -> Stored | None:
        return None

    async def save(self, record: Record, instead_of: Stored | None) -> Stored:
        raise StoreError("the disk is full")

    async def news(self) -> None:
        await asyncio.sleep(60)

    async def hold_lease(self) -> bool:
        return True

    async def close(self) -> None: ...


async def test_a_store_that_is_away_stops_everything_but_a_rollback(tmp_path: Path) -> None:
    async with operators(tmp_path, store=StoreAway()) as ops:
        status, body, headers = await ops.ask("PUT", "/percent", {"percent": 50})
        assert (status, body["error"]["code"], headers["retry-after"]) == (503, "store_unavailable", "1")
        assert body["error"]["message"] == "the disk is full; nothing was changed"
        status, body, _ = await ops.ask("POST", "/rollback")
        assert (status, body["changed"], body["saved"]) == (200, True, False)
        assert ops.plane.snapshots[-1].table.rolled_back
        assert body["status"]["store"]["fault"] == "the disk is full"


async def test_a_fault_of_our_own_is_a_500_without_details(ops: Operators, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("secret-detail")

    monkeypatch.setattr(ops.controller, "status", broken)
    status, body, _ = await ops.ask("GET")
    assert (status, body["error"]["code"]) == (500, "internal")
    assert "secret-detail" not in str(body)


@pytest.mark.parametrize("request_line", [b"GET / HTTP/1.1\r\nHost : x", b"GET /" + b"x" * 9000 + b" HTTP/1.1", b"nonsense"])
async def test_a_request_that_is_no_http_is_refused_as_described(ops: Operators, request_line: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", ops.server.port)
    writer.write(request_line + b"\r\n\r\n")
    assert (await reader.readline()).split()[1] == b"400"
    assert b"content-type: text/plain" in (await reader.readuntil(b"\r\n\r\n")).lower()
    assert "text/plain" in document()["components"]["responses"]["400"]["content"]
    writer.close()


async def test_many_at_once_leave_one_line_each(ops: Operators) -> None:
    answers = await asyncio.gather(*(ops.ask("PUT", "/percent", {"percent": percent}) for percent in range(1, 41)))
    assert {status for status, _, _ in answers} == {200}
    versions = [body["version"] for _, body, _ in answers]
    events = (await ops.ask("GET", "/events?limit=200"))[1]["events"]
    assert len(events) >= 40
    assert max(versions) == events[0]["version"]
    assert f"{(await ops.ask('GET'))[1]['percent']['value']:g} %" == events[0]["to"]


async def test_openapi_is_served_as_it_is(ops: Operators) -> None:
    status, body, _ = await ops.ask("GET", "/api/v1/openapi.json")
    assert (status, body) == (200, document())
