"""`make bench`: rounds of load on each peer in turn, and what a request cost each of them.

Owns: the order of events and the options. Invariants: rounds are interleaved (A B, B A, ...), so that a machine that
grows slower does so for all; each peer was checked to do the work; every process started here ends here, also on Ctrl-C.
Exit status: 0 measured, 1 a peer failed or the ratio is above --fail-over, 2 bad usage.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tools.bench import cpu, load, peers, report

_UNITS = {"": 1, "b": 1, "kib": 1024, "mib": 1024**2}
_MAX_SIZE_BYTES = 256 * 1024**2
_SMALL_CONNECTIONS = 64
_LARGE_CONNECTIONS = 8
_WARM_UP_S = 1.0
_MIB = 1024**2

console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where: the proxy alone on one core, as long as there are two."""

    proxy: frozenset[int]
    backends: frozenset[int]
    load: frozenset[int]

    @classmethod
    def share_out(cls, allowed: Sequence[int]) -> Cores:
        first, *others = sorted(allowed)
        backends = others[0] if others else first
        return cls(frozenset({first}), frozenset({backends}), frozenset({others[1] if len(others) > 1 else backends}))


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that everything is stopped
    try:
        return _bench(options)
    except (peers.PeerError, load.LoadError, cpu.ProcessGone) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    quick = os.environ.get("QUICK", "") not in {"", "0"}
    parser = argparse.ArgumentParser(prog="make bench", description="CPU for a request, the splitter's and others'")
    parser.add_argument(
        "--peers", type=_names, default=["splitter", "nginx"], help="comma separated; the last is the reference"
    )
    parser.add_argument("--size", type=_size_bytes, default=0, help="of a response, as 64KiB or 1MiB (default: small JSON)")
    parser.add_argument("--new-connections", action="store_true", help="one for each request, instead of kept ones")
    parser.add_argument("--rounds", type=_positive, default=3 if quick else 7, help="of each peer")
    parser.add_argument("--seconds", type=_positive, default=4 if quick else 8, help="of each round")
    parser.add_argument("--connections", type=_positive, help="open at a time (default 64; 8 with --size)")
    parser.add_argument("--fail-over", type=float, metavar="RATIO", help="exit 1 if the first peer costs more than this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: a new file in bench-results/")
    return parser


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in peers.PEERS]
    if unknown or len(set(names)) != len(names):
        raise argparse.ArgumentTypeError(f"{text!r}: some of {', '.join(peers.PEERS)}, each once, are wanted")
    return names


def _size_bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)(b|kib|mib)?", text.lower())
    size = int(match[1]) * _UNITS[match[2] or ""] if match else 0
    if not 0 < size <= _MAX_SIZE_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 64KiB or 1MiB (256MiB at most)")
    return size


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _bench(options: argparse.Namespace) -> int:
    if shutil.which("wrk") is None:
        raise load.LoadError("wrk is not installed: run tools/test_packages.sh")
    size_bytes: int = options.size
    connections = options.connections or (_LARGE_CONNECTIONS if size_bytes else _SMALL_CONNECTIONS)
    workload = load.Workload("/blob" if size_bytes else "/api/v1/cameras", connections, options.new_connections)
    cores = Cores.share_out(sorted(os.sched_getaffinity(0)))
    if cores.proxy == cores.load:
        console.print("bench: one core only: the proxies share it with the load, latencies say little")
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        backends = peers.start_backends(stack, work, size_bytes, cores.backends)
        running = []
        for name in options.peers:
            running.append(peers.start(stack, peers.PEERS[name](), backends, work / name, cores.proxy))
            peers.check(running[-1])
        measured = _measure(running, workload, options, cores, work)
    return _report(measured, workload, options)


def _measure(
    running: list[peers.Running], workload: load.Workload, options: argparse.Namespace, cores: Cores, work: Path
) -> list[report.Measured]:
    measured = [report.Measured(one.peer.name, one.peer.version()) for one in running]
    log = work / "wrk.log"
    for one in running:
        load.run(workload, one.place.proxy, _WARM_UP_S, cores.load, log)
    for number in range(options.rounds):
        in_turn = list(zip(running, measured, strict=True))
        for one, into in in_turn if number % 2 == 0 else reversed(in_turn):
            before = cpu.usage(one.pid)
            result = load.run(workload, one.place.proxy, options.seconds, cores.load, log)
            after = cpu.usage(one.pid)
            spent_s = cpu.cpu_between(before, after)
            taken = report.Round(
                cpu_us=spent_s / result.requests * 1e6,
                requests_per_s=result.requests / result.duration_s,
                p50_ms=result.p50_ms,
                p99_ms=result.p99_ms,
                busy=spent_s / result.duration_s,
                rss_mib=after.rss_bytes / _MIB,
                requests=result.requests,
            )
            into.rounds.append(taken)
            console.print(f"round {number + 1}/{options.rounds} {into.name}: {taken.cpu_us:.1f} µs/request")
    return measured


def _report(measured: list[report.Measured], workload: load.Workload, options: argparse.Namespace) -> int:
    what = f"{options.size:,} byte responses" if options.size else "small GETs"
    how = "a new connection each" if workload.new_connections else "kept connections"
    title = f"{what}, {how}, {workload.connections} at a time; one core for the proxy"
    reference = measured[-1]
    report.show(console, title, measured, reference)
    name = ("large" if options.size else "small") + ("-new" if workload.new_connections else "")
    path = options.json or report.default_path(name)
    described = {
        "size_bytes": options.size,
        "connections": workload.connections,
        "new_connections": workload.new_connections,
        "seconds": options.seconds,
    }
    report.write(path, described, measured, reference)
    console.print(f"all rounds: {path}")
    of = report.ratio(measured[0], reference).median
    if options.fail_over is not None and of > options.fail_over:
        print(f"bench: {of:.2f} is above {options.fail_over:g}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
