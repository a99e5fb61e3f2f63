"""A compose project of its own for the tests: a copy of the compose file and of config/, on free ports.

Owns: starting, asking and removing it. Must not know: what a test checks.
Invariants: the checkout is never written to; containers, networks and volumes are gone afterwards, whatever happened.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.process.running import ROOT, ask, wait_until
from tools.ports import free_port

UP_S = 120.0


def _said(command: list[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def _compose_command() -> list[str]:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and _said([*command, "version"]).returncode == 0:
            return command
    raise AssertionError("neither `docker compose` nor `docker-compose` is here")


@dataclass
class Compose:
    """A compose project in `folder`. Ports are those of this machine."""

    folder: Path
    command: list[str]
    public_port: int
    admin_port: int
    prometheus_port: int
    token: str

    def __call__(self, *arguments: str) -> str:
        """Run a compose command in the project; its output. Fails the test with everything it said."""
        done = _said([*self.command, *arguments], self.folder)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def container(self, service: str) -> str:
        return self("ps", "-q", service).split()[0]

    def inspect(self, service: str) -> dict[str, Any]:
        done = subprocess.run(["docker", "inspect", self.container(service)], capture_output=True, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout)[0]
        return found

    def run_in(self, service: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return _said(["docker", "exec", self.container(service), *arguments])

    def wait_healthy(self, *services: str) -> None:
        def healthy() -> bool:
            states = {service: self.inspect(service)["State"] for service in services}
            assert all(state["Running"] for state in states.values()), self("logs", "--tail=30")
            return all(state["Health"]["Status"] == "healthy" for state in states.values())

        wait_until(healthy, UP_S)

    def set(self, name: str, value: str) -> None:
        """Change one line of .env, as a person would."""
        file = self.folder / ".env"
        lines = [line for line in file.read_text().splitlines() if not line.startswith(f"{name}=")]
        file.write_text("\n".join([*lines, f"{name}={value}", ""]))

    def sides(self, clients: int = 60) -> dict[tuple[str, str], int]:
        """How many of so many clients get which backend, and why."""
        found: dict[tuple[str, str], int] = {}
        for client in range(clients):
            status, fields, _ = ask(self.public_port, "/api/v1/cameras", headers={"X-User-Id": f"user-{client}"})
            assert status == 200
            answer = (fields["x-splitter-backend"], fields["x-splitter-reason"])
            found[answer] = found.get(answer, 0) + 1
        return found


@contextlib.contextmanager
def compose_project(folder: Path, name: str) -> Iterator[Compose]:
    """The project, with nothing started yet."""
    shutil.copy(ROOT / "docker-compose.yml", folder)
    shutil.copytree(ROOT / "config", folder / "config")
    env = folder / ".env"
    subprocess.run([ROOT / "tools" / "make_env.sh", str(env)], check=True, capture_output=True)
    token = next(line for line in env.read_text().splitlines() if line.startswith("SPLITTER_ADMIN_TOKEN=")).partition("=")[2]
    public, admin, prometheus, alertmanager = (free_port() for _ in range(4))
    project = Compose(folder, [*_compose_command(), "-p", name], public, admin, prometheus, token)
    project.set("PUBLIC_PORT", f"127.0.0.1:{public}")
    project.set("ADMIN_PORT", f"127.0.0.1:{admin}")
    project.set("PROMETHEUS_PORT", f"127.0.0.1:{prometheus}")
    project.set("ALERTMANAGER_PORT", f"127.0.0.1:{alertmanager}")
    try:
        yield project
    finally:
        project("--profile", "fleet", "down", "-v", "--remove-orphans", "-t", "5")
