"""The load: wrk with load.lua, and what it reports.

Must not know: whom it loads. Invariant: a result with a single failed request is an error, not a result.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tools import children

SCRIPT = Path(__file__).with_name("load.lua")
_MARGIN_S = 15.0


class LoadError(Exception):
    """wrk failed, or requests did; the message says which and how many."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked: `path` with this many open connections, each kept or closed after every request."""

    path: str
    connections: int
    new_connections: bool


@dataclass(frozen=True, slots=True)
class Result:
    requests: int
    duration_s: float
    received_bytes: int
    p50_ms: float
    p99_ms: float


def run(workload: Workload, port: int, seconds: float, cpus: Collection[int], log: Path) -> Result:
    """Load 127.0.0.1:`port` for about `seconds`. Raises LoadError."""
    command = ["wrk", "-t1", f"-c{workload.connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    command += ["-s", str(SCRIPT), f"http://127.0.0.1:{port}", "--", workload.path]
    command.append("close" if workload.new_connections else "keep")
    child = children.start(command, log, cpus=cpus)
    try:
        status = child.wait(seconds + _MARGIN_S)
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"wrk did not end within {seconds + _MARGIN_S:g} s: the proxy hangs") from error
    finally:
        children.end_group(child.pid)
        child.wait()
    if status != 0:
        raise LoadError(f"wrk ended with status {status}: {log.read_text()[-500:]}")
    return parse(log.read_text())


def parse(output: str) -> Result:
    """The line that load.lua wrote. Raises LoadError if it is missing or counts an error."""
    lines = [line.removeprefix("RESULT ") for line in output.splitlines() if line.startswith("RESULT ")]
    if len(lines) != 1:
        raise LoadError(f"wrk reported no result: {output[-500:]}")
    report = json.loads(lines[0])
    failed = {kind: number for kind, number in report["errors"].items() if number}
    if failed or not report["requests"]:
        raise LoadError(f"{report['requests']} requests, failed: {failed}")
    return Result(
        requests=report["requests"],
        duration_s=report["duration_us"] / 1e6,
        received_bytes=report["bytes"],
        p50_ms=report["p50_us"] / 1e3,
        p99_ms=report["p99_us"] / 1e3,
    )
