"""The load: wrk with load.lua, or our own for WebSocket messages, and what they report.

Must not know: whom it loads. Invariant: a result with a single failed request is an error, not a result.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tools import children
from tools.bench.work import Kind, Work

SCRIPT = Path(__file__).with_name("load.lua")
ROOT = Path(__file__).parents[2]
_MARGIN_S = 15.0


class LoadError(Exception):
    """wrk failed, or requests did; the message says which and how many."""


@dataclass(frozen=True, slots=True)
class Result:
    requests: int
    duration_s: float
    received_bytes: int
    p50_ms: float
    p99_ms: float


def run(work: Work, port: int, seconds: float, cpus: Collection[int], log: Path, rest_ms: int = 0) -> Result:
    """Load 127.0.0.1:`port` for about `seconds`; each connection rests `rest_ms` on average before a request.

    Raises LoadError.
    """
    if work.kind is Kind.WEBSOCKET:
        command = [sys.executable, "-m", "tools.bench.websocket_load", str(port), str(work.connections), str(seconds)]
    else:
        scheme = "https" if work.setup.tls else "http"
        command = ["wrk", "-t1", f"-c{work.connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
        command += ["-s", str(SCRIPT), f"{scheme}://127.0.0.1:{port}", "--", work.path]
        command += ["close" if work.new_connections else "keep", str(work.body_bytes), str(rest_ms)]
    child = children.start(command, log, cpus=cpus, environment=dict(os.environ) | {"PYTHONPATH": str(ROOT)})
    try:
        status = child.wait(seconds + _MARGIN_S)
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"the load did not end within {seconds + _MARGIN_S:g} s: the proxy hangs") from error
    finally:
        children.end_group(child.pid)
        child.wait()
    if status != 0:
        raise LoadError(f"{command[0]} ended with status {status}: {log.read_text()[-500:]}")
    return parse(log.read_text())


def parse(output: str) -> Result:
    """The line that load.lua wrote. Raises LoadError if it is missing or counts an error."""
    lines = [line.removeprefix("RESULT ") for line in output.splitlines() if line.startswith("RESULT ")]
    if len(lines) != 1:
        raise LoadError(f"the load reported no result: {output[-500:]}")
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
