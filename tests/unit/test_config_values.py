"""What a good configuration comes to: defaults, what the environment changes, where each value came from."""

from __future__ import annotations

import json
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from splitter.config import BackendUrl, Config, KeySource, TcpAddress, Tls, UnixAddress, leaves, load, parse
from splitter.errors import ConfigError

DEFAULTS = """
engine: relay
listen.host: 0.0.0.0
listen.port: 8000
listen.socket_mode: "0666"
listen.workers: auto
listen.reuse_port: false
listen.tls: null
listen.proxy_protocol: []
listen.trusted_proxies: []
listen.forwarded: x
listen.traceparent: pass
admin.host: 127.0.0.1
admin.port: 8090
admin.socket_mode: "0600"
admin.hosts: []
admin.token: null
backends.legacy.urls: [http://127.0.0.1:8001]
backends.legacy.connect_timeout: 2s
backends.legacy.response_timeout: 30s
backends.legacy.idle_timeout: 1m
backends.legacy.tunnel_idle_timeout: 1h
backends.legacy.max_connections: 256
backends.legacy.tls.ca: null
backends.legacy.tls.cert: null
backends.legacy.tls.key: null
backends.legacy.tls.server_name: null
backends.legacy.tls.verify: true
backends.legacy.health.path: /health
backends.legacy.health.interval: 5s
backends.legacy.health.timeout: 2s
backends.legacy.health.healthy_after: 2
backends.legacy.health.unhealthy_after: 3
backends.legacy.eject.consecutive_failures: 5
backends.legacy.eject.for: 10s
backends.domain.urls: [http://127.0.0.1:8002]
backends.domain.connect_timeout: 2s
backends.domain.response_timeout: 30s
backends.domain.idle_timeout: 1m
backends.domain.tunnel_idle_timeout: 1h
backends.domain.max_connections: 256
backends.domain.tls.ca: null
backends.domain.tls.cert: null
backends.domain.tls.key: null
backends.domain.tls.server_name: null
backends.domain.tls.verify: true
backends.domain.health.path: /health
backends.domain.health.interval: 5s
backends.domain.health.timeout: 2s
backends.domain.health.healthy_after: 2
backends.domain.health.unhealthy_after: 3
backends.domain.eject.consecutive_failures: 5
backends.domain.eject.for: 10s
rollout.use_domain_service: true
rollout.percent: 10
rollout.key: [header:X-User-Id, cookie:session_id, client_ip]
rollout.salt: ""
rollout.force: open
rollout.routes: []
rollout.plan: []
rollout.confirm_secret_env: null
rollout.count_time_away: false
rollout.tunnel_grace: null
guardrails.window: 1m
guardrails.every: 2s
guardrails.min_requests: 100
guardrails.bad_windows: 2
guardrails.confidence: 0.95
guardrails.error_rate_max: 0.05
guardrails.error_rate_margin: 0.02
guardrails.success_rate_min: 0.95
guardrails.latency_p95_ratio_max: 1.5
guardrails.latency_min_requests: 200
guardrails.latency_margin: 0s
guardrails.mix_drift_max: null
guardrails.consecutive_failures: 20
guardrails.action: rollback
hooks: []
fallback.on: [connect, timeout, reset, "502", "503", "504"]
fallback.methods: [GET, HEAD, OPTIONS, PUT, DELETE]
fallback.idempotency_key: false
fallback.max_body: 64KiB
fallback.budget: 0.2
mirror.percent: 0
mirror.to: domain
mirror.methods: [GET, HEAD]
mirror.max_body: 256KiB
mirror.max_in_flight: 64
mirror.timeout: 5s
mirror.noise: 0.1
mirror.ignore: []
mirror.unordered: []
mirror.tolerance: {}
mirror.headers: ["*"]
mirror.mask: []
mirror.endpoints: []
limits.header_bytes: 64KiB
limits.target_bytes: 16KiB
limits.headers: 200
limits.body_bytes: null
limits.header_timeout: 10s
limits.keepalive_timeout: 75s
limits.max_connections: 10000
limits.drain_timeout: 30s
access_log.sample: 1
state.url: file:state/rollout.json
log_level: info
"""

SHIPPED = Path(__file__).parents[2] / "config" / "splitter.yaml"


def test_every_default() -> None:
    assert [f"{leaf.path}: {leaf.show()}" for leaf in leaves(Config())] == DEFAULTS.split("\n")[1:-1]


