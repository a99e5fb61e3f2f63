"""`splitter explain`: the answer of the router, told to a person or a program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from splitter.cli import main
from splitter.config import VARIABLES

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "buckets.json").read_text("utf-8"))
CONFIG = """
rollout:
  percent: 50
  key: ["header:X-User-Id", "cookie:sid", "jwt:sub", client_ip]
  routes:
    - {name: control, methods: [POST], path: "/cameras/{id}/*", percent: 100, key: ["path:id"]}
    - {name: nobody, path: "/closed/*", percent: 0}
listen: {trusted_proxies: [10.0.0.0/8]}
limits: {target_bytes: 64B}
"""
# alice is in bucket 9289, bob in 27 (`test_keys_are_where_the_tests_think`).
ALICE = ("-H", "X-User-Id: alice")
BOB = ("-H", "X-User-Id: bob")


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in VARIABLES:
        monkeypatch.delenv(variable.name, raising=False)
    (tmp_path / "a.yaml").write_text(CONFIG, "utf-8")
    monkeypatch.setenv("SPLITTER_CONFIG", "a.yaml")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["explain", *arguments])


def told(*arguments: str) -> dict[str, Any]:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert isinstance(answer, dict)
    return answer


def outcome(*arguments: str) -> tuple[str, str, str]:
    answer = told(*arguments)
    return answer["backend"], answer["reason"], answer["route"]


def test_the_clients_address_is_read_where_the_configuration_says(tmp_path: Path) -> None:
    fields = ("-H", "Forwarded: for=192.0.2.8", "-H", "X-Forwarded-For: 192.0.2.9", "--client-ip", "10.1.1.1")
    for forwarded, address in (("rfc7239", "192.0.2.8"), ("x", "192.0.2.9"), ("both", "192.0.2.9")):
        listen = f"listen: {{trusted_proxies: [10.0.0.0/8], forwarded: {forwarded}}}"
        (tmp_path / "a.yaml").write_text(CONFIG.replace("listen: {trusted_proxies: [10.0.0.0/8]}", listen), "utf-8")
        assert told("--url", "/", *fields)["key"] == address


def test_all_that_is_told_about_a_key() -> None:
    assert told("--key", "alice") == {
        "backend": "legacy",
        "reason": "bucket",
        "route": "default",
        "percent": 50.0,
        "threshold": 5000,
        "key": "alice",
        "key_source": None,
        "bucket": 9289,
        "to_domain_from_percent": 92.9,
        "force_ignored": False,
    }


def test_keys_are_where_the_tests_think() -> None:
    assert (told("--key", "alice")["bucket"], told("--key", "bob")["bucket"]) == (9289, 27)


@pytest.mark.parametrize("vector", [vector for vector in VECTORS["vectors"] if vector["key"]])
def test_golden_vectors(vector: dict[str, Any]) -> None:
    Path("a.yaml").write_text(json.dumps({"rollout": {"salt": vector["salt"]}}), "utf-8")
    assert told("--key", vector["key"])["bucket"] == vector["bucket"]


def test_a_key_moves_where_it_is_said_to_move() -> None:
    assert told("--key", "alice", "--percent", "92.89")["backend"] == "legacy"
    assert told("--key", "alice", "--percent", "92.9")["backend"] == "domain"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--key", "bob"], ("domain", "bucket", "default")),
        (["--key", "bob", "--percent", "0"], ("legacy", "bucket", "default")),
        (["--key", "alice", "--percent", "100"], ("domain", "bucket", "default")),
        (["--key", "bob", "--rolled-back"], ("legacy", "rollback", "default")),
        (["--url", "/", *BOB], ("domain", "bucket", "default")),
        (["--url", "/", *ALICE], ("legacy", "bucket", "default")),
        (["--url", "/", "--header", "x-user-id:bob"], ("domain", "bucket", "default")),
        (["--url", "http://cameras.example:8000/a?b=c#d", *BOB], ("domain", "bucket", "default")),
        (["--url", "http://cameras.example", *BOB], ("domain", "bucket", "default")),
        (["--url", "http://cameras.example?b=c", *BOB], ("domain", "bucket", "default")),
        (["--url", "/?next=http://a/b", *BOB], ("domain", "bucket", "default")),
        (["--url", "?b", *BOB], ("domain", "bucket", "default")),
        (["--url", "/", *BOB, "-H", "Host: cameras.example"], ("domain", "bucket", "default")),
        (["--url", "/"], ("legacy", "no_key", "default")),
        (["--url", "/", "-H", "X-User-Id:"], ("legacy", "no_key", "default")),
        (["--url", "/?force_domain=true", *ALICE], ("domain", "forced", "default")),
        (["--url", "/?force_domain=OFF", *BOB], ("legacy", "forced", "default")),
        (["--url", "/?force_domain=true", "--rolled-back"], ("legacy", "rollback", "default")),
        (["--url", "/cameras/alice/start", "-X", "POST"], ("domain", "bucket", "control")),
        (["--url", "/cameras/alice/start", "--method", "POST", "--percent", "0"], ("domain", "bucket", "control")),
        (["--url", "/cameras/alice/start", *ALICE], ("legacy", "bucket", "default")),
        (["--url", "/closed/", *BOB], ("legacy", "bucket", "nobody")),
        (["--url", "/api/v1/monitoring/health"], ("internal", "own", "internal")),
        (["--url", "/api/v1/monitoring/metrics?x", "--rolled-back"], ("internal", "own", "internal")),
    ],
)
def test_where_it_goes(arguments: list[str], expected: tuple[str, str, str]) -> None:
    assert outcome(*arguments) == expected


def test_nothing_goes_to_domain_when_it_is_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_DOMAIN_SERVICE", "false")
    assert outcome("--key", "bob", "--percent", "100") == ("legacy", "disabled", "default")
    assert outcome("--url", "/?force_domain=true", *BOB) == ("legacy", "disabled", "default")


@pytest.mark.parametrize(
    ("arguments", "source", "key"),
    [
        (["--key", "bob"], None, "bob"),
        (["--url", "/", *BOB, "-H", "Cookie: sid=alice"], "header:X-User-Id", "bob"),
        (["--url", "/", "-H", "Cookie: a=b", "-H", "Cookie: sid=bob"], "cookie:sid", "bob"),
        (["--url", "/", "-H", "Authorization: Bearer e30.eyJzdWIiOiJib2IifQ.x"], "jwt:sub", "bob"),
        (["--url", "/", "--client-ip", "192.0.2.1"], "client_ip", "192.0.2.1"),
        (["--url", "/", "--client-ip", "192.0.2.1", "-H", "X-Forwarded-For: 192.0.2.9"], "client_ip", "192.0.2.1"),
        (["--url", "/", "--client-ip", "10.1.1.1", "-H", "X-Forwarded-For: 192.0.2.9"], "client_ip", "192.0.2.9"),
        (["--url", "/", "--client-ip", "2001:DB8::1"], "client_ip", "2001:db8::1"),
        (["--url", "/cameras/bob/stop", "-X", "POST", *ALICE], "path:id", "bob"),
        (["--url", "/?force_domain=true", *BOB], "header:X-User-Id", "bob"),
        (["--url", "/"], None, None),
    ],
)
def test_which_key(arguments: list[str], source: str | None, key: str | None) -> None:
    answer = told(*arguments)
    assert (answer["key_source"], answer["key"]) == (source, key)
    assert (answer["bucket"] is None) == (key is None)


def test_a_force_that_is_not_heeded_is_said() -> None:
    assert told("--url", "/?force_domain=maybe", *BOB)["force_ignored"] is True
    assert "force_domain was ignored" in invoke("--url", "/?force_domain=maybe", *BOB).stdout
    assert told("--url", "/?force_domain=1", *BOB)["force_ignored"] is False


def test_forcing_with_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.yaml").write_text("rollout: {force: token}", "utf-8")
    monkeypatch.setenv("SPLITTER_ADMIN_TOKEN", "hunter2")
    forced = ["--url", "/?force_domain=true", *ALICE]
    assert outcome(*forced) == ("legacy", "bucket", "default")
    assert outcome(*forced, "-H", "X-Splitter-Token: hunter2") == ("domain", "forced", "default")


def test_for_people() -> None:
    result = invoke("--url", "/", *ALICE)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "goes to    legacy (bucket)\n"
        "key        alice, from header:X-User-Id\n"
        "bucket     9289 of 10000\n"
        "route      default, with 50 %\n"
        "threshold  5000: buckets below it go to domain\n"
        "moves      to domain at 92.9 %\n"
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--key", "bob", "--rolled-back"], "because    rolled back: nothing goes to domain"),
        (["--key", "bob", "--rolled-back"], "moves      to domain at 0.28 %, once resumed"),
        (["--url", "/?force_domain=true", *ALICE], "because    force_domain in the query says so"),
        (["--url", "/?force_domain=true", *ALICE], "moves      to domain at 92.9 %, when not forced"),
        (["--url", "/"], "note       a real request has an address: give it as --client-ip"),
        (["--url", "/api/v1/monitoring/health"], "because  the splitter answers this itself"),
        (["--url", "/", "-X", "OPTIONS", "-H", "Max-Forwards: 0"], "because  the splitter answers this itself"),
        (["--url", "/cameras/x/y", "-X", "POST"], "route      control, with 100 %"),
    ],
)
def test_what_people_are_told(arguments: list[str], line: str) -> None:
    assert line in invoke(*arguments).stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--url", "/", "-X", "CONNECT"], 405),
        (["--url", "/a b"], 400),
        (["--url", "/ä"], 400),
        (["--url", "/" + "x" * 64], 414),
        (["--url", "/", "-H", "Host: a", "-H", "Host: b"], 400),
        (["--url", "/", "-H", "Expect: magic"], 417),
        (["--url", "/", "-H", "Content-Length: 1", "-H", "Transfer-Encoding: chunked"], 400),
    ],
)
def test_what_the_splitter_would_refuse(arguments: list[str], status: int) -> None:
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"refused with {status}: ")
    as_json = invoke(*arguments, "--json")
    answer = json.loads(as_json.stdout)
    assert (as_json.exit_code, answer["backend"], answer["reason"], answer["status"]) == (1, "none", "refused", status)
    assert answer["error"] in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give either --key or --url"),
        (["--key", "a", "--url", "/"], "give either --key or --url"),
        (["--key", ""], "--key is empty"),
        (["--key", "a", "-X", "GET"], "they go with --url"),
        (["--key", "a", "-H", "A: b"], "they go with --url"),
        (["--key", "a", "--client-ip", "10.0.0.1"], "they go with --url"),
        (["--key", "a", "--percent", "101"], "must be a percent from 0 to 100"),
        (["--key", "a", "--percent", "1.234"], "at most two decimals"),
        (["--url", "/", "--client-ip", "here"], "'here' is no address"),
        (["--url", "cameras"], "must be a URL or begin with a slash"),
        (["--url", "/", "-H", "no colon"], "must look like 'Name: value'"),
        (["--url", "/", "-H", "A: b\r\nC: d"], "must look like 'Name: value'"),
    ],
)
def test_bad_usage(arguments: list[str], sentence: str) -> None:
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in " ".join(result.stderr.split())


def test_a_faulty_configuration_is_not_explained() -> None:
    Path("b.yaml").write_text("rollout: {percent: ten}", "utf-8")
    result = invoke("--key", "a", "--config", "b.yaml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "b.yaml:1: rollout.percent" in result.stderr
