"""The configuration in Envoy's words: what is refused, what is told, the shape of the whole.

`tests/process/test_envoy.py` has a real one carry it out.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from splitter.cli import main
from splitter.config import VARIABLES, Config, TcpAddress, load, parse
from splitter.control.table import table_of
from splitter.envoy import bootstrap, differences, refusals

PAGE = Path(__file__).parents[2] / "docs" / "fleet.md"
GOLDEN = Path(__file__).with_name("test_envoy_resources.yaml")
ADMIN = TcpAddress("127.0.0.1", 9901)
EVERYTHING = """
listen:
  port: 8443
  trusted_proxies: [10.0.0.0/8, "2001:db8::/32"]
  tls: {cert: /c.pem, key: /k.pem, min_version: "1.3", client_ca: /ca.pem}
backends:
  legacy: {urls: ["http://10.0.0.1:8001", "http://10.0.0.2:8001"], connect_timeout: 250ms}
  domain:
    urls: ["https://cameras.example", "https://[2001:db8::5]:8443"]
    max_connections: 7
    health: {path: "/up?deep=1", interval: 1s, timeout: 300ms, healthy_after: 3, unhealthy_after: 4}
    eject: {consecutive_failures: 6, for: 500ms}
    tls: {ca: /backends.pem, cert: /me.pem}
rollout:
  percent: 12.34
  key: ["header:X-User-Id", client_ip]
  routes:
    - {name: control, methods: [POST, PUT], path: "/cameras/{camera_id}/x.y/*", percent: 60, key: ["path:camera_id"],
       fallback_methods: [POST]}
