"""Buckets, keys, templates and the precedence table."""

from __future__ import annotations

import base64
import itertools
import json
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh64_hexdigest

from splitter.config import KeySource
from splitter.keys import cookie_value, jwt_claim, query_value
from splitter.routing import (
    BUCKETS,
    DEFAULT_ROUTE,
    OWN_PATHS,
    Backend,
    Decision,
    Force,
    Reason,
    Router,
    Rule,
    Table,
    bucket_of,
    compile_template,
    forced_side,
    seed_of,
    without_force,
)

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "buckets.json").read_text(encoding="utf-8"))["vectors"]
USER = KeySource("header", "X-User-Id")


@dataclass
class Asked:
    method: bytes = b"GET"
    path: bytes = b"/"
    query: bytes = b""
    fields: dict[bytes, bytes] = field(default_factory=dict)


def table(percent: float, *sources: KeySource) -> Table:
    return Table(Rule(DEFAULT_ROUTE, round(percent * 100), sources or (USER,)))


def decide(where: Table, asked: Asked, peer: str = "192.0.2.1", *, ejected: bool = False) -> Decision:
    return Router(where).decide(asked, peer, domain_ejected=ejected)


def user(name: str, **more: bytes) -> Asked:
    return Asked(fields={b"x-user-id": name.encode()}, **more)


# --- buckets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['salt']}/{v['key'][:12]!r}")
def test_golden_vectors(vector: dict[str, str | int]) -> None:
    assert bucket_of(str(vector["key"]).encode(), seed_of(str(vector["salt"]))) == vector["bucket"]


@pytest.mark.parametrize(
    ("text", "digest"), [(b"", "ef46db3751d8e999"), (b"a", "d24ec4f1a98c6e5b"), (b"abc", "44bc2cf5ad770999")]
)
def test_the_hash_is_xxh64_as_published(text: bytes, digest: str) -> None:
    assert xxh64_hexdigest(text) == digest
    assert bucket_of(text) == int(digest, 16) % BUCKETS