def test_without_anything_all_is_default() -> None:
    config = load(None, {})
    assert config == Config()
    assert set(config.origins.values()) == {"default"}
    assert list(config.origins) == [leaf.path for leaf in leaves(config)]
    assert config.not_in_force() == ()


def test_values_have_units_the_code_counts_in() -> None:
    config = parse(
        """
        backends: {domain: {urls: ["http://A.example", "http://[::1]:81/"], connect_timeout: 500ms, eject: {for: 1m}}}
        listen:
          trusted_proxies: [10.0.0.0/8, "::1", "unix:"]
          socket_mode: "660"
          tls: {cert: a.pem, key: /b.pem, min_version: 1.3}
        rollout:
          percent: 0.29
          tunnel_grace: 5m
          routes: [{name: a, path: "/a/{b}/*", percent: 33.33, methods: [GET], key: ["path:b", "jwt:sub", "query:q"]}]
          plan:
            - percent: 1.15
              hold: 2d
              approve: yes
              confirm: "https://gate.example:9000/may-go?token=t"
              limits: {error_rate_max: 0.1, consecutive_failures: 50}
              routes: {a: 40}
            - percent: 100
        limits: {body_bytes: 1.5MiB}
        """,
        "f.yaml",
        {},
    )
    domain, rollout = config.backends.domain, config.rollout
    assert domain.urls == (BackendUrl("http", "a.example", 80), BackendUrl("http", "::1", 81))
    assert [str(url) for url in domain.urls] == ["http://a.example:80", "http://[::1]:81"]
    assert (domain.connect_timeout_s, domain.eject.for_s, rollout.tunnel_grace_s) == (0.5, 60.0, 300.0)
    listen = config.listen
    assert listen.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1/128"), "unix:")
    tls = Tls.model_validate({"cert": "a.pem", "key": "/b.pem", "min_version": "1.3"})
    assert (listen.socket_mode, listen.tls) == (0o660, tls)
    assert tls.cert == Path("a.pem")
    route, (stage, last) = rollout.routes[0], rollout.plan
    assert route.key == (KeySource("path", "b"), KeySource("jwt", "sub"), KeySource("query", "q"))
    assert (rollout.percent_threshold, route.percent_threshold, stage.percent_threshold) == (29, 3333, 115)
    assert (stage.hold_s, stage.approve, stage.routes) == (172_800.0, True, {"a": 40.0})
    assert (last.hold_s, last.approve, last.percent_threshold) == (None, False, 10_000)
    assert (stage.confirm, last.confirm) == ("https://gate.example:9000/may-go?token=t", None)
    assert (stage.limits.error_rate_max, stage.limits.consecutive_failures) == (0.1, 50)
    assert stage.limits.success_rate_min is last.limits.error_rate_max is None
    shown = {leaf.path: leaf.show() for leaf in leaves(config)}
    assert shown["rollout.plan[0].confirm"] == "https://gate.example:9000/may-go?***"
    assert shown["rollout.plan[0].limits.error_rate_max"] == "0.1"
    assert config.limits.body_bytes == 1_572_864


@pytest.mark.parametrize(
    ("variable", "text", "path", "shown"),
    [
        ("SPLITTER_ENGINE", "relay", "engine", "relay"),
        ("SPLITTER_LISTEN", "127.0.0.1:9000", "listen.port", "9000"),
        ("SPLITTER_LISTEN", "[::1]:9000", "listen.host", "::1"),
        ("SPLITTER_LISTEN", "unix:/run/x.sock", "listen.host", "unix:/run/x.sock"),
        ("SPLITTER_WORKERS", "3", "listen.workers", "3"),
        ("SPLITTER_WORKERS", "auto", "listen.workers", "auto"),
        ("SPLITTER_ADMIN_LISTEN", "127.0.0.1:0", "admin.port", "0"),
        ("SPLITTER_ADMIN_TOKEN", "hunter2", "admin.token", "(secret)"),
        ("LEGACY_URL", "http://a, http://b:81", "backends.legacy.urls", "[http://a:80, http://b:81]"),
        ("DOMAIN_URL", "http://a:8002", "backends.domain.urls", "[http://a:8002]"),
        ("USE_DOMAIN_SERVICE", "FALSE", "rollout.use_domain_service", "false"),
        ("USE_DOMAIN_SERVICE", "off", "rollout.use_domain_service", "false"),
        ("USE_DOMAIN_SERVICE", "0", "rollout.use_domain_service", "false"),
        ("USE_DOMAIN_SERVICE", "Yes", "rollout.use_domain_service", "true"),
        ("ROLLOUT_PERCENT", " 25.50 ", "rollout.percent", "25.5"),
        ("SPLITTER_STATE_URL", "redis://u:hunter2@r:6379/0?name=c", "state.url", "redis://***@r:6379/0?name=c"),
        ("SPLITTER_LOG_LEVEL", "DEBUG", "log_level", "debug"),
    ],
)
def test_the_environment_beats_the_file(variable: str, text: str, path: str, shown: str) -> None:
    file = """
listen: {host: 127.0.0.2, port: 7000, workers: 1}
admin: {host: 127.0.0.2, port: 7001}
backends: {legacy: {urls: ["http://l"]}, domain: {urls: ["http://d"]}}
rollout: {use_domain_service: true, percent: 1}
state: {url: "file:x"}
"""
    config = parse(file, "f.yaml", {variable: text})
    leaf = next(leaf for leaf in leaves(config) if leaf.path == path)
    assert leaf.show() == shown
    assert config.origins[path] == f"env:{variable}"


