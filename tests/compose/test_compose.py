"""`docker compose up` on a real engine: everything starts in order, is locked down, and .env rolls back."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.compose.engine import UP_S, Compose, compose_project
from tests.process.running import ask, wait_until

pytestmark = [pytest.mark.compose, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    with compose_project(tmp_path_factory.mktemp("compose"), "splitter-test") as project:
        # Grafana's image is none that every engine can get; the rest comes up by name, in its order.
        project("up", "-d", "legacy", "domain", "splitter", "prometheus", "alertmanager")
        project.wait_healthy("legacy", "domain", "splitter")
        yield project


def test_clients_reach_both_sides(project: Compose) -> None:
    sides = project.sides()
    assert sides[("legacy", "bucket")] > 0
    assert sides[("domain", "bucket")] > 0


@pytest.mark.parametrize("service", ["legacy", "domain", "splitter"])
def test_a_container_can_write_nowhere_but_its_volume(project: Compose, service: str) -> None:
    assert project.run_in(service, "id", "-u").stdout.strip() == "10001"
    refused = project.run_in(service, "touch", "/opt/splitter/x")
    assert refused.returncode != 0
    assert "Read-only" in refused.stderr
    host = project.inspect(service)["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]


def test_the_admin_port_is_for_this_machine_only(project: Compose) -> None:
    bindings = project.inspect("splitter")["HostConfig"]["PortBindings"]["8090/tcp"]
    assert [binding["HostIp"] for binding in bindings] == ["127.0.0.1"]


def test_prometheus_scrapes_the_splitter(project: Compose) -> None:
    def scraped() -> bool:
        status, _, body = ask(project.prometheus_port, "/api/v1/query?query=splitter_build_info")
        return status == 200 and bool(json.loads(body)["data"]["result"])

    wait_until(scraped, UP_S)


def test_saving_the_configuration_is_seen_inside(project: Compose) -> None:
    file = project.folder / "config" / "splitter.yaml"
    before = file.read_text()
    file.write_text(before.replace("percent: 10 ", "percent: 100 ", 1))
    try:
        wait_until(lambda: set(project.sides(5)) == {("domain", "bucket")}, UP_S)
    finally:
        file.write_text(before)
    wait_until(lambda: ("legacy", "bucket") in project.sides(20), UP_S)


def test_a_rollback_survives_a_new_container(project: Compose) -> None:
    authorization = {"Authorization": f"Bearer {project.token}", "Content-Type": "application/json"}
    assert ask(project.admin_port, "/api/v1/rollout/rollback", "POST", b"{}")[0] == 401
    status, _, body = ask(project.admin_port, "/api/v1/rollout/rollback", "POST", b"{}", authorization)
    assert status == 200, body
    assert set(project.sides(20)) == {("legacy", "rollback")}
    project("up", "-d", "--force-recreate", "--no-deps", "splitter")
    project.wait_healthy("splitter")
    assert set(project.sides(20)) == {("legacy", "rollback")}
    assert ask(project.admin_port, "/api/v1/rollout/resume", "POST", b"{}", authorization)[0] == 200
    assert ("domain", "bucket") in project.sides()


def test_env_rolls_back(project: Compose) -> None:
    project.set("USE_DOMAIN_SERVICE", "false")
    project("up", "-d", "splitter")
    project.wait_healthy("splitter")
    assert set(project.sides(20)) == {("legacy", "disabled")}
    project.set("USE_DOMAIN_SERVICE", "")
    project("up", "-d", "splitter")
    project.wait_healthy("splitter")
    assert ("domain", "bucket") in project.sides()


def test_a_fleet_shares_one_state(project: Compose) -> None:
    project.set("SPLITTER_STATE_URL", "redis://redis:6379/0?name=cameras")
    project("--profile", "fleet", "up", "-d", "redis", "splitter", "splitter-2", "splitter-3")
    project.wait_healthy("redis", "splitter", "splitter-2", "splitter-3")
    authorization = {"Authorization": f"Bearer {project.token}", "Content-Type": "application/json"}
    assert ask(project.admin_port, "/api/v1/rollout/rollback", "POST", b"{}", authorization)[0] == 200

    def all_rolled_back() -> bool:
        return all(json.loads(ask(port, "/api/v1/rollout")[2])["rolled_back"] for port in (project.admin_port, 8290, 8390))

    wait_until(all_rolled_back, 5)