def test_buckets_are_uniform() -> None:
    counts = [0] * 100
    for number in range(100_000):
        counts[bucket_of(b"user-%d" % number) // 100] += 1
    chi_square = sum((count - 1000) ** 2 / 1000 for count in counts)
    assert chi_square < 148.2, "99 degrees of freedom, p = 0.001"


@given(st.text(min_size=1), st.integers(0, BUCKETS), st.integers(0, BUCKETS), st.text())
def test_a_growing_percent_never_moves_a_client_back(key: str, one: int, other: int, salt: str) -> None:
    low, high = sorted((one, other))
    asked = Asked(fields={b"x-user-id": key.encode("utf-8", "surrogatepass")})
    sides = [
        decide(replace(table(0), default=Rule(DEFAULT_ROUTE, threshold, (USER,)), seed=seed_of(salt)), asked).backend
        for threshold in (low, high)
    ]
    assert sides != [Backend.DOMAIN, Backend.LEGACY]


@given(st.binary(min_size=1))
def test_0_and_100_are_exact(key: bytes) -> None:
    asked = Asked(fields={b"x-user-id": key})
    assert decide(table(0), asked).backend is Backend.LEGACY
    assert decide(table(100), asked).backend is Backend.DOMAIN


@given(st.binary(min_size=1), st.integers(0, BUCKETS))
def test_domain_if_and_only_if_the_bucket_is_below_the_threshold(key: bytes, threshold: int) -> None:
    decision = decide(table(threshold / 100), Asked(fields={b"x-user-id": key}))
    assert decision.bucket == bucket_of(key)
    assert (decision.backend is Backend.DOMAIN) == (decision.bucket < threshold)


@pytest.mark.parametrize("percent", [0.01, 0.5, 1, 10, 25, 33.33, 50, 99.99])
def test_the_share_is_the_percent(percent: float) -> None:
    router = Router(table(percent))
    on_domain = sum(router.decide(user(f"user-{n}"), "").backend is Backend.DOMAIN for n in range(20_000))
    expected = 20_000 * percent / 100
    deviation = (20_000 * percent / 100 * (1 - percent / 100)) ** 0.5
    assert abs(on_domain - expected) <= 4 * deviation + 1


def test_a_salt_chooses_other_clients() -> None:
    plain = {n for n in range(2000) if bucket_of(b"u%d" % n) < 1000}
    salted = {n for n in range(2000) if bucket_of(b"u%d" % n, seed_of("other")) < 1000}
    assert len(plain & salted) < len(plain) * 0.3


# --- the precedence table -------------------------------------------------------------------------------------------

_FORCES = {None: b"", True: b"force_domain=true", False: b"force_domain=false"}


@pytest.mark.parametrize(
    ("enabled", "rolled_back", "forced", "threshold", "ejected"),
    list(itertools.product([True, False], [True, False], [None, True, False], [0, BUCKETS], [True, False])),
)
def test_every_combination_of_the_switches(
    enabled: bool, rolled_back: bool, forced: bool | None, threshold: int, ejected: bool
) -> None:
    where = Table(Rule(DEFAULT_ROUTE, threshold, (USER,)), domain_enabled=enabled, rolled_back=rolled_back)
    decision = decide(where, user("u", query=_FORCES[forced]), ejected=ejected)
    expected: tuple[Backend, Reason]
    if not enabled:
        expected = (Backend.LEGACY, Reason.DISABLED)
    elif rolled_back:
        expected = (Backend.LEGACY, Reason.ROLLBACK)
    elif forced is not None:
        expected = (Backend.DOMAIN if forced else Backend.LEGACY, Reason.FORCED)
    elif threshold == 0:
        expected = (Backend.LEGACY, Reason.BUCKET)
    elif ejected:
        expected = (Backend.LEGACY, Reason.UNHEALTHY)
    else:
        expected = (Backend.DOMAIN, Reason.BUCKET)
    assert (decision.backend, decision.reason) == expected


@pytest.mark.parametrize("path", sorted(OWN_PATHS))
def test_own_paths_come_before_everything(path: bytes) -> None:
    where = replace(table(100), domain_enabled=False)
    assert decide(where, Asked(path=path, query=b"force_domain=true")).backend is Backend.INTERNAL


@pytest.mark.parametrize("path", [b"/api/v1/monitoring", b"/api/v1/monitoring/health/", b"/api/v1/monitoring/healthy"])
def test_only_own_paths_are_own(path: bytes) -> None:
    assert decide(table(0), Asked(path=path)).backend is Backend.LEGACY


def test_without_a_key_the_request_stays_on_legacy() -> None:
    for percent in (0, 50, 100):
        decision = decide(table(percent), Asked())
        assert (decision.backend, decision.reason, decision.bucket) == (Backend.LEGACY, Reason.NO_KEY, -1)


@pytest.mark.parametrize("value", ["true", "1", "yes", "on", "TRUE", "Yes", "oN"])
def test_forced_to_domain(value: str) -> None:
    decision = decide(table(0), user("u", query=f"a&force_domain={value}".encode()))
    assert (decision.backend, decision.reason) == (Backend.DOMAIN, Reason.FORCED)


@pytest.mark.parametrize("value", ["false", "0", "no", "off", "FALSE", "No", "oFF"])
def test_forced_to_legacy(value: str) -> None:
    decision = decide(table(100), user("u", query=f"force_domain={value}&b".encode()))
    assert (decision.backend, decision.reason) == (Backend.LEGACY, Reason.FORCED)


@pytest.mark.parametrize("query", [b"force_domain=maybe", b"force_domain=", b"force_domain", b"force_domain=tr%75e"])
def test_another_value_is_ignored_and_reported(query: bytes) -> None:
    decision = decide(table(100), user("u", query=query))
    assert (decision.reason, decision.force_ignored) == (Reason.BUCKET, True)


@pytest.mark.parametrize("query", [b"xforce_domain=true", b"force_domains=true", b"a=force_domain=true", b"Force_Domain=1"])
def test_other_parameters_force_nothing(query: bytes) -> None:
    decision = decide(table(0), user("u", query=query))
    assert (decision.reason, decision.force_ignored) == (Reason.BUCKET, False)


def test_the_first_force_counts() -> None:
    assert forced_side(b"force_domain=no&force_domain=yes") is False


@pytest.mark.parametrize(
    ("force", "token", "given", "reason"),
    [
        (Force.OPEN, b"", b"", Reason.FORCED),
        (Force.OFF, b"", b"", Reason.BUCKET),
        (Force.TOKEN, b"secret", b"secret", Reason.FORCED),
        (Force.TOKEN, b"secret", b"wrong", Reason.BUCKET),
        (Force.TOKEN, b"secret", b"", Reason.BUCKET),
        (Force.TOKEN, b"", b"", Reason.BUCKET),
    ],
)
def test_who_may_force(force: Force, token: bytes, given: bytes, reason: Reason) -> None:
    asked = Asked(query=b"force_domain=true", fields={b"x-user-id": b"u", b"x-splitter-token": given})
    decision = decide(replace(table(0), force=force, token=token), asked)
    assert decision.reason is reason
    assert decision.force_ignored == (reason is Reason.BUCKET)


# --- force in the target --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "left"),
    [
        (b"/a?force_domain=true", b"/a"),
        (b"/a?force_domain=true&b=1", b"/a?b=1"),
        (b"/a?b=1&force_domain=true", b"/a?b=1"),
        (b"/a?b=%20&force_domain=1&c", b"/a?b=%20&c"),
        (b"/a?force_domain=1&force_domain=0", b"/a"),
        (b"/a?&force_domain=1", b"/a?"),
        (b"/a?force_domain", b"/a"),
        (b"/a?xforce_domain=1&force_domains=2", b"/a?xforce_domain=1&force_domains=2"),
        (b"/force_domain=1", b"/force_domain=1"),
        (b"/a?b?force_domain=1", b"/a?b?force_domain=1"),
        (b"/a?", b"/a?"),
    ],
)
def test_force_is_taken_out(target: bytes, left: bytes) -> None:
    assert without_force(target) == left


