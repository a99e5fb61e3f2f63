"""What a report may show: no secret, no personal field, nothing long."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitter.compare import EndpointNames, Mask

MASK = Mask()


@pytest.mark.parametrize(
    "name",
    ["token", "access_token", "X-Api-Key", "Authorization", "userPassword", "e-mail", "Email", "phoneNumber", "session_id",
     "Set-Cookie", "pin", "PWD", "key", "clientSecret", "home_address", "date-of-birth", "IBAN", "X-CSRF-Token", "DOB"],
)  # fmt: skip
def test_names_that_are_hidden(name: str) -> None:
    assert MASK.hides(name)
    assert MASK.value("hunter2", (name,)) == "*** (string)"
    assert MASK.value({"inner": ["hunter2"]}, ("a", name, 0)) == "*** (object)"
    assert "hunter2" not in MASK.value({"a": [{name: "hunter2"}]}, ())


@pytest.mark.parametrize("name", ["name", "state", "port", "keyframe", "spinning", "author", "monkey", "pinned", "id"])
def test_names_that_are_shown(name: str) -> None:
    assert not MASK.hides(name)
    assert MASK.value("hunter2", (name,)) == '"hunter2"'


def test_more_names() -> None:
    mask = Mask(["licence_plate", ""])
    assert mask.hides("LicencePlateNumber")
    assert not mask.hides("name")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mail to jo.doe@example.com now", "mail to *** now"),
        ("Bearer abcdef123456", "***"),
        ("eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.abc-_1", "***"),
        ("http://jo:hunter2@host/x", "http://***@host/x"),
        ("call +49 (170) 123 4567", "call ***"),
        ("card 4111 1111 1111 1111.", "card ***."),
        ("token=abc; state=on", "token=***; state=on"),
        ('{"password": "hunter2", "a": 1}', '{"password": "***", "a": 1}'),
        (r"{\"password\":\"hunter2\"}", r"{\"password\":\"***\"}"),
        ("password: hunter2", "password: ***"),
        ("2025-10-31T08:00:00.000Z", "2025-10-31T08:00:00.000Z"),
        ("192.168.0.1:8080", "192.168.0.1:8080"),
        ("line\nbreak\x1b[31m", "line\N{REPLACEMENT CHARACTER}break\N{REPLACEMENT CHARACTER}[31m"),
    ],
)
def test_forms_that_are_hidden(text: str, shown: str) -> None:
    assert MASK.text(text) == shown


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/a?token=abc&x=1", "/a?token=***&x=1"),
        ("/a?api%5Fkey=abc", "/a?api_key=***"),
        ("/users/jo%40example.com", "/users/***"),
        ("/a?x=%31", "/a?x=%31"),
    ],
)
def test_targets(target: str, shown: str) -> None:
    assert MASK.target(target) == shown


def test_headers() -> None:
    assert MASK.header("authorization", "Basic abc") == "*** (string)"
    assert MASK.header("set-cookie", "sid=abc; Path=/; HttpOnly; Max-Age=3") == "sid=***; HttpOnly; Path=/"
    assert MASK.header("location", "/x?token=abc") == "/x?token=***"
    assert MASK.header("etag", '"5"') == '"5"'


def test_what_is_no_secret_whatever_its_name() -> None:
    assert MASK.value(None, ("password",)) == "null"
    assert MASK.value(True, ("has_password",)) == "true"


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.integers(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
)


@given(VALUES, st.sampled_from(["password", "accessToken", "E-Mail"]), st.lists(st.sampled_from(["a", "b"]), max_size=3))
def test_nothing_below_a_hidden_name_is_shown(value: Any, name: str, around: list[str]) -> None:
    secret: object = {name: ["s3cr3t-p4yl0ad", value]}
    for key in around:
        secret = {key: secret}
    shown = MASK.value(secret, ())
    assert "s3cr3t" not in shown
    assert len(shown) <= 160
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/api/v1/cameras", "GET /api/v1/cameras"),
        ("/api/v1/cameras/4711/status?x=1", "GET /api/v1/cameras/{id}/status"),
        ("/api/v1/cameras/entrance/status", "GET /api/v1/cameras/entrance/status"),
        ("/api/v1/alerts/rules/rule-12", "GET /api/v1/alerts/rules/{id}"),
        ("/u/0f8fad5b-d9cb-469f-a165-70867728950e/x", "GET /u/{id}/x"),
        ("/u/0F8FAD5BD9CB469F/x", "GET /u/{id}/x"),
        ("/u/jo%40example.com", "GET /u/{id}"),
        (f"/u/{'x' * 65}", "GET /u/{id}"),
        ("/", "GET /"),
        ("*", "GET *"),
        ("/a" * 20, "GET " + "/a" * 15 + "/..."),
    ],
)
def test_endpoints_by_the_look_of_ids(target: str, name: str) -> None:
    assert EndpointNames().name("GET", target) == name


def test_endpoints_by_template() -> None:
    names = EndpointNames(
        ["/api/v1/cameras/refresh", "/api/v1/cameras/{camera_id}/*", "/api/v1/cameras/{camera_id}", "/files/*"]
    )
    assert names.name("POST", "/api/v1/cameras/refresh") == "POST /api/v1/cameras/refresh"
    assert names.name("GET", "/api/v1/cameras/entrance?x") == "GET /api/v1/cameras/{camera_id}"
    assert names.name("GET", "/api/v1/cameras/entrance/logs/77") == "GET /api/v1/cameras/{camera_id}/logs/{id}"
    assert names.name("GET", "/files/a/1.txt") == "GET /files/a/1.txt"
    assert names.name("GET", "/other/5") == "GET /other/{id}"