@pytest.mark.parametrize("file", ["", "rollout:", "rollout: {percent: 3}", "rollout: {percent: ten}"])
def test_the_environment_is_enough(file: str) -> None:
    config = parse(file, "f.yaml", {"ROLLOUT_PERCENT": "42"})
    assert (config.rollout.percent, config.origins["rollout.percent"]) == (42.0, "env:ROLLOUT_PERCENT")


@pytest.mark.parametrize("text", ["", " ", "\t"])
def test_an_empty_variable_is_none(text: str) -> None:
    config = parse("rollout: {percent: 3}", "f.yaml", {"ROLLOUT_PERCENT": text, "SPLITTER_ADMIN_TOKEN": text})
    assert (config.rollout.percent, config.admin.token) == (3.0, None)


def test_variables_of_others_are_not_ours() -> None:
    # Kubernetes sets these for a service that is called splitter.
    others = {"SPLITTER_PORT": "tcp://10.0.0.1:8000", "SPLITTER_SERVICE_HOST": "10.0.0.1"}
    assert parse("", "f.yaml", others) == Config()


def test_origins_name_the_line() -> None:
    config = parse("rollout:\n\n  percent: 3\n  plan:\n  - percent: 4\n    hold: 1d\n  - percent:\n      5\n", "f.yaml", {})
    assert config.origins["rollout.percent"] == "file:3"
    assert config.origins["rollout.plan[0].hold"] == "file:6"
    assert config.origins["rollout.plan[1].percent"] == "file:7"
    assert config.origins["rollout.plan[1].hold"] == "default"
    assert config.origins["rollout.salt"] == "default"


def test_addresses() -> None:
    config = parse("listen: {host: '[::]', port: 80}\nadmin: {host: 'unix:/run/a.sock'}", "f.yaml", {})
    assert (config.listen.address, str(config.listen.address)) == (TcpAddress("::", 80), "[::]:80")
    assert (config.admin.address, str(config.admin.address)) == (UnixAddress("/run/a.sock"), "unix:/run/a.sock")
    assert "admin.port" not in config.origins


def test_a_socket_in_the_environment_takes_the_port_of_the_file_away() -> None:
    config = parse("listen: {host: 127.0.0.1, port: 80}", "f.yaml", {"SPLITTER_LISTEN": "unix:/run/a.sock"})
    assert config.listen.address == UnixAddress("/run/a.sock")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "LOCALHOST", "unix:/run/a"])
def test_an_admin_side_that_only_this_machine_reaches_needs_no_token(host: str) -> None:
    assert parse(json.dumps({"admin": {"host": host}}), "f.yaml", {}).admin.token is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "admin.example", "localhost.example"])
def test_any_other_does(host: str) -> None:
    text = json.dumps({"admin": {"host": host}})
    with pytest.raises(ConfigError, match="SPLITTER_ADMIN_TOKEN"):
        parse(text, "f.yaml", {})
    assert parse(text, "f.yaml", {"SPLITTER_ADMIN_TOKEN": "t"}).admin.token == SecretStr("t")


def test_ports_that_the_system_chooses_do_not_clash() -> None:
    config = parse("listen: {port: 0}\nadmin: {port: 0}", "f.yaml", {})
    assert config.listen.address == TcpAddress("0.0.0.0", 0)


