"""Every way to send everybody back to legacy, as a person would do it, and how each is undone.

Owns: what is typed for each way, and when it counts as answered. Must not know: how fast it should be.
Invariant: `throw` gives the moment (nanoseconds since the epoch) from which nothing may arrive at domain any more: the
answer of a way that has one, else the moment when the splitter itself says that it is in force.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from splitter.cli.client import UnreachableError
from splitter.cli.follow import follow
from splitter.config.document import read_document
from tools.rollback.rig import Rig, RigError, is_off

SEEN_S: Final = 30.0
REASON: Final = "rehearsal"


@dataclass(frozen=True, slots=True)
class Way:
    """One way. `closes`: for a moment nobody listens at the port, and what comes then is refused."""

    name: str
    typed: str
    throw: Callable[[Rig], int]
    undo: Callable[[Rig], object]
    closes: bool = False


class _Seen:
    """Hears from the splitter's stream when nothing goes to domain any more."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._listening, self._off = threading.Event(), threading.Event()
        self._off_ns = 0
        threading.Thread(target=self._listen, daemon=True).start()
        if not self._listening.wait(SEEN_S):
            raise RigError("the splitter's stream says nothing")

    def _listen(self) -> None:
        try:
            for message in follow(self._rig.target):
                if message.name != "status":
                    continue
                if is_off(message.body):
                    self._off_ns = time.time_ns()
                    self._off.set()
                    return
                self._listening.set()
        except UnreachableError:
            return  # whoever waits says that nothing came

    def wait(self) -> int:
        if not self._off.wait(SEEN_S):
            raise RigError(f"{SEEN_S:g} s later the splitter still sends requests to domain")
        return self._off_ns


def _by_api(rig: Rig) -> int:
    rig.api("POST", "/rollback", {"reason": REASON})
    return time.time_ns()


def _by_cli(rig: Rig) -> int:
    command = [sys.executable, "-m", "splitter", "rollback", "--admin", str(rig.target), "--reason", REASON]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | dict(rig.environment))
    if done.returncode != 0:
        raise RigError(f"splitter rollback ended with status {done.returncode}: {done.stderr}")
    return time.time_ns()


def _by_config(rig: Rig) -> int:
    seen = _Seen(rig)
    save_switch(rig, on=False)
    return seen.wait()


def _by_signal(rig: Rig) -> int:
    seen = _Seen(rig)
    if rig.splitter is not None:
        rig.splitter.send_signal(signal.SIGUSR1)
    return seen.wait()


def _restart(rig: Rig, number: signal.Signals, switches: dict[str, str]) -> int:
    rig.switches = switches
    rig.stop(number)
    rig.start()
    return time.time_ns()


def _resume(rig: Rig) -> None:
    rig.api("POST", "/resume", {"reason": REASON})


def save_switch(rig: Rig, *, on: bool) -> None:
    """Edit `use_domain_service` in the configuration file as an editor does: a new file in the place of the old."""
    tree: dict[str, Any] = read_document(rig.config.read_text("utf-8"), str(rig.config)).tree
    tree["rollout"] = (tree.get("rollout") or {}) | {"use_domain_service": on}
    new = rig.config.with_suffix(".new")
    new.write_text(json.dumps(tree), "utf-8")  # JSON is YAML
    new.replace(rig.config)


_OFF: Final = {"USE_DOMAIN_SERVICE": "false"}

WAYS: Final = (
    Way("API", "POST /api/v1/rollout/rollback", _by_api, _resume),
    Way("CLI", "splitter rollback", _by_cli, _resume),
    Way("SIGUSR1", "kill -USR1 PID", _by_signal, _resume),
    Way("config", "use_domain_service: false, saved", _by_config, lambda rig: save_switch(rig, on=True)),
    Way(
        "handover",
        "kill -USR2 PID, started with USE_DOMAIN_SERVICE=false",
        lambda rig: _restart(rig, signal.SIGUSR2, dict(_OFF)),
        lambda rig: _restart(rig, signal.SIGUSR2, {}),
    ),
    Way(
        "restart",
        "stopped, started with USE_DOMAIN_SERVICE=false",
        lambda rig: _restart(rig, signal.SIGTERM, dict(_OFF)),
        lambda rig: _restart(rig, signal.SIGTERM, {}),
        closes=True,
    ),
)
