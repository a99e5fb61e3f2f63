"""The thirteen endpoints of the rollout, through the splitter, on both sides."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.process.running import ask
from tests.process.service import service

CAMERA = "/api/v1/cameras/corridor"
RULE = {"name": "too slow", "metric": "latency_ms", "operator": ">", "threshold": 60, "severity": "warning"}

# In an order in which each is legal: method, path, body, status.
STEPS: tuple[tuple[str, str, object, int], ...] = (
    ("POST", f"{CAMERA}/start", None, 200),
    ("GET", f"{CAMERA}/status", None, 200),
    ("GET", f"{CAMERA}/preview", None, 200),
    ("POST", f"{CAMERA}/restart", None, 200),
    ("GET", f"{CAMERA}/logs?limit=5", None, 200),
    ("POST", f"{CAMERA}/stop", None, 200),
    ("POST", f"{CAMERA}/deactivate", None, 200),
    ("POST", f"{CAMERA}/activate", None, 200),
    ("PUT", f"{CAMERA}/auto-start", {"enabled": True}, 200),
    ("POST", "/api/v1/cameras/batch-status", {"camera_ids": ["corridor", "nobody"]}, 200),
    ("POST", "/api/v1/cameras/refresh", None, 200),
    ("POST", "/api/v1/alerts/rules", RULE, 201),
    ("PUT", "/api/v1/alerts/rules/{rule_id}", RULE | {"threshold": 70}, 200),
)

NEW = {"id": "new", "name": "New", "source": "testsrc"}
AROUND: tuple[tuple[str, str, object, int], ...] = (
    ("GET", "/api/v1/cameras", None, 200),
    ("POST", "/api/v1/cameras", NEW, 201),
    ("POST", "/api/v1/cameras", NEW, 409),
    ("GET", "/api/v1/cameras/new", None, 200),
    ("PUT", "/api/v1/cameras/new", {"name": "Newer", "source": "testsrc"}, 200),
    ("DELETE", "/api/v1/cameras/new", None, 204),
    ("DELETE", "/api/v1/cameras/new", None, 404),
    ("GET", "/api/v1/alerts/rules", None, 200),
    ("GET", "/health", None, 200),
)


def shape(value: Any) -> Any:
    """The types in a JSON value, keys kept; a list by the shapes in it."""
    if isinstance(value, dict):
        return {key: shape(found) for key, found in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(item), sort_keys=True) for item in value})
    return type(value).__name__


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with service(tmp_path_factory.mktemp("service")) as found:
        yield found


def walk(port: int, force: str, steps: tuple[tuple[str, str, object, int], ...]) -> dict[str, tuple[int, Any]]:
    """Every step on one side: status, and the shape of a JSON body or the kind of another."""
    found: dict[str, tuple[int, Any]] = {}
    rule_id = ""
    for method, template, asked, status in steps:
        body = asked
        path = template.replace("{rule_id}", str(rule_id))
        url = f"{path}{'&' if '?' in path else '?'}force_domain={force}"
        if isinstance(body, dict) and "metric" in body:
            body = body | {"name": f"{body['name']}, {force}"}  # rules have names of their own
        data = None if body is None else json.dumps(body).encode()
        got, headers, answer = ask(port, url, method, data, {"Content-Type": "application/json"})
        assert got == status, f"{method} {url}: {got} {answer!r}"
        assert headers["x-splitter-reason"] == "forced"
        assert headers["x-splitter-backend"] == ("domain" if force == "true" else "legacy")
        if status == 204:
            assert answer == b""
        elif headers["content-type"].startswith("application/json"):
            document = json.loads(answer)
            rule_id = document.get("id", rule_id) if "rules" in path else rule_id
            found[f"{method} {template} {status}"] = got, shape(document)
        else:
            assert answer.startswith(b"\xff\xd8"), "a JPEG"
            found[f"{method} {template} {status}"] = got, headers["content-type"]
    return found


def test_all_thirteen_answer_alike_on_both_sides(port: int) -> None:
    assert len({(method, path.partition("?")[0]) for method, path, _, _ in STEPS}) == 13
    assert walk(port, "false", STEPS) == walk(port, "true", STEPS)


def test_those_around_them_answer_alike_too(port: int) -> None:
    assert walk(port, "false", AROUND) == walk(port, "true", AROUND)


@pytest.mark.parametrize("force", ["true", "false"])
def test_the_stream_is_pictures_in_parts(port: int, force: str) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        request = f"GET /api/v1/cameras/entrance/stream?force_domain={force} HTTP/1.0\r\nHost: a\r\n\r\n"
        client.sendall(request.encode())
        file = client.makefile("rb")
        assert file.readline().startswith(b"HTTP/1.1 200 ")
        pictures: set[bytes] = set()
        while len(pictures) < 3:
            line = file.readline()
            if line.lower().startswith(b"content-length:"):
                assert file.readline() == b"\r\n"
                picture = file.read(int(line.split(b":")[1]))
                assert picture.startswith(b"\xff\xd8")
                assert picture.endswith(b"\xff\xd9")
                pictures.add(picture)


@pytest.mark.parametrize("force", ["true", "false"])
async def test_events_come_whichever_side_made_the_change(port: int, force: str) -> None:
    other = "false" if force == "true" else "true"
    url = f"http://127.0.0.1:{port}/api/v1/cameras/loading-dock"
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/events?force_domain={force}") as events:
        first = await events.receive_json(timeout=10)
        assert (first["type"], first["status"]["state"]) == ("snapshot", "stopped")
        for action, state in (("start", "running"), ("stop", "stopped")):
            async with session.post(f"{url}/{action}?force_domain={other}") as response:
                assert response.status == 200
            while (event := await events.receive_json(timeout=10))["status"]["state"] != state:
                assert event["type"] == "change"


@pytest.mark.parametrize("force", ["true", "false"])
def test_refusals_are_the_same_shape(port: int, force: str) -> None:
    for method, path, status in (
        ("POST", "/api/v1/cameras/nobody/start", 404),
        ("POST", "/api/v1/cameras/refresh/nothing/here", 404),
        ("POST", "/api/v1/alerts/rules", 400),
        ("PATCH", "/api/v1/cameras", 405),
        ("POST", "/api/v1/cameras/roof/start", 409),
    ):
        got, _, answer = ask(port, f"{path}?force_domain={force}", method, b"" if status != 400 else b"{nonsense")
        if path.endswith("roof/start"):
            assert 400 <= got < 500, "its source does not exist"
        else:
            assert got == status, f"{method} {path}: {got} {answer!r}"
        assert set(json.loads(answer)["error"]) == {"code", "message", "request_id"}


def test_what_one_side_creates_the_other_has(port: int) -> None:
    camera = json.dumps({"id": "new", "name": "New", "source": "testsrc"}).encode()
    assert ask(port, "/api/v1/cameras?force_domain=true", "POST", camera)[0] == 201
    assert ask(port, "/api/v1/cameras/new?force_domain=false")[0] == 200
    assert ask(port, "/api/v1/cameras/new?force_domain=false", "DELETE")[0] == 204
    assert ask(port, "/api/v1/cameras/new?force_domain=true")[0] == 404
