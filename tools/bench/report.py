"""What was measured, as a table for a person and as JSON for a program.

Must not know: how it was measured. Invariant: every number of the table is in the JSON, with every round behind it.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from tools.bench.work import WORKS, Kind, Work


@dataclass(frozen=True, slots=True)
class Round:
    """One peer under load for a few seconds. `cpu_us` is for one request; `busy` is the share of a core it used."""

    cpu_us: float
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    busy: float
    rss_mib: float
    requests: int
    kib_each: float = 0.0
    """Memory that each idle connection took, where that was looked at."""


@dataclass(slots=True)
class Measured:
    """All rounds of one peer."""

    name: str
    version: str
    rounds: list[Round] = field(default_factory=list)

    def median(self, what: str) -> float:
        values: list[float] = [getattr(taken, what) for taken in self.rounds]
        return statistics.median(values)


Results = Mapping[str, Sequence[Measured]]
"""What was measured, by the name of the work; the last of each is the reference."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """CPU for a request, one peer's by another's: of the medians, and of the rounds, which ran one after the other."""

    median: float
    lowest: float
    highest: float


def ratio(measured: Measured, reference: Measured) -> Ratio:
    by_round = [mine.cpu_us / other.cpu_us for mine, other in zip(measured.rounds, reference.rounds, strict=True)]
    return Ratio(measured.median("cpu_us") / reference.median("cpu_us"), min(by_round), max(by_round))


def show(console: Console, work: Work, all_measured: Sequence[Measured], reference: Measured) -> None:
    table = Table(title=f"{work.name}: {work.title}", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("proxy", no_wrap=True, min_width=8)
    headings = ("RSS MiB", "KiB each") if work.kind is Kind.IDLE else (
        "µs CPU", "range", "ratio", "per s", "p50 ms", "p99 ms", "core", "RSS MiB")  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for measured in all_measured:
        table.add_row(measured.name, *cells(work, measured, reference))
    console.print(table)


def cells(work: Work, measured: Measured, reference: Measured) -> list[str]:
    """A row of the table, without the name."""
    rss = f"{measured.median('rss_mib'):.0f}"
    if work.kind is Kind.IDLE:
        return [rss, f"{measured.median('kib_each'):.1f}"]
    cpu_us = [taken.cpu_us for taken in measured.rounds]
    return [
        f"{measured.median('cpu_us'):.1f}",
        f"{min(cpu_us):.1f}-{max(cpu_us):.1f}",
        f"{ratio(measured, reference).median:.2f}",
        f"{measured.median('requests_per_s'):,.0f}",
        f"{measured.median('p50_ms'):.2f}",
        f"{measured.median('p99_ms'):.2f}",
        f"{measured.median('busy'):.0%}",
        rss,
    ]


def write(path: Path, results: Results, rounds: int, seconds: float) -> dict[str, object]:
    """Write everything as JSON, and give it; the directory is made if it is missing."""
    works: dict[str, object] = {
        name: {
            "title": WORKS[name].title,
            "reference": measured[-1].name,
            "peers": {one.name: _one(one, measured[-1]) for one in measured},
        }
        for name, measured in results.items()
    }
    result = {"when": now(), "machine": machine(), "rounds": rounds, "seconds": seconds, "works": works}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    return result


def _one(measured: Measured, reference: Measured) -> dict[str, object]:
    return {
        "version": measured.version,
        "median": {what: measured.median(what) for what in Round.__slots__},
        "ratio": asdict(ratio(measured, reference)),
        "rounds": [asdict(taken) for taken in measured.rounds],
    }


def default_path(name: str) -> Path:
    return Path("bench-results") / f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}-{name}.json"


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def machine() -> dict[str, object]:
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "commit": commit.stdout.strip() or None,
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