_PART = st.text("ab=%?/~", max_size=5).map(str.encode)


@given(st.lists(_PART, max_size=6), st.integers(0, 6))
def test_nothing_else_is_touched(parts: list[bytes], place: int) -> None:
    with_force = [*parts[:place], b"force_domain=true", *parts[place:]]
    assert without_force(b"/p?" + b"&".join(with_force)) == (b"/p?" + b"&".join(parts) if parts else b"/p")


# --- keys -----------------------------------------------------------------------------------------------------------


def jwt(payload: object) -> bytes:
    body = base64.urlsafe_b64encode(json.dumps(payload).encode()).rstrip(b"=")
    return b"Bearer e30." + body + b".c2ln"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"a=1; session_id=x; b=2", b"x"),
        (b"session_id=x", b"x"),
        (b'session_id="x y"', b"x y"),
        (b"session_id=a=b", b"a=b"),
        (b"xsession_id=1; session_id=2", b"2"),
        (b"session_id=1; session_id=2", b"1"),
        (b"session_id", None),
        (b"Session_Id=1", None),
        (b"", None),
    ],
)
def test_cookies(header: bytes, value: bytes | None) -> None:
    assert cookie_value(header, b"session_id") == value


@pytest.mark.parametrize(
    ("query", "value"), [(b"a=1&u=2", b"2"), (b"u=%20", b"%20"), (b"u", b""), (b"u=a=b", b"a=b"), (b"xu=1", None)]
)
def test_query_parameters(query: bytes, value: bytes | None) -> None:
    assert query_value(query, b"u") == value


@pytest.mark.parametrize(
    ("authorization", "value"),
    [
        (jwt({"sub": "alice"}), b"alice"),
        (jwt({"sub": 42}), b"42"),
        (jwt({"sub": "摄像头"}), "摄像头".encode()),
        (jwt({"sub": True}), None),
        (jwt({"sub": None}), None),
        (jwt({"sub": ["a"]}), None),
        (jwt({"sub": 1.5}), None),
        (jwt({}), None),
        (jwt([1]), None),
        (jwt({"sub": "a"}).replace(b"Bearer", b"bearer"), b"a"),
        (jwt({"sub": "a"}).replace(b"Bearer", b"Basic"), None),
        (b"Bearer abc", None),
        (b"Bearer a.!!!.c", None),
        (b"Bearer a." + b"A" * 5 + b".c", None),
        (b"Bearer a." + base64.urlsafe_b64encode(b"[" * 100_000) + b".c", None),
        (b"", None),
    ],
)
def test_jwt_claims(authorization: bytes, value: bytes | None) -> None:
    assert jwt_claim(authorization, "sub") == value


TRUSTED = (ip_network("10.0.0.0/8"),)


