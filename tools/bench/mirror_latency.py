"""What the mirror costs clients: latency with nothing copied and with everything, in rounds that take turns.

Owns: the rounds and their table. Must not know: how load is made, how the mirror works.
Usage: python -m tools.bench.mirror_latency [--rounds N] [--seconds S]; one worker, load and backends on other cores.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

from tools import children
from tools.bench import load, peers
from tools.bench.cpu import usage
from tools.bench.work import WORKS
from tools.ports import free_port, pids_listening

_CONFIG: Final = """
listen: {{host: 127.0.0.1, port: {port}, workers: 1}}
admin: {{port: {admin}}}
access_log: {{sample: 0}}
backends: {{legacy: {{urls: ["http://127.0.0.1:{legacy}"]}}, domain: {{urls: ["http://127.0.0.1:{domain}"]}}}}
rollout: {{percent: 0}}
mirror: {{percent: {percent}, max_in_flight: 256}}
state: {{url: "file:{folder}/state-{percent}.json"}}
"""
_START_S: Final = 20.0
_LOADS: Final = (
    ("1 connection, back to back", 1, 0),
    ("8 connections, each resting 4 ms", 8, 4),
    ("8 connections, each resting 40 ms", 8, 40),
)


@contextlib.contextmanager
def _running(command: list[str], log: Path, port: int, cpus: set[int]) -> Iterator[int]:
    child = children.start([sys.executable, "-m", *command], log, cpus=cpus, environment=dict(os.environ))
    try:
        until_s = time.monotonic() + _START_S
        while not pids_listening(port):
            if child.poll() is not None or time.monotonic() > until_s:
                raise load.LoadError(f"{command[0]} does not answer: {log.read_text()[-500:]}")
            time.sleep(0.05)
        yield child.pid
    finally:
        children.end_group(child.pid)
        child.wait()


def main() -> int:
    parser = argparse.ArgumentParser(prog="mirror_latency", description="latency with the mirror off and on")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=int, default=2)
    options = parser.parse_args()
    every = sorted(os.sched_getaffinity(0))
    own, others = {every[0]}, set(every[1:]) or {every[0]}
    with tempfile.TemporaryDirectory(prefix="mirror-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        # nginx, as in the benchmark: what answers the copies shares its core with the load, and must hardly be felt there
        legacy, domain = peers.start_backends(stack, folder, others).http
        running: dict[int, tuple[int, int]] = {}
        for percent in (0, 100):
            port, admin = free_port(), free_port()
            path = folder / f"{percent}.yaml"
            given = {"port": port, "admin": admin, "legacy": legacy, "domain": domain, "percent": percent, "folder": folder}
            path.write_text(_CONFIG.format(**given))
            command = ["splitter", "run", "--config", str(path)]
            running[percent] = port, stack.enter_context(_running(command, folder / f"{percent}.log", port, own))
        for title, connections, rest_ms in _LOADS:
            work = replace(WORKS["small"], connections=connections)
            found: dict[int, list[tuple[float, float, float]]] = {0: [], 100: []}
            for number in range(options.rounds):
                for percent in (0, 100) if number % 2 else (100, 0):
                    port, pid = running[percent]
                    before_s = sum(usage(pid).cpu_s.values())
                    result = load.run(work, port, options.seconds, others, folder / "wrk.log", rest_ms)
                    used_s = sum(usage(pid).cpu_s.values()) - before_s
                    found[percent].append((result.p50_ms, result.p99_ms, used_s / result.requests * 1e6))
            print(title)
            for percent, rows in found.items():
                p50, p99, cpu_us = (median(column) for column in zip(*rows, strict=True))
                print(f"  mirror {percent:3} %: p50 {p50:.3f} ms, p99 {p99:.3f} ms, {cpu_us:.0f} µs of CPU for a request")
            pairs = [on[0] - off[0] for off, on in zip(found[0], found[100], strict=True)]
            print(
                f"  p50 with it, less without: {median(pairs):+.3f} ms ({min(pairs):+.3f} to {max(pairs):+.3f})", flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
