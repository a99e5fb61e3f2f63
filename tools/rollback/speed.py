"""`tools/rollback_speed.sh`: how fast each way of rolling back is, under load, by the backends' own counters.

Owns: what is asked on the command line, how the numbers are printed, what counts as kept. Must not know: how they are got.
Exit status: 0 the promise was kept, 1 it was not, 2 bad usage.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from splitter.cli.client import RefusedError, UnreachableError
from tools.rollback.load import LoadError
from tools.rollback.measure import Series, measure, percentile
from tools.rollback.rig import RigError, rig
from tools.rollback.ways import WAYS, Way

GOAL_MS: Final = 20.0
"""p99 of the API's answer with two workers under load."""

_CONFIG: Final = """\
listen: {workers: 2}
access_log: {sample: 0}
rollout:
  use_domain_service: true
  percent: 50
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    ways = [way for way in WAYS if not options.ways or way.name.lower() in options.ways]
    try:
        with tempfile.TemporaryDirectory(prefix="rollback-") as name:
            all_series = _run(Path(name), ways, options, console)
    except (RigError, LoadError, UnreachableError, RefusedError) as error:
        print(f"rollback speed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    for row in _rows(all_series):
        console.print(row)
    complaints = [complaint for series in all_series for complaint in _complaints(series, options.goal)]
    for complaint in complaints:
        console.print(f"NOT KEPT: {complaint}", style="red")
    if not complaints:
        console.print("kept: nothing arrived at domain after an answer, and no request failed", style="green")
    return 1 if complaints else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tools/rollback_speed.sh", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--times", type=_count, default=30, metavar="N", help="throws by each way (default 30)")
    parser.add_argument("--restarts", type=_count, default=5, metavar="N", help="throws by restarting (default 5)")
    parser.add_argument("--workers", type=_count, default=2, metavar="N", help="the splitter's (default 2)")
    parser.add_argument("--rate", type=int, default=4000, metavar="N", help="requests/s; 0: all it can take (default 4000)")
    parser.add_argument("--goal", type=float, default=GOAL_MS, metavar="MS", help="p99 of the API's answer (default 20)")
    names = [way.name.lower() for way in WAYS]
    parser.add_argument("--ways", nargs="+", choices=names, metavar="WAY", help=f"some of: {', '.join(names)} (default all)")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 10000")
    return int(text)


def _run(folder: Path, ways: Sequence[Way], options: argparse.Namespace, console: Console) -> list[Series]:
    source = folder / "speed.yaml"
    source.write_text(_CONFIG)
    found = []
    with rig(folder, source, {"SPLITTER_WORKERS": str(options.workers)}) as copy:
        cores = len(os.sched_getaffinity(0))
        console.print(f"{options.workers} workers, {cores} cores for everything: splitter, load, backends, this program")
        for way in ways:
            times = options.restarts if way.name in ("handover", "restart") else options.times
            found.append(measure(copy, way, times, options.rate, folder))
            series = found[-1]
            rate = series.met.requests / series.met.duration_s
            console.print(f"{way.name}: {times} throws under {rate:,.0f} requests/s", style="dim")
    return found


def _rows(all_series: Sequence[Series]) -> list[str]:
    """A line for each way, in columns that fit their widest cell."""
    rows = [("way", "answer (ms)", "last at domain (ms)", "late", "failed", "port closed (ms)")]
    rows += [("", "p50 / p99 / max", "p50 / p99 / max", "", "", "max")]
    for series in all_series:
        rows.append(
            (
                series.way.name,
                _three([throw.answer_ms for throw in series.throws]),
                _three([throw.last_ms for throw in series.throws]),
                str(series.late),
                "" if series.way.closes else f"{series.met.failures} of {series.met.requests:,}",
                f"{max(throw.closed_ms for throw in series.throws):.0f}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join([f"{row[0]:<{widths[0]}}", *map(str.rjust, row[1:], widths[1:])]) for row in rows]


def _three(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.1f}" for value in (percentile(values, 0.5), percentile(values, 0.99), max(values)))


def _complaints(series: Series, goal_ms: float) -> list[str]:
    """What was promised and not kept. While a restart has the port closed, nobody was promised an answer."""
    found = []
    if series.late:
        found.append(f"{series.way.name}: {series.late} requests arrived at domain after the answer")
    if series.met.failures and not series.way.closes:
        kinds = ", ".join(f"{kind} {number}" for kind, number in series.met.failed.items())
        found.append(f"{series.way.name}: {series.met.failures} requests failed ({kinds})")
    answer_ms = percentile([throw.answer_ms for throw in series.throws], 0.99)
    if series.way.name == "API" and answer_ms > goal_ms:
        found.append(f"API: 99 % of the answers came within {answer_ms:.1f} ms; the goal is {goal_ms:g} ms")
    return found


if __name__ == "__main__":
    sys.exit(main())