fallback: {on: [connect, timeout, reset, "429", "503"], methods: [GET], max_body: 2KiB, budget: 0.05}
limits: {header_bytes: 17KiB, headers: 50, header_timeout: 3s, keepalive_timeout: 20s}
access_log: {sample: 0.25}
"""


def read(text: str) -> Config:
    return parse(text, "a.yaml", {})


def resources(text: str) -> dict[str, Any]:
    config = read(text)
    assert refusals(config) == ()
    return bootstrap(config, table_of(config), ADMIN)


def routes(text: str) -> list[dict[str, Any]]:
    (chain,) = resources(text)["static_resources"]["listeners"][0]["filter_chains"]
    (host,) = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    found: list[dict[str, Any]] = host["routes"]
    return found


def test_everything_at_once_is_what_it_was() -> None:
    """A change here is a change for whoever runs an Envoy with this. If it is meant: write the new text into the file."""
    text = yaml.safe_dump(resources(EVERYTHING), sort_keys=False, default_flow_style=None, width=120)
    assert text == GOLDEN.read_text("utf-8"), f"{GOLDEN.name} is not up to date"


@pytest.mark.parametrize(
    ("percent", "weights"), [(0, [0, 10_000]), (0.01, [1, 9_999]), (33.33, [3333, 6667]), (100, [10_000, 0])]
)
def test_weights_are_buckets_and_domains_come_first(percent: float, weights: list[int]) -> None:
    split = [route["route"] for route in routes(f"rollout: {{percent: {percent}}}")]
    hashed = [action["weighted_clusters"] for action in split if "hash_policy" in action]
    assert len(hashed) == 3 * 3, "each kind of request, each key"
    for found in hashed:
        assert found["use_hash_policy"] is True
        assert [cluster["weight"] for cluster in found["clusters"]] == weights
        assert [cluster["name"].partition("_")[0] for cluster in found["clusters"]] == ["domain", "legacy"]


@pytest.mark.parametrize("switch", ["use_domain_service: false", "percent: 0"])
def test_off_means_off(switch: str) -> None:
    named = json.dumps([route["route"] for route in routes(f"rollout: {{force: off, {switch}}}")])
    assert ("domain_" in named) == (switch == "percent: 0")


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("rollout:\n  key: ['jwt:sub', client_ip]", "rollout.key", 2),
        ("rollout:\n  routes:\n    - {name: a, path: /a, percent: 1, key: ['jwt:sub']}", "rollout.routes[0].key", 3),
        ("rollout: {salt: x}", "rollout.salt", 1),
        ("rollout: {force: token}", "rollout.force", 1),
        ("rollout: {tunnel_grace: 1s}", "rollout.tunnel_grace", 1),
        ("mirror: {percent: 1}", "mirror.percent", 1),
        ("fallback: {on: [connect, reset]}", "fallback.on", 1),
        ("fallback: {on: [timeout]}", "fallback.on", 1),
        ("fallback: {idempotency_key: true}", "fallback.idempotency_key", 1),
        ("listen: {host: localhost}", "listen.host", 1),
        ("listen: {forwarded: both}", "listen.forwarded", 1),
        ("listen: {traceparent: make}", "listen.traceparent", 1),
        ("listen: {trusted_proxies: ['unix:']}", "listen.trusted_proxies", 1),
        ("listen: {proxy_protocol: [10.0.0.0/8]}", "listen.proxy_protocol", 1),
        ("listen: {workers: 2}", "listen.workers", 1),
        ("limits: {body_bytes: 1MiB}", "limits.body_bytes", 1),
        ("limits: {target_bytes: 1KiB}", "limits.target_bytes", 1),
        ("limits: {max_connections: 5}", "limits.max_connections", 1),
        ("limits: {drain_timeout: 5s}", "limits.drain_timeout", 1),
        ("backends:\n domain:\n  response_timeout: 5s", "backends.domain.response_timeout", 3),
        ("backends:\n legacy:\n  response_timeout: 5s", "backends.legacy.response_timeout", 3),
        ("backends: {legacy: {urls: ['http://a', 'https://b']}}", "backends.legacy.urls", 1),
    ],
)
def test_what_envoy_cannot_do_is_refused_by_its_name(text: str, path: str, line: int) -> None:
    (fault,) = refusals(read(text))
    assert (fault.path, fault.source, fault.line) == (path, "a.yaml", line)
    assert re.sub(r"\[\d+\]", "", path) in PAGE.read_text("utf-8"), "the page names it"


def test_a_setting_of_the_environment_is_refused_by_its_variable() -> None:
    (fault,) = refusals(parse("", "a.yaml", {"SPLITTER_WORKERS": "3"}))
    assert str(fault).startswith("SPLITTER_WORKERS: listen.workers: ")


@pytest.mark.parametrize("on", ["[]", "[connect]", "['503']", "[connect, '500']", "[connect, timeout, reset]"])
def test_what_can_be_had_of_the_fallback(on: str) -> None:
    assert refusals(read(f"fallback: {{on: {on}}}")) == ()


def test_the_page_tells_every_difference() -> None:
    page = " ".join(PAGE.read_text("utf-8").replace("`", "").split())
    for sentence in differences(read("listen: {tls: {cert: /c, key: /k}}")):
        assert sentence in page


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in VARIABLES:
        monkeypatch.delenv(variable.name, raising=False)
    monkeypatch.delenv("SPLITTER_ADMIN", raising=False)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["envoy-config", *arguments])


def test_the_file_begins_with_what_is_different(tmp_path: Path) -> None:
    text = "rollout: {percent: 12.34, key: [client_ip]}\n"
    (tmp_path / "a.yaml").write_text(text)
    result = invoke("-c", "a.yaml", "--envoy-admin", "[::1]:19901")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[:2] == ["# Made by `splitter envoy-config` of a.yaml.", "# Not as in the splitter:"]
    comments = [line.removeprefix("# - ") for line in lines[2:] if line.startswith("# - ")]
    config = read(text)
    assert comments == list(differences(config))
    assert yaml.safe_load(result.stdout) == bootstrap(config, table_of(config), TcpAddress("::1", 19901))


def test_refusals_are_told_and_nothing_is_printed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("rollout: {salt: x}\nmirror: {percent: 3}")
    result = invoke("-c", "a.yaml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "a.yaml:1: rollout.salt: " in result.stderr
    assert "a.yaml:2: mirror.percent: " in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--admin", "127.0.0.1:1"), "--admin and --token go with --as-running"),
        (("--envoy-admin", "nowhere"), "must be host:port"),
        (("--envoy-admin", "unix:/a"), "must be an address and a port"),
        (("--envoy-admin", "localhost:9901"), "must be an address and a port"),
    ],
)
def test_bad_usage(arguments: tuple[str, ...], said: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_splitter_that_does_not_answer() -> None:
    result = invoke("--as-running", "--admin", "127.0.0.1:1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "127.0.0.1:1" in result.stderr


def test_a_default_that_is_written_out_is_no_setting_and_so_the_shipped_file_can_be_had() -> None:
    assert refusals(load(Path(__file__).parents[2] / "config" / "splitter.yaml", {})) == ()
    assert refusals(parse("limits: {target_bytes: 16KiB}", "f.yaml", {})) == ()
    (fault,) = refusals(parse("limits: {target_bytes: 8KiB}", "f.yaml", {}))
    assert fault.path == "limits.target_bytes"
