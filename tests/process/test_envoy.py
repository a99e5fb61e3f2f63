"""The same requests through the splitter and through an Envoy with the configuration it prints: the same answers."""

from __future__ import annotations

import http.client
import json
import random
import socket
import socketserver
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import trustme

from splitter.config import threshold_of
from splitter.routing import bucket_of
from tests.process.envoy_rig import ENVOY, Envoy, echo, envoy, envoy_config
from tests.process.running import ROOT, Splitter, ask, backend, read_head, says, splitter, wait_until
from tools.ports import free_port

CONFIG = """
rollout:
  percent: 35
  key: ["header:X-User-Id", "cookie:session_id", "query:user"]
  routes:
    - {name: control, methods: [POST, PUT], path: "/cameras/{camera_id}/*", percent: 60, key: ["path:camera_id"]}
    - {name: exact, path: "/only/this", percent: 50, key: [client_ip]}
    - {name: below, methods: [GET], path: "/below/*", percent: 0, fallback_methods: [POST]}
    - {name: twice, methods: [POST, PATCH], path: "/twice/*", percent: 100, fallback_methods: [POST]}
backends:
  legacy: {response_timeout: 500ms}
  domain: {response_timeout: 500ms, eject: {consecutive_failures: 1000}}
fallback: {max_body: 1KiB, budget: 1}
"""
_DIFFER = ("host", "x-forwarded-host", "x-request-id")
"""They name the port that was asked, or are made anew."""
USERS = [f"user-{number}" for number in range(12)]


@dataclass(frozen=True)
class Both:
    """A splitter and an Envoy in front of the same two backends."""

    splitter: Splitter
    envoy: Envoy

    def ask(self, *asked: Any, **more: Any) -> dict[str, Any]:
        """What both answer to one request, as one answer. They have to be the same."""
        first, second = (_answer(port, *asked, **more) for port in (self.splitter.port, self.envoy.port))
        assert first == second, (asked, more)
        return first


def _answer(port: int, *asked: Any, **more: Any) -> dict[str, Any]:
    status, headers, body = ask(port, *asked, **more)
    told = json.loads(body) if body else {}
    lists: dict[str, str] = {}
    for name, value in told.get("fields", []):  # a list may be in one line or in several (RFC 9110 section 5.3)
        lists[name.lower()] = ",".join([*lists.get(name.lower(), "").split(","), value]).strip(",")
    told["fields"] = sorted((name, value.replace(", ", ",")) for name, value in lists.items() if name not in _DIFFER)
    return {"status": status, "by": headers.get("x-splitter-backend"), "why": headers.get("x-splitter-reason"), **told}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("envoy")


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    with backend(echo("legacy")) as legacy, backend(echo("domain")) as domain:
        yield {"LEGACY_URL": f"http://127.0.0.1:{legacy}", "DOMAIN_URL": f"http://127.0.0.1:{domain}"}


@pytest.fixture(scope="module")
def both(folder: Path, urls: dict[str, str]) -> Iterator[Both]:
    with splitter(folder, CONFIG, **urls, SPLITTER_WORKERS="1") as one, envoy(folder / "splitter.yaml", **urls) as other:
        yield Both(one, other)


def test_ten_thousand_users_stay_on_the_side_where_the_router_has_them(both: Both) -> None:
    dice = random.Random(9)
    connection = http.client.HTTPConnection("127.0.0.1", both.envoy.port, timeout=10)
    sides = []
    for number in range(10_000):
        key = f"{dice.randrange(10**12):x}"
        by_cookie = number % 3 == 0
        headers = {"Cookie": f'a=b; session_id={key}; c="d"'} if by_cookie else {"X-User-Id": key, "Cookie": "session_id=x"}
        connection.request("GET", "/", headers=headers)
        response = connection.getresponse()
        answered_by = json.loads(response.read())["backend"]
        expected = "domain" if bucket_of(key.encode()) < threshold_of(35) else "legacy"
        assert (answered_by, response.getheader("X-Splitter-Backend")) == (expected, expected), headers
        sides.append(expected)
    connection.close()
    assert 0.34 < sides.count("domain") / len(sides) < 0.36


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/cameras/7/start",
        "/cameras/12/x/y?z=1",
        "/cameras/a%20b/",
        "/cameras//x",
        "/only/this",
        "/only/this/",
        "/below/",
        "/below/x?y",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"])
def test_every_rule_takes_what_is_its(both: Both, method: str, path: str) -> None:
    for user in USERS[:4]:
        both.ask(path, method, headers={"X-User-Id": user})


