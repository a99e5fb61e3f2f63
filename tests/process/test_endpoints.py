"""The thirteen endpoints of the rollout, through the splitter, on both sides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

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


def walk(port: int, force: str) -> dict[str, tuple[int, Any]]:
    """Every step on one side: status, and the shape of a JSON body or the kind of another."""
    found: dict[str, tuple[int, Any]] = {}
    rule_id = ""
    for method, template, asked, status in STEPS:
        body = asked
        path = template.replace("{rule_id}", str(rule_id))
        url = f"{path}{'&' if '?' in path else '?'}force_domain={force}"
        if isinstance(body, dict) and "name" in body:
            body = body | {"name": f"{body['name']}, {force}"}  # rules have names of their own
        data = None if body is None else json.dumps(body).encode()
        got, headers, answer = ask(port, url, method, data, {"Content-Type": "application/json"})
        assert got == status, f"{method} {url}: {got} {answer!r}"
        assert headers["x-splitter-reason"] == "forced"
        assert headers["x-splitter-backend"] == ("domain" if force == "true" else "legacy")
        if headers["content-type"].startswith("application/json"):
            document = json.loads(answer)
            rule_id = document.get("id", rule_id) if "rules" in path else rule_id
            found[template] = got, shape(document)
        else:
            assert answer.startswith(b"\xff\xd8"), "a JPEG"
            found[template] = got, headers["content-type"]
    return found


def test_all_thirteen_answer_alike_on_both_sides(port: int) -> None:
    assert len({(method, path.partition("?")[0]) for method, path, _, _ in STEPS}) == 13
    legacy, domain = walk(port, "false"), walk(port, "true")
    assert legacy == domain


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
