"""What a rehearsal is made of: the copy's configuration, who the clients are, what they ask for."""

from __future__ import annotations

import functools
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitter.config import Config, load, parse
from splitter.rehearsal.clients import CLIENTS, Answer, Shape, evenly, shapes_of
from splitter.rehearsal.promises import Span, seen_by_clients
from splitter.rehearsal.script import FULLY_BROKEN_S, Addresses, Script, Trouble, write_script
from splitter.routing import BUCKETS, bucket_of, seed_of

ADDRESSES = Addresses(18000, 18090, "http://127.0.0.1:18001", "http://127.0.0.1:18002", "http://127.0.0.1:18003")
OWN = """
listen: {host: 0.0.0.0, port: 8000, trusted_proxies: [10.0.0.0/8]}
admin: {hosts: [splitter.example]}
backends:
  legacy: {urls: ["https://old.example"], tls: {verify: false}}
  domain: {urls: ["https://new.example"], eject: {consecutive_failures: 7}, response_timeout: 3s}
hooks: [{url: "https://chat.example/hook?key=hidden", secret_env: HOOK_SECRET}]
state: {url: "redis://:pass@redis.example/0"}
rollout:
  use_domain_service: false
  percent: 30
  force: token
  salt: "on"
  key: ["jwt:sub", "cookie:a", client_ip]
  confirm_secret_env: HOOK_SECRET
  routes:
    - {name: control, methods: [POST, PUT], path: "/c/{id}/*", percent: 5, key: ["path:id"], fallback_methods: [POST]}
    - {name: look, methods: [HEAD], path: "/look", percent: 3}
  plan:
    - {percent: 0, hold: 1h}
    - {percent: 2.5, hold: 1d, approve: true, routes: {control: 10}, limits: {min_requests: 500, error_rate_max: 0.02}}
    - {percent: 40, hold: 4d, confirm: "https://gate.example/may-go-on?key=hidden"}
    - {percent: 90, hold: 2d}
guardrails:
  {window: 5m, every: 10s, min_requests: 20, error_rate_max: 0.03, latency_p95_ratio_max: 3, bad_windows: 4, action: freeze}
fallback: {on: [connect, "502"], methods: [GET], budget: 0.1}
"""


def script_of(config: Config, trouble: Trouble = Trouble.ERRORS, speed: float = 1.0) -> Script:
    return write_script(config, trouble, speed)


def copy_of(text: str, speed: float = 1.0) -> Config:
    return parse(script_of(parse(text, "own", {}), speed=speed).configuration(ADDRESSES), "copy", {})


def test_nothing_of_it_leads_out_of_the_copy() -> None:
    text = script_of(parse(OWN, "own", {})).configuration(ADDRESSES)
    for outside in ("example", "hidden", "pass", "HOOK_SECRET", '8000"', "10.0.0.0"):
        assert outside not in text
    copy = parse(text, "copy", {})
    assert str(copy.listen.address) == "127.0.0.1:18000"
    assert str(copy.admin.address) == "127.0.0.1:18090"
    assert [str(url) for url in copy.backends.domain.urls] == ["http://127.0.0.1:18002"]
    assert [hook.url for hook in copy.hooks] == [ADDRESSES.hook]
    assert copy.rollout.plan[1].confirm == f"{ADDRESSES.hook}/may-go-on"
    assert copy.state.url == "file:state.json"


def test_what_decides_is_the_users() -> None:
    own, copy = parse(OWN, "own", {}), copy_of(OWN)
    assert [stage.percent for stage in copy.rollout.plan] == [2.5, 40, 90]
    assert copy.rollout.plan[0].routes == {"control": 10}
    assert (copy.rollout.plan[0].approve, copy.rollout.plan[1].approve) == (True, False)
    assert copy.rollout.plan[0].limits.error_rate_max == 0.02
    for name in ("key", "salt", "routes"):
        assert getattr(copy.rollout, name) == getattr(own.rollout, name)
    for name in ("error_rate_max", "error_rate_margin", "success_rate_min", "latency_p95_ratio_max", "bad_windows",
                 "consecutive_failures", "confidence", "action"):  # fmt: skip
        assert getattr(copy.guardrails, name) == getattr(own.guardrails, name)
    assert copy.fallback == own.fallback
    assert copy.backends.domain.eject.consecutive_failures == 7
    assert copy.backends.domain.response_timeout_s == 3.0


