"""`make bench`: work for each proxy in turn, what it cost each of them, and which goals that meets.

Owns: the options and the order of events. Must not know: how a proxy is configured or load is made.
Exit status: 0 measured, 1 a proxy failed or a ratio is above --fail-over, 2 bad usage.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from tools.bench import cpu, goals, load, page, report
from tools.bench.measure import Cores, Rounds, measure
from tools.bench.proxies import PEERS
from tools.bench.templates import PeerError
from tools.bench.work import WORKS, Kind

console = Console(highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that everything is stopped
    try:
        return _bench(options)
    except (PeerError, load.LoadError, cpu.ProcessGone) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    quick = os.environ.get("QUICK", "") not in {"", "0"}
    parser = argparse.ArgumentParser(prog="make bench", description="CPU for a request, the splitter's and others'")
    parser.add_argument(
        "--peers", type=_peers, default=["splitter", "haproxy", "envoy", "traefik", "caddy", "aiohttp", "nginx"],
        help="comma separated; the last is the reference",
    )  # fmt: skip
    parser.add_argument("--work", type=_works, default=list(WORKS), help=f"comma separated, of {', '.join(WORKS)}")
    parser.add_argument("--rounds", type=_positive, default=1 if quick else 5, help="of each proxy")
    parser.add_argument("--seconds", type=_positive, default=1 if quick else 6, help="of each round")
    parser.add_argument("--fail-over", type=float, metavar="RATIO", help="exit 1 if the first proxy costs more than this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: a new file in bench-results/")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page too, with its plots beside it")
    return parser


def _peers(text: str) -> list[str]:
    return _each_once(text, PEERS)


def _works(text: str) -> list[str]:
    return _each_once(text, WORKS)


def _each_once(text: str, known: Iterable[str]) -> list[str]:
    names, allowed = text.split(","), list(known)
    if any(name not in allowed for name in names) or len(set(names)) != len(names):
        raise argparse.ArgumentTypeError(f"{text!r}: some of {', '.join(allowed)}, each once, are wanted")
    return names


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _bench(options: argparse.Namespace) -> int:
    if shutil.which("wrk") is None:
        raise load.LoadError("wrk is not installed: run tools/test_packages.sh")
    cores = Cores.share_out(sorted(os.sched_getaffinity(0)))
    if cores.proxy == cores.load:
        console.print("bench: one core only: the proxies share it with the load, latencies say little")
    rounds = Rounds(options.rounds, options.seconds)
    results: dict[str, list[report.Measured]] = {}
    for name in options.work:
        results[name] = measure(WORKS[name], options.peers, rounds, cores, console.print)
        report.show(console, WORKS[name], results[name], results[name][-1])
    found = goals.outcomes(results)
    for outcome in found:
        console.print(page.sentence(outcome))
    path = options.json or report.default_path("bench")
    result = report.write(path, results, options.rounds, options.seconds)
    console.print(f"all rounds: {path}")
    if options.page is not None:
        page.write(options.page, results, found, result)
        console.print(f"page: {options.page}")
    return _beyond(options.fail_over, results)


def _beyond(limit: float | None, results: report.Results) -> int:
    if limit is None:
        return 0
    for name, measured in results.items():
        of = report.ratio(measured[0], measured[-1]).median if WORKS[name].kind is not Kind.IDLE else 0.0
        if of > limit:
            print(f"bench: {name}: {of:.2f} is above {limit:g}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