def test_two_addresses_of_the_machine_may_share_a_port() -> None:
    config = parse("listen: {host: 127.0.0.1, port: 80}\nadmin: {host: 127.0.0.2, port: 80}", "f.yaml", {})
    assert config.admin.address == TcpAddress("127.0.0.2", 80)


def test_a_configuration_does_not_change_and_keeps_its_secrets() -> None:
    config = parse("", "f.yaml", {"SPLITTER_ADMIN_TOKEN": "hunter2", "SPLITTER_STATE_URL": "redis://:hunter2@a"})
    with pytest.raises(ValidationError):
        config.rollout.percent = 5.0  # type: ignore[misc]
    assert "hunter2" not in repr(config)
    assert "hunter2" not in "".join(leaf.show() for leaf in leaves(config))
    assert config.state.url == "redis://:hunter2@a"


def test_where_a_value_came_from_does_not_make_it_another() -> None:
    given, silent = parse("rollout: {percent: 10}", "f.yaml", {}), parse("", "f.yaml", {})
    assert (given, given.rollout) == (silent, silent.rollout)
    assert given != parse("rollout: {percent: 11}", "f.yaml", {})
    assert given.origins != silent.origins


def test_another_process_reads_the_same_from_what_was_given() -> None:
    environ = {"SPLITTER_ADMIN_TOKEN": "hunter2", "ROLLOUT_PERCENT": "7", "HOME": "/root"}
    config = parse("rollout: {routes: [{name: a, path: /a, percent: 1}]}", "f.yaml", environ)
    given = config.given
    again = parse(given.text, given.source, given.environ)
    assert (again, again.origins) == (config, config.origins)
    assert "HOME" not in given.environ
    assert "hunter2" not in repr(given)
    given = Config().given
    assert parse(given.text, given.source, given.environ) == Config()


def test_what_has_no_effect_is_said_when_somebody_sets_it() -> None:
    text = "guardrails: {every: 3s}\nmirror: {percent: 1}\nrollout: {force: token, plan: [{percent: 5}]}"
    sentences = parse(text, "f.yaml", {"SPLITTER_STATE_URL": "redis://a"}).not_in_force()
    assert [sentence.partition(":")[0] for sentence in sentences] == ["rollout.force"]


def test_the_shipped_file_is_the_defaults_with_a_route_a_plan_and_rules_of_the_mirror() -> None:
    config, defaults = load(SHIPPED, {}), Config()
    own = {"rollout": defaults.rollout, "mirror": defaults.mirror}
    assert config.model_copy(update=own) == defaults
    assert config.mirror.model_copy(update={"tolerance": {}, "endpoints": ()}) == defaults.mirror
    assert config.rollout.model_copy(update={"routes": (), "plan": ()}) == defaults.rollout
    route = config.rollout.routes[0]
    assert (route.name, route.methods, route.path, route.percent) == (
        "camera-control",
        ("POST", "PUT"),
        "/api/v1/cameras/{camera_id}/*",
        5.0,
    )
    assert [(stage.percent, stage.hold_s) for stage in config.rollout.plan] == [
        (10.0, 86_400.0),
        (25.0, 86_400.0),
        (50.0, 172_800.0),
        (100.0, None),
    ]


class TestLoad:
    def test_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "a.yaml"
        file.write_bytes("\ufeffrollout: {salt: \u7070\u5ea6}\n".encode())
        config = load(file, {"ROLLOUT_PERCENT": "7"})
        assert (config.rollout.salt, config.rollout.percent) == ("\u7070\u5ea6", 7.0)

    def test_no_file_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"none\.yaml: there is no such file"):
            load(tmp_path / "none.yaml", {})

    def test_a_directory(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="is a directory, not a file"):
            load(tmp_path, {})

    def test_a_file_in_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("")
        with pytest.raises(ConfigError, match="can't be read: Not a directory"):
            load(tmp_path / "a" / "b", {})

    def test_a_path_that_is_none(self) -> None:
        with pytest.raises(ConfigError, match="can't be read"):
            load(Path("a\0b"), {})

    def test_not_utf_8(self, tmp_path: Path) -> None:
        file = tmp_path / "a.yaml"
        file.write_bytes("rollout:\n  salt: käse\n".encode("latin-1"))
        with pytest.raises(ConfigError) as refused:
            load(file, {})
        assert str(refused.value) == f"{file}:2: is not UTF-8: byte 0xe4"

    def test_a_file_without_an_end(self) -> None:
        with pytest.raises(ConfigError, match="longer than 256 KiB"):
            load(Path("/dev/zero"), {})