def test_what_is_compressed_is_said() -> None:
    script, copy = script_of(parse(OWN, "own", {})), copy_of(OWN)
    assert [stage.hold_s for stage in copy.rollout.plan] == [2.0, 4.0, 2.0]
    assert (copy.guardrails.window_s, copy.guardrails.every_s) == (2.0, 0.2)
    assert copy.guardrails.min_requests == 20
    assert copy.rollout.plan[0].limits.min_requests == 30
    assert copy.rollout.percent == 0
    assert copy.rollout.use_domain_service
    assert script.notes == (
        "holds of 2 s, 4 s, 2 s instead of yours",
        "windows of 2 s instead of 300 s, at least 30 requests in them",
        "use_domain_service is false in the configuration: on here, or nothing would go to domain",
    )


def test_half_the_speed_takes_twice_as_long() -> None:
    slow = copy_of(OWN, speed=0.5)
    assert [stage.hold_s for stage in slow.rollout.plan] == [4.0, 8.0, 4.0]
    assert (slow.guardrails.window_s, slow.guardrails.every_s) == (4.0, 0.4)


def test_without_a_plan_there_is_one_to_rehearse() -> None:
    script = script_of(Config())
    assert [stage.percent for stage in script.plan] == [10, 25, 50, 100]
    assert script.notes[0].startswith("there is no plan in the configuration")


@pytest.mark.parametrize("file", ["config/splitter.yaml"])
def test_the_shipped_configuration_can_be_rehearsed(file: str) -> None:
    config = load(Path(__file__).parents[2] / file, {})
    copy = parse(script_of(config).configuration(ADDRESSES), "copy", {})
    assert [stage.percent for stage in copy.rollout.plan] == [stage.percent for stage in config.rollout.plan]


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=12),
    st.sampled_from(list(Trouble)),
    st.sampled_from([0.1, 0.5, 1.0]),
    st.sampled_from([1, 20, 500, None]),
)
def test_every_plan_can_be_rehearsed(
    steps: list[int], trouble: Trouble, speed: float, consecutive_failures: int | None
) -> None:
    percents = [min(10_000, total) / 100 for total in itertools.accumulate(step * 20 for step in steps)]
    plan = [{"percent": percent, "hold": f"{number + 1}h"} for number, percent in enumerate(percents)]
    document = {"rollout": {"plan": plan}, "guardrails": {"consecutive_failures": consecutive_failures}}
    script = write_script(parse(json.dumps(document), "own", {}), trouble, speed)
    copy = parse(script.configuration(ADDRESSES), "copy", {})
    assert [stage.percent for stage in copy.rollout.plan] == percents
    assert script.act_within_s >= FULLY_BROKEN_S
    assert all(stage.hold_s is not None and 2 <= stage.hold_s * speed <= 4 for stage in copy.rollout.plan)


@pytest.mark.parametrize(
    ("on", "failure"),
    [("[connect, '503', '502']", 503), ("['502']", 502), ("[connect, reset]", 0), ("[connect]", 503), ("[]", 503)],
)
def test_domain_fails_in_a_way_that_may_fall_back(on: str, failure: int) -> None:
    assert script_of(parse(f"fallback: {{on: {on}}}", "own", {})).failure == failure


def test_a_slow_domain_is_slower_than_any_limit() -> None:
    script = script_of(parse("guardrails: {latency_p95_ratio_max: 20, latency_margin: 100ms}", "own", {}), Trouble.SLOW)
    assert script.slow_s > 0.1 + 20 * 0.012


# --- the clients ------------------------------------------------------------------------------------------------------