_FORCES = [
    "", "force_domain=true", "force_domain=FALSE", "force_domain=On", "force_domain=0", "force_domain=maybe",
    "force_domain=", "force_domain", "a=1&force_domain=yes&b=%2f&&c", "force_domain=no&force_domain=yes",
    "xforce_domain=true", "force_domain=%74rue", "a=force_domain=true", "user=u7&force_domain=1", "force_domain=off&",
]  # fmt: skip


@pytest.mark.parametrize(("query", "path"), list(product(_FORCES, ["/a%2Fb//c/../d", "/cameras/9/stop"])))
def test_forced_requests_and_what_is_left_of_their_query(both: Both, query: str, path: str) -> None:
    for user, method in product(USERS[:3], ["GET", "POST"]):
        both.ask(f"{path}?{query}", method, headers={"X-User-Id": user})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-User-Id": ""},
        {"X-User-Id": "", "Cookie": "session_id=abc"},
        {"x-user-id": "lower"},
        {"Cookie": "session_id="},
        {"Cookie": 'session_id=""'},
        {"Cookie": 'session_id="quoted"'},
        {"Cookie": "xsession_id=abc"},
        {"Cookie": "other=1;session_id=tight;more=2"},
        {"Cookie": "x=y;  session_id=blank"},
        {"Cookie": "session_id=one; session_id=two"},
    ],
    ids=str,
)
@pytest.mark.parametrize("query", ["", "?user=", "?user=u1", "?user=a%20b&user=c", "?user", "?users=1"])
def test_the_first_key_that_is_there_counts(both: Both, headers: dict[str, str], query: str) -> None:
    both.ask(f"/{query}", headers=headers)


# --- domain fails ---------------------------------------------------------------------------------------------------

_DOMAINS = next(user for user in USERS if bucket_of(user.encode()) < threshold_of(35))
_LEGACYS = next(user for user in USERS if bucket_of(user.encode()) >= threshold_of(35))


@pytest.mark.parametrize("user", [_DOMAINS, _LEGACYS])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("what", ["503", "502", "500", "404"])
def test_a_status_of_a_backend(both: Both, user: str, method: str, what: str) -> None:
    for failing in ("domain", "legacy"):
        found = both.ask("/", method, b"body", headers={"X-User-Id": user, "X-Do": f"{failing}={what}"})
        rescued = user == _DOMAINS and failing == "domain" and method != "POST" and what in ("502", "503")
        assert (found["why"] == "fallback") == rescued


@pytest.mark.parametrize("what", ["reset", "sleep"])
def test_a_request_that_domain_does_not_answer(both: Both, what: str) -> None:
    headers = {"X-User-Id": _DOMAINS, "X-Do": f"domain={what}"}
    for method in ("GET", "PUT"):
        found = both.ask("/", method, b"sent again", headers=headers)
        assert (found["status"], found["backend"], found["why"], found["body"]) == (200, "legacy", "fallback", "sent again")
    status, answered, body = ask(both.envoy.port, "/", "POST", b"once", headers)
    assert (status, answered["x-splitter-backend"], answered["x-splitter-reason"]) == (
        504 if what == "sleep" else 503, "domain", "bucket",
    )  # fmt: skip
    assert set(json.loads(body)["error"]) == {"code", "message", "request_id"}


def test_a_body_that_was_not_held_is_not_sent_again(both: Both) -> None:
    headers = {"X-User-Id": _DOMAINS, "X-Do": "domain=503"}
    assert both.ask("/", "PUT", b"x" * 1024, headers=headers)["why"] == "fallback"
    assert both.ask("/", "PUT", b"x" * 1200, headers=headers)["status"] == 503


def test_methods_that_a_route_may_repeat(both: Both) -> None:
    headers = {"X-User-Id": _DOMAINS, "X-Do": "domain=503"}
    assert both.ask("/below/x?force_domain=1", "GET", headers=headers)["why"] == "fallback"
    assert both.ask("/cameras/1/x?force_domain=1", "POST", b"", headers=headers)["status"] == 503
    assert both.ask("/below/x?force_domain=1", "POST", b"", headers=headers)["status"] == 503, "the route is not for POST"
    rescued = both.ask("/twice/x", "POST", b"twice", headers=headers)
    assert (rescued["status"], rescued["by"], rescued["why"]) == (200, "legacy", "fallback")
    assert both.ask("/twice/x", "PATCH", b"once", headers=headers)["status"] == 503


