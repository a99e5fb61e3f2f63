"""Faulty values: every fault of a file is told, with its line, its dotted path and a sentence.

The cases stand in test_config_faults.txt, one paragraph each.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from splitter.config import parse
from splitter.errors import ConfigError, Fault


def _cases() -> list[tuple[str, str, list[str]]]:
    """(what is wrong, the file, its faults) of each paragraph."""
    cases = []
    for paragraph in Path(__file__).with_suffix(".txt").read_text("utf-8").split("\n== ")[1:]:
        name, *lines = paragraph.rstrip("\n").split("\n")
        text = "\n".join(line for line in lines if not line.startswith("=> "))
        cases.append((name, text, [line.removeprefix("=> ") for line in lines if line.startswith("=> ")]))
    return cases


CASES = _cases()


def faults_of(text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        parse(text, "f.yaml", environ or {})
    return [str(fault).removeprefix("f.yaml:") for fault in refused.value.faults]


def test_there_are_cases() -> None:
    assert len(CASES) > 140
    assert len({name for name, _, _ in CASES}) == len(CASES)


@pytest.mark.parametrize(("text", "faults"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_every_fault_is_told(text: str, faults: list[str]) -> None:
    assert faults
    assert faults_of(text) == faults


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            f"admin: {{host: 'unix:/{'x' * 107}'}}",
            "admin.host: the path of a unix socket has at most 107 bytes, this one 108",
        ),
        (f"listen: {{port: {'9' * 70}}}", "listen.port: is no whole number that could be used"),
        (f"rollout: {{salt: {'x' * 257}}}", "rollout.salt: has at most 256 characters, this one 257"),
    ],
)
def test_what_is_too_long_is_not_repeated(text: str, fault: str) -> None:
    assert faults_of(text) == [f"1: {fault}"]


def test_all_faults_at_once_in_the_order_of_the_lines() -> None:
    text = """\
rollout:
  percent: ten
  prcent: 4
  routes:
    - {name: default, path: x, percent: 3}
    - {name: a, path: "/a/{b}/*", percent: 3, key: ["path:c", "hedaer:x"]}
    - {name: a, path: "/a/{b}/*", percent: 3, key: ["path:b"]}
    - {name: a, path: "/a/{b}/*", percent: 3, key: ["path:b"]}
  plan:
    - {percent: 50}
    - {percent: 10, hold: 1d, routes: {a: 4, c: 5}}
    - {percent: 60, hold: 1d, routes: {a: 3, b: 5}}
fallback: {on: [502, connect, conect]}
guardrails:
  window: 1s
"""
    assert faults_of(text, {"SPLITTER_WORKERS": "x", "SPLITTER_ADMIN_LISTEN": "0.0.0.0:8000"}) == [
        '2: rollout.percent: must be a percent from 0 to 100, not "ten"',
        "3: rollout.prcent: unknown key; did you mean percent?",
        "5: rollout.routes[0].name: default is the splitter's own name for other requests; choose another",
        '5: rollout.routes[0].path: must begin with a slash, not "x"',
        "6: rollout.routes[1].key[1]: must begin with one of header, cookie, query, path, client_ip, jwt,"
        ' not "hedaer:x"; did you mean header?',
        "7: rollout.routes[2].name: a is the name of an earlier route too",
        "8: rollout.routes[3].name: a is the name of an earlier route too",
        "10: rollout.plan[0]: needs a hold, as every stage but the last does, or approve: true",
        "11: rollout.plan[1].percent: falls from 50 to 10: a plan only goes up, a rollback goes down",
        '11: rollout.plan[1].routes.c: there is no route "c" in rollout.routes',
        "12: rollout.plan[2].routes.a: falls from 4 to 3: a plan only goes up, a rollback goes down",
        '12: rollout.plan[2].routes.b: there is no route "b" in rollout.routes',
        '13: fallback.on[2]: must be connect, timeout, reset or a status from 400 to 599, not "conect"; did you mean'
        " connect?",
        "15: guardrails.window: the window (1s) is shorter than `every` (2s)",
        'SPLITTER_WORKERS: listen.workers: must be auto or a whole number from 0 to 256, not "x"',
        "SPLITTER_ADMIN_LISTEN: admin.port: the public side (0.0.0.0:8000) and the admin side (0.0.0.0:8000) can't share"
        " an address",
        "SPLITTER_ADMIN_LISTEN: admin.host: other machines can reach 0.0.0.0:8000, so set SPLITTER_ADMIN_TOKEN,"
        " or listen on 127.0.0.1",
    ]


def test_a_faulty_item_does_not_shift_the_indexes_of_the_others() -> None:
    routes = "\n".join(
        f"    - {{name: {name}, path: /{name}, percent: {percent}}}"
        for name, percent in [("a", "x"), ("b", 1), ("c", "x"), ("b", 1)]
    )
    assert faults_of(f"rollout:\n  routes:\n{routes}\n") == [
        '3: rollout.routes[0].percent: must be a percent from 0 to 100, not "x"',
        '5: rollout.routes[2].percent: must be a percent from 0 to 100, not "x"',
        "6: rollout.routes[3].name: b is the name of an earlier route too",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "rollout: {routes: [{name: a, path: /a, percent: x}], plan: [{percent: 1, routes: {a: 1}}]}",
        "listen: {host: 'a b', port: 8090}",
        "listen: {port: 8001}\nbackends: {legacy: {urls: [x]}}",
        "guardrails: {window: 1s, every: x}",
        "rollout: {plan: [{percent: 5, approve: x}, {percent: 6}]}",
    ],
)
def test_a_fault_brings_no_second_one_about_what_rests_on_it(text: str) -> None:
    assert len(faults_of(text)) == 1


def test_a_fault_has_parts_for_programs() -> None:
    instead = "relay, or an Envoy that nobody steers: `splitter envoy-config` prints its configuration"
    with pytest.raises(ConfigError) as refused:
        parse("rollout:\n  percent: 101\n", "a.yaml", {"SPLITTER_ENGINE": "xds"})
    assert refused.value.faults == (
        Fault("rollout.percent", "must be a percent from 0 to 100, not 101", "a.yaml", 2),
        Fault("engine", f"xds is not built yet in this version; use {instead}", "SPLITTER_ENGINE", 0),
    )


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("admin: {token: hunter2}", {}),
        ("backends: {legacy: {urls: ['http://u:hunter2@a:b']}}", {}),
        ("state: {url: 'redis://:hunter2@a:b/0'}", {}),
        ("state: {url: 'hunter2'}", {}),
        ("", {"SPLITTER_ADMIN_TOKEN": "hunter2 \x01"}),
        ("", {"SPLITTER_STATE_URL": "redis://u:hunter2@/"}),
        ("", {"DOMAIN_URL": "http://u:hunter2@a,http://hunter2@b"}),
    ],
)
def test_no_secret_is_in_a_fault(text: str, environ: dict[str, str]) -> None:
    faults = faults_of(text, environ)
    assert faults
    assert "hunter2" not in "".join(faults)
