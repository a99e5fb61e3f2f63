"""Load that goes on while switches are thrown: wrk with load.lua, and what it met.

Must not know: whom it loads, what is thrown. Invariant: it ends when told to, or by itself after `MOST_S`.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools import children

SCRIPT: Final = Path(__file__).with_name("load.lua")
CONNECTIONS: Final = 64
MOST_S: Final = 1800
_END_S: Final = 20.0


class LoadError(Exception):
    """wrk is missing or failed; the message says how."""


@dataclass(frozen=True, slots=True)
class Met:
    """What clients met in one run of the load. `failed` by kind, as wrk counts: connect, read, write, status, timeout."""

    requests: int
    duration_s: float
    p50_ms: float
    p99_ms: float
    failed: Mapping[str, int]

    @property
    def failures(self) -> int:
        return sum(self.failed.values())


class Load:
    """Running load; `end` stops it and tells what it met."""

    def __init__(self, child: subprocess.Popen[bytes], log: Path) -> None:
        self._child = child
        self._log = log

    def end(self) -> Met:
        """Raises LoadError."""
        self._child.send_signal(signal.SIGINT)  # wrk then ends its run as if the time were up
        try:
            status = self._child.wait(_END_S)
        except subprocess.TimeoutExpired as error:
            raise LoadError(f"wrk did not end within {_END_S:g} s") from error
        text = self._log.read_text()
        lines = [line.removeprefix("RESULT ") for line in text.splitlines() if line.startswith("RESULT ")]
        if status != 0 or len(lines) != 1:
            raise LoadError(f"wrk ended with status {status}: {text[-500:]}")
        report = json.loads(lines[0])
        return Met(
            requests=report["requests"],
            duration_s=report["duration_us"] / 1e6,
            p50_ms=report["p50_us"] / 1e3,
            p99_ms=report["p99_us"] / 1e3,
            failed={kind: number for kind, number in report["failed"].items() if number},
        )


@contextlib.contextmanager
def load(port: int, requests_per_s: int, folder: Path) -> Iterator[Load]:
    """Load 127.0.0.1:`port` with about so many requests per second; 0: as many as it can take. Raises LoadError."""
    delay_ms = round(CONNECTIONS * 1000 / requests_per_s) if requests_per_s else 0
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{MOST_S}s", "--timeout", "10s"]
    command += ["-s", str(SCRIPT), f"http://127.0.0.1:{port}", "--", str(delay_ms)]
    log = folder / "wrk.log"
    try:
        child = children.start(command, log)
    except FileNotFoundError:
        raise LoadError("wrk is not installed: run tools/test_packages.sh, or apt-get install wrk") from None
    try:
        yield Load(child, log)
    finally:
        children.end_group(child.pid)
        child.wait()