def test_domain_is_out_and_legacy_stands_in(folder: Path, urls: dict[str, str]) -> None:
    place = folder / "out"
    place.mkdir()
    (place / "splitter.yaml").write_text(
        "rollout: {percent: 100}\nbackends: {domain: {health: {interval: 200ms, unhealthy_after: 1, healthy_after: 1}}}"
    )
    with ExitStack() as life:
        domain = life.enter_context(backend(echo("domain", once=True)))
        environment = {**urls, "DOMAIN_URL": f"http://127.0.0.1:{domain}"}
        with envoy(place / "splitter.yaml", **environment) as running:
            assert _answer(running.port, "/")["why"] == "bucket"
            life.close()
            first = _answer(running.port, "/", "POST", b"never sent")
            assert (first["status"], first["by"]) == (200, "legacy"), "nobody had seen it"
            wait_until(lambda: bool(_answer(running.port, "/")["why"] == "unhealthy"))
            assert running.stat("cluster.domain.membership_healthy") == 0
            assert _answer(running.port, "/?force_domain=true")["why"] == "fallback", "as in the relay"


def test_legacy_gets_nothing_while_one_endpoint_of_domain_is_fit(folder: Path, urls: dict[str, str]) -> None:
    place = folder / "half"
    place.mkdir()
    probes = "{path: /up, interval: 200ms, unhealthy_after: 3, healthy_after: 1}"
    (place / "splitter.yaml").write_text(f"rollout: {{percent: 100}}\nbackends: {{domain: {{health: {probes}}}}}")
    ill = says(b"", status=b"503 Ill")
    with backend(ill) as second, backend(ill) as third:
        domain = [urls["DOMAIN_URL"], f"http://127.0.0.1:{second}", f"http://127.0.0.1:{third}"]
        with envoy(place / "splitter.yaml", **{**urls, "DOMAIN_URL": ",".join(domain)}) as running:
            wait_until(lambda: running.stat("cluster.domain.membership_healthy") == 1)
            for _ in range(60):
                found = _answer(running.port, "/", "POST", b"")
                assert (found["status"], found["backend"], found["why"]) == (200, "domain", "bucket")


def test_nobody_is_sent_to_domain_because_legacy_is_ill(folder: Path, urls: dict[str, str]) -> None:
    place = folder / "ill"
    place.mkdir()
    (place / "splitter.yaml").write_text(
        "rollout: {percent: 0}\nbackends: {legacy: {health: {interval: 200ms, unhealthy_after: 1}}}"
    )
    with envoy(place / "splitter.yaml", **{**urls, "LEGACY_URL": f"http://127.0.0.1:{free_port()}"}) as running:
        wait_until(lambda: running.stat("cluster.legacy.membership_healthy") == 0)
        for method in ("GET", "POST"):
            found = _answer(running.port, "/", method)
            assert (found["status"], found["by"], found["why"]) == (503, "legacy", "bucket")


# --- the switches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("switch", ["off", "rolled back", "nobody", "everybody", "not to be forced"])
def test_a_switch_of_the_running_splitter_is_taken_over(folder: Path, urls: dict[str, str], switch: str) -> None:
    place = folder / switch.replace(" ", "-")
    place.mkdir()
    config = CONFIG.replace("percent: 35", "percent: 100") if switch == "everybody" else CONFIG
    if switch == "not to be forced":
        config = config.replace("rollout:", "rollout:\n  force: off", 1)
    changed = {"USE_DOMAIN_SERVICE": "false"} if switch == "off" else {}
    with splitter(place, config, **urls, **changed, SPLITTER_WORKERS="0") as one:
        admin = ("--admin", f"127.0.0.1:{one.admin_port}")
        if switch == "rolled back":
            assert ask(one.admin_port, "/api/v1/rollout/rollback", "POST", b"{}")[0] == 200
        if switch == "nobody":
            assert ask(one.admin_port, "/api/v1/rollout/percent", "PUT", b'{"percent": 0}')[0] == 200
            assert ask(one.admin_port, "/api/v1/rollout/percent", "PUT", b'{"percent": 7, "route": "control"}')[0] == 200
        with envoy(place / "splitter.yaml", ("--as-running", *admin), **urls) as other:
            pair = Both(one, other)
            for user, path in product(USERS, ["/", "/?force_domain=true", "/cameras/3/x", "/cameras/4/x?force_domain=0"]):
                for method in ("GET", "POST"):
                    pair.ask(path, method, headers={"X-User-Id": user})
            pair.ask("/")


# --- everything around it -------------------------------------------------------------------------------------------