@functools.cache
def names_of(salt: str) -> list[str]:
    return evenly((f"client-{number}" for number in itertools.count()), seed_of(salt))


@given(st.integers(1, 9_999), st.sampled_from(["", "2026", "on"]))
def test_a_percent_of_buckets_is_that_percent_of_clients(threshold: int, salt: str) -> None:
    names, seed = names_of(salt), seed_of(salt)
    assert len(set(names)) == CLIENTS
    on_domain = sum(bucket_of(name.encode(), seed) < threshold for name in names)
    assert abs(on_domain - CLIENTS * threshold / BUCKETS) <= 1


def test_every_route_is_asked_for() -> None:
    config = parse(OWN, "own", {})
    assert shapes_of(config.rollout, script_of(config)) == (
        Shape("default", "GET", "/rehearsal", rescued=True),
        Shape("default", "POST", "/rehearsal", rescued=False),
        Shape("control", "POST", "/c/{id}/rehearsal", rescued=True),
        Shape("look", "HEAD", "/look", rescued=False),
    )


def test_nothing_is_rescued_where_nothing_falls_back() -> None:
    config = parse("fallback: {on: []}", "own", {})
    assert not any(shape.rescued for shape in shapes_of(config.rollout, script_of(config)))


# --- what the clients saw ---------------------------------------------------------------------------------------------

READ = Shape("default", "GET", "/", rescued=True)
WRITE = Shape("default", "POST", "/", rescued=False)
SPANS = (Span(10.0, 100.0, 200.0), Span(50.0, 200.0, 300.0))


def answers_of(*changed: Answer) -> list[Answer]:
    """A hundred clients in two stages, as it should be, and then some."""
    good = [
        Answer(client, READ, at_s, 0.01, 200, "domain" if client < on_domain else "legacy", "bucket")
        for at_s, on_domain in ((150.0, 10), (250.0, 50))
        for client in range(100)
    ]
    return sorted([*good, *changed], key=lambda answer: answer.at_s)


def broken(answers: list[Answer], spans: tuple[Span, ...] = SPANS) -> list[str]:
    return [promise.name for promise in seen_by_clients(answers, spans) if not promise.kept]


def test_promises_are_kept() -> None:
    kept = list(seen_by_clients(answers_of(), SPANS))
    assert [promise.detail for promise in kept if promise.kept] == [
        "0 of 200 requests (GET); legacy answered 0 for domain",
        "10.0 % at 10 %, 50.0 % at 50 %",
        "0 of 50 clients went back",
    ]


@pytest.mark.parametrize(("status", "reason"), [(503, "bucket"), (0, "TimeoutError")])
def test_an_error_breaks_a_promise_where_legacy_may_answer(status: int, reason: str) -> None:
    error = Answer(3, READ, 160.0, 0.01, status, "domain", reason)
    assert broken(answers_of(error)) == ["no client sees an error where legacy may answer"]
    of_a_write = Answer(3, WRITE, 160.0, 0.01, status, "domain", reason)
    assert broken(answers_of(of_a_write)) == []


def test_too_many_on_domain_break_a_promise() -> None:
    more = [Answer(client, READ, 160.0, 0.01, 200, "domain", "bucket") for client in (20, 21)]
    assert broken(answers_of(*more)) == ["each stage has as many clients on domain as it says"]
    assert broken(answers_of(), ()) == ["each stage has as many clients on domain as it says"]


def test_a_client_that_goes_back_breaks_a_promise() -> None:
    back = Answer(5, READ, 260.0, 0.01, 200, "legacy", "bucket")
    assert broken(answers_of(back)) == ["nobody changes sides while the percent grows"]
    rescued = Answer(5, READ, 255.0, 0.01, 200, "legacy", "fallback")
    there_again = Answer(5, READ, 256.0, 0.01, 200, "domain", "bucket")
    assert broken(answers_of(rescued, there_again)) == []
    before_the_rollback = Answer(30, READ, 50.0, 0.01, 200, "domain", "bucket")
    assert broken(answers_of(before_the_rollback)) == []
