"""A private copy for rehearsals: a splitter between two recording backends, on ports and files of its own.

Owns: starting, stopping, asking the backends what reached them. Must not know: how a rollback is done or judged.
Invariants: nothing of a splitter that is running already is touched: not its ports, not its state, not its files; whatever
happens, everything started here is gone at the end.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from splitter.cli.client import UnreachableError, ask
from splitter.cli.target import Target
from splitter.config.document import read_document
from tools import children
from tools.ports import free_port

START_S: Final = 30.0
STOP_S: Final = 40.0
_POLL_S: Final = 0.005
_OURS: Final = ("SPLITTER_", "USE_DOMAIN_SERVICE", "ROLLOUT_PERCENT", "LEGACY_URL", "DOMAIN_URL")


class RigError(Exception):
    """The copy does not run as it should; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A backend's own word: all requests, those after a moment, and when the last one arrived (0: none)."""

    count: int
    after: int
    last_ns: int


@dataclass(slots=True)
class Rig:
    """The running copy. `switches`: what of the environment is set besides, such as USE_DOMAIN_SERVICE."""

    folder: Path
    config: Path
    environment: Mapping[str, str]
    ports: Mapping[str, int]
    switches: dict[str, str] = field(default_factory=dict)
    splitter: subprocess.Popen[bytes] | None = None
    backends: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _leaders: list[int] = field(default_factory=list)

    @property
    def target(self) -> Target:
        return Target("127.0.0.1", self.ports["admin"])

    @property
    def port(self) -> int:
        return self.ports["public"]

    @property
    def log(self) -> Path:
        return self.folder / "splitter.log"

    def start(self) -> None:
        """Start the splitter; returns when it is ready. Raises RigError."""
        environment = {**self.environment, **self.switches}
        command = [sys.executable, "-m", "splitter", "run", "--config", str(self.config)]
        self.splitter = children.start(command, self.log, environment)
        self._leaders.append(self.splitter.pid)
        self.wait(self.is_ready, "the splitter to be ready")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """SIGTERM, or another signal, and wait for its end. Raises RigError for one that does not end well."""
        if self.splitter is None:
            return
        self.splitter.send_signal(number)
        try:
            status = self.splitter.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise RigError(f"the splitter did not end within {STOP_S:g} s of {number.name}") from None
        if status != 0:
            raise RigError(f"the splitter ended with status {status}: {self.log.read_text()[-500:]}")
        self.splitter = None

    def kill(self) -> None:
        """Whatever is left of it: workers may have been left behind by one that has ended."""
        if self.splitter is not None:
            self.splitter.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.splitter.wait(STOP_S)
        for pid in self._leaders:
            children.end_group(pid)
        if self.splitter is not None:
            self.splitter.wait()

    def kill_backend(self, side: str) -> None:
        """As a machine that loses power: nothing listens there any more."""
        children.end_group(self.backends[side].pid)
        self.backends[side].wait()

    def is_ready(self) -> bool:
        if self.splitter is not None and self.splitter.poll() is not None:
            raise RigError(f"the splitter ended: {self.log.read_text()[-1000:]}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get(self.port, "/api/v1/monitoring/health/ready")[0] == 200
        return False

    def api(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the admin API."""
        return ask(self.target, method, f"/api/v1/rollout{path}", body)

    def get(self, port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own: status, headers by name in small letters, body."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def recorded(self, side: str, after_ns: int = 0) -> Recorded:
        """What reached a backend, by its own count."""
        return Recorded(**json.loads(self.get(self.ports[side], f"/recorded?after={after_ns}")[2]))

    def wait(self, check: Callable[[], bool], what: str) -> None:
        """Until `check` holds; other processes have no event to await. Raises RigError."""
        until_s = time.monotonic() + START_S
        while not check():
            if time.monotonic() > until_s:
                raise RigError(f"waited {START_S:g} s in vain for {what}; the splitter's log ends: {self._last_lines()}")
            time.sleep(_POLL_S)

    def _last_lines(self) -> str:
        return self.log.read_text()[-500:] if self.log.exists() else "(none)"


@contextlib.contextmanager
def rig(folder: Path, source: Path | None, overrides: Mapping[str, str]) -> Iterator[Rig]:
    """A copy that runs by a copy of the configuration `source` (None: defaults). `overrides`: environment it is given."""
    ports = {name: free_port() for name in ("public", "admin", "legacy", "domain")}
    config = folder / "splitter.yaml"
    tree = {} if source is None else rehearsed(read_document(source.read_text("utf-8"), str(source)).tree)
    config.write_text(json.dumps(tree), "utf-8")  # JSON is YAML
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)} | {
        "SPLITTER_LISTEN": f"127.0.0.1:{ports['public']}",
        "SPLITTER_ADMIN_LISTEN": f"127.0.0.1:{ports['admin']}",
        "LEGACY_URL": f"http://127.0.0.1:{ports['legacy']}",
        "DOMAIN_URL": f"http://127.0.0.1:{ports['domain']}",
        "SPLITTER_STATE_URL": f"file:{folder / 'state.json'}",
        **overrides,
    }
    copy = Rig(folder, config, environment, ports)
    try:
        for side in ("legacy", "domain"):
            command = [sys.executable, "-m", "tools.rollback.recording", str(ports[side])]
            copy.backends[side] = children.start(command, folder / f"{side}.log")
        for side in ("legacy", "domain"):
            copy.wait(lambda side=side: _answers(copy, side), f"the recording backend for {side}")  # type: ignore[misc]
        copy.start()
        yield copy
    finally:
        copy.kill()
        for side in copy.backends:
            copy.kill_backend(side)


def rehearsed(tree: dict[str, Any]) -> dict[str, Any]:
    """A configuration, without what the load and the recording backends don't speak: TLS, the PROXY protocol, and a health
    page elsewhere than they have it, where every probe would look like a request that came too late."""
    listen, backends = tree.get("listen"), tree.get("backends")
    sections: list[tuple[object, tuple[str, ...]]] = [(listen, ("tls", "proxy_protocol"))]
    for backend in backends.values() if isinstance(backends, dict) else ():
        sections.append((backend, ("tls",)))
        sections.append((backend.get("health") if isinstance(backend, dict) else None, ("path",)))
    for section, keys in sections:
        for key in keys:
            if isinstance(section, dict):
                section.pop(key, None)
    return tree


def _answers(copy: Rig, side: str) -> bool:
    with contextlib.suppress(OSError):
        return copy.recorded(side).count == 0
    return False


def is_off(status: Mapping[str, Any]) -> bool:
    """Whether, by the splitter's own word, nothing goes to domain."""
    return bool(status["rolled_back"]["value"]) or not status["use_domain_service"]["value"]


def says_off(copy: Rig) -> bool:
    """The same, asked now; False while there is no answer."""
    with contextlib.suppress(UnreachableError):
        return is_off(copy.api("GET", ""))
    return False