def test_what_a_proxy_in_front_says_counts_only_if_it_is_believed(folder: Path, urls: dict[str, str]) -> None:
    place = folder / "hops"
    place.mkdir()
    believed = "listen: {trusted_proxies: [127.0.0.1, 10.0.0.0/8]}\nrollout: {percent: 50, key: [client_ip]}\n"
    with splitter(place, believed, **urls, SPLITTER_WORKERS="0") as one, envoy(place / "splitter.yaml", **urls) as other:
        both = Both(one, other)
        sides = set()
        for number in range(12):
            for chain in (f"192.0.2.{number}", f"203.0.113.9, 192.0.2.{number}, 10.1.1.1"):
                found = both.ask("/", headers={"X-Forwarded-For": chain, "X-Forwarded-Proto": "https", "Via": "1.1 lb"})
                sides.add(found["backend"])
                assert ("x-forwarded-proto", "https") in found["fields"]
        assert sides == {"legacy", "domain"}
        for more in ({}, {"X-Forwarded-Host": "cameras.example"}):
            answers = [json.loads(ask(port, "/", headers={"Host": "me", **more})[2]) for port in (one.port, other.port)]
            hosts = [{name.lower(): value for name, value in told["fields"]}.get("x-forwarded-host") for told in answers]
            assert hosts == [more.get("X-Forwarded-Host", "me")] * 2