def test_the_first_key_present_is_used() -> None:
    sources = (USER, KeySource("cookie", "session_id"), KeySource("query", "u"), KeySource("client_ip", ""))
    router = Router(table(50, *sources))
    everything = Asked(query=b"u=q", fields={b"x-user-id": b"h", b"cookie": b"session_id=c"})
    assert router.find_key(everything, "192.0.2.1").key == b"h"
    del everything.fields[b"x-user-id"]
    assert router.find_key(everything, "192.0.2.1").key == b"c"
    everything.fields[b"cookie"] = b"session_id="
    assert router.find_key(everything, "192.0.2.1").key == b"q", "an empty key would put all who have it into one bucket"
    everything.query = b""
    found = router.find_key(everything, "192.0.2.1")
    assert (found.key, found.source) == (b"192.0.2.1", sources[3])
    assert router.find_key(everything, "").source is None


def test_find_key_tells_what_decide_uses() -> None:
    router = Router(table(50))
    asked = user("alice")
    assert router.decide(asked, "").bucket == bucket_of(router.find_key(asked, "").key)


# --- routes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "path", "params"),
    [
        ("/a", "/a", {}),
        ("/a", "/a/", None),
        ("/a", "/ab", None),
        ("/a/{x}", "/a/1", {"x": b"1"}),
        ("/a/{x}", "/a/", None),
        ("/a/{x}", "/a/1/2", None),
        ("/a/{x}/b", "/a/1/b", {"x": b"1"}),
        ("/a/{x}/{y}", "/a/1/2", {"x": b"1", "y": b"2"}),
        ("/a/{x}/*", "/a/1/b/c", {"x": b"1"}),
        ("/a/{x}/*", "/a/1/", {"x": b"1"}),
        ("/a/{x}/*", "/a/1", None),
        ("/a*", "/abc/d", {}),
        ("/a.b", "/axb", None),
        ("/a(b)", "/a(b)", {}),
        ("/{x}", "/%2F", {"x": b"%2F"}),
        ("/*", "/", {}),
    ],
)
def test_templates(template: str, path: str, params: dict[str, bytes] | None) -> None:
    found = compile_template(template).fullmatch(path.encode())
    assert (found.groupdict() if found else None) == params


def routed() -> Router:
    control = Rule("control", 10_000, (KeySource("path", "id"),), frozenset({b"POST"}), "/cameras/{id}/*")
    every = Rule("cameras", 0, (USER,), frozenset(), "/cameras*")
    return Router(replace(table(50), routes=(control, every)))


def test_a_route_has_its_own_percent_and_key() -> None:
    decision = routed().decide(Asked(b"POST", b"/cameras/7/start"), "")
    assert (decision.backend, decision.route, decision.bucket) == (Backend.DOMAIN, "control", bucket_of(b"7"))


def test_a_routes_method_counts() -> None:
    assert routed().decide(user("u", path=b"/cameras/7/start"), "").route == "cameras"


def test_other_paths_use_the_global_percent() -> None:
    assert routed().decide(user("u", path=b"/other"), "").route == DEFAULT_ROUTE


def test_the_switches_cover_every_route() -> None:
    where = replace(routed().table, rolled_back=True)
    decision = decide(where, Asked(b"POST", b"/cameras/7/start", b"force_domain=true"))
    assert (decision.backend, decision.reason, decision.route) == (Backend.LEGACY, Reason.ROLLBACK, "control")


@settings(max_examples=200)
@given(st.binary(max_size=200), st.binary(max_size=50), st.dictionaries(st.binary(max_size=10), st.binary(max_size=50)))
def test_no_request_breaks_the_router(path: bytes, query: bytes, fields: dict[bytes, bytes]) -> None:
    sources = (
        KeySource("jwt", "sub"),
        KeySource("header", "x"),
        KeySource("cookie", "c"),
        KeySource("query", "q"),
        KeySource("client_ip", ""),
    )
    asked = Asked(b"GET", path, query, {b"authorization": b"Bearer " + path, b"x-forwarded-for": query, **fields})
    decision = decide(replace(table(50, *sources), trusted_proxies=TRUSTED), asked, "10.0.0.1")
    assert decision.backend in {Backend.LEGACY, Backend.DOMAIN, Backend.INTERNAL}