def test_the_head_of_a_request_goes_on_as_it_came(both: Both) -> None:
    forged = {"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Host": "evil", "X-Forwarded-Proto": "https"}
    ends_here = {"X-Splitter-Token": "secret", "Connection": "X-Hop", "X-Hop": "1"}
    headers = {"X-User-Id": "u", "user-AGENT": "q", "X-Request-Id": "mine", **forged, **ends_here}
    for port in (both.splitter.port, both.envoy.port):
        told = json.loads(ask(port, "/", headers=headers)[2])
        fields = dict(told["fields"])
        assert {"Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} <= set(fields)
        assert (fields["user-AGENT"], fields["X-Request-Id"]) == ("q", "mine")
        assert (fields["X-Forwarded-Host"], fields["X-Forwarded-For"]) == (f"127.0.0.1:{port}", "127.0.0.1")
        assert not {"X-Splitter-Token", "X-Hop", "x-envoy-external-address"} & set(fields)
        made = {name.lower(): value for name, value in json.loads(ask(port, "/")[2])["fields"]}
        assert len(made["x-request-id"]) >= 16


def test_the_head_of_a_response_comes_as_it_was_sent(both: Both) -> None:
    for port in (both.splitter.port, both.envoy.port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/", headers={"X-Do": "legacy=418", "X-User-Id": _LEGACYS})
        response = connection.getresponse()
        assert (response.status, response.reason) == (418, "Said")
        names = {name for name, _ in response.getheaders()}
        assert {"Content-Length", "X-Splitter-Backend", "X-Splitter-Reason"} <= names
        connection.close()


def test_limits_are_envoys_too(both: Both) -> None:
    for port in (both.splitter.port, both.envoy.port):
        assert ask(port, "/", headers={"X-Long": "x" * (64 << 10)})[0] == 431
        assert ask(port, "/", headers={f"X-{number}": "" for number in range(210)})[0] == 431


def test_the_splitters_own_paths_are_answered(both: Both) -> None:
    for path in ("health", "health/live", "health/ready", "metrics"):
        status, headers, body = ask(both.envoy.port, f"/api/v1/monitoring/{path}")
        assert (status, "x-splitter-backend" in headers) == (200, False)
        assert (b"envoy_cluster_upstream_rq_total" in body) == (path == "metrics")
    both.ask("/api/v1/monitoring/other", headers={"X-User-Id": _DOMAINS})


def test_a_websocket_goes_through_and_may_be_silent(folder: Path) -> None:
    def tunnel(connection: socketserver.StreamRequestHandler) -> None:
        head = read_head(connection).lower()
        if b"upgrade: websocket" not in head:
            connection.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return
        connection.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        while data := connection.rfile.read(4):
            connection.wfile.write(data[::-1])

    place = folder / "tunnel"
    place.mkdir()
    short = "{response_timeout: 300ms, idle_timeout: 300ms}"
    config = f"rollout: {{percent: 100}}\nbackends: {{domain: {short}, legacy: {short}}}"
    (place / "splitter.yaml").write_text(config)
    with backend(tunnel) as port, envoy(place / "splitter.yaml", DOMAIN_URL=f"http://127.0.0.1:{port}") as running:
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as client:
            client.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n")
            file = client.makefile("rb")
            head = b"".join(iter(file.readline, b"\r\n")).lower()
            assert b" 101 " in head
            assert b"x-splitter-backend: domain" in head
            time.sleep(1)  # far more than what a response may pause
            client.sendall(b"abcd")
            assert file.read(4) == b"dcba"


def test_the_access_log_has_the_words_of_ours(both: Both) -> None:
    target = "/logged?token=secret"
    both.ask(target, headers={"X-User-Id": _DOMAINS, "X-Request-Id": "find-me"})

    def lines(of: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [line for line in of if line.get("request_id") == "find-me"]

    wait_until(lambda: bool(lines(both.envoy.lines) and lines(both.splitter.events("request"))))
    (ours,), (envoys,) = lines(both.splitter.events("request")), lines(both.envoy.lines)
    assert set(ours) <= set(envoys)
    same = (
        "level",
        "event",
        "client",
        "method",
        "path",
        "status",
        "backend",
        "reason",
        "route",
        "upstream",
        "request_bytes",
    )
    assert [envoys[name] for name in same] == [ours[name] for name in same]
    assert "secret" not in json.dumps(envoys)


def test_tls_on_both_sides(folder: Path) -> None:
    place = folder / "tls"
    place.mkdir()
    authority, ours = trustme.CA(), trustme.CA()
    for name, of in (("authority", authority), ("ours", ours)):
        of.cert_pem.write_to_path(str(place / f"{name}.pem"))
    public, secret = authority.issue_cert("localhost"), ours.issue_cert("127.0.0.1", "backend.test")
    public.private_key_and_cert_chain_pem.write_to_path(str(place / "public.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    secret.configure_cert(context)
    plain = echo("domain", once=True)

    def secure(connection: socketserver.StreamRequestHandler) -> None:
        with context.wrap_socket(connection.request, server_side=True) as wrapped:
            connection.rfile, connection.wfile = wrapped.makefile("rb"), wrapped.makefile("wb")
            plain(connection)
            connection.wfile.flush()

    client = ssl.create_default_context()
    authority.configure_trust(client)

    def status(port: int) -> tuple[int, str | None]:
        connection = http.client.HTTPSConnection("localhost", port, context=client, timeout=10)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            return response.status, response.getheader("X-Splitter-Backend")
        finally:
            connection.close()

    with backend(secure) as port, backend(echo("legacy")) as legacy:
        urls = {"DOMAIN_URL": f"https://127.0.0.1:{port}", "LEGACY_URL": f"http://127.0.0.1:{legacy}"}
        for trusted, name, expected in (
            ("ours", "null", "domain"),
            ("ours", "backend.test", "domain"),
            ("ours", "other.test", "legacy"),
            ("authority", "null", "legacy"),
        ):
            (place / "splitter.yaml").write_text(
                f"listen: {{tls: {{cert: {place}/public.pem, key: {place}/public.pem}}}}\nrollout: {{percent: 100}}\n"
                f"backends: {{domain: {{tls: {{ca: {place}/{trusted}.pem, server_name: {name}}}}}}}\n"
            )
            with envoy(place / "splitter.yaml", **urls) as running:
                assert status(running.port) == (200, expected), (trusted, name)


def test_everything_at_once_is_taken_by_envoy(folder: Path) -> None:
    """What `tests/unit/test_envoy_resources.py` compares with: Envoy reads it, with real certificates in place."""
    place = folder / "everything"
    place.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(place / "ca.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(place / "pair.pem"))
    text = (ROOT / "tests" / "unit" / "test_envoy_resources.yaml").read_text("utf-8")
    for name in ("c", "k", "me"):
        text = text.replace(f"filename: /{name}.pem", f"filename: {place}/pair.pem")
    for name in ("ca", "backends"):
        text = text.replace(f"filename: /{name}.pem", f"filename: {place}/ca.pem")
    (place / "envoy.yaml").write_text(text)
    command = [ENVOY, "--mode", "validate", "-c", str(place / "envoy.yaml")]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stderr


def test_a_splitter_with_other_routes_is_not_taken_for_ours(folder: Path, urls: dict[str, str]) -> None:
    place = folder / "other"
    place.mkdir()
    with splitter(place, CONFIG, **urls, SPLITTER_WORKERS="0") as one:
        (place / "new.yaml").write_text("rollout: {routes: [{name: mine, path: /mine, percent: 1}]}")
        told = envoy_config(place / "new.yaml", "--as-running", "--admin", f"127.0.0.1:{one.admin_port}")
    assert (told.returncode, told.stdout) == (1, "")
    assert "runs other routes than this configuration has: below, control, exact, twice, not mine" in told.stderr
