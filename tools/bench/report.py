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
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table


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


@dataclass(slots=True)
class Measured:
    """All rounds of one peer."""

    name: str
    version: str
    rounds: list[Round] = field(default_factory=list)

    def median(self, what: str) -> float:
        values: list[float] = [getattr(taken, what) for taken in self.rounds]
        return statistics.median(values)


@dataclass(frozen=True, slots=True)
class Ratio:
    """CPU for a request, one peer's by another's: of the medians, and of the rounds, which ran one after the other."""

    median: float
    lowest: float
    highest: float


def ratio(measured: Measured, reference: Measured) -> Ratio:
    by_round = [mine.cpu_us / other.cpu_us for mine, other in zip(measured.rounds, reference.rounds, strict=True)]
    return Ratio(measured.median("cpu_us") / reference.median("cpu_us"), min(by_round), max(by_round))


def show(console: Console, title: str, all_measured: Sequence[Measured], reference: Measured) -> None:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("proxy", no_wrap=True, min_width=8)
    for heading in ("µs CPU", "range", "ratio", "req/s", "p50 ms", "p99 ms", "core", "RSS MiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for measured in all_measured:
        cpu_us = [taken.cpu_us for taken in measured.rounds]
        table.add_row(
            measured.name,
            f"{measured.median('cpu_us'):.1f}",
            f"{min(cpu_us):.1f}-{max(cpu_us):.1f}",
            f"{ratio(measured, reference).median:.2f}",
            f"{measured.median('requests_per_s'):,.0f}",
            f"{measured.median('p50_ms'):.2f}",
            f"{measured.median('p99_ms'):.2f}",
            f"{measured.median('busy'):.0%}",
            f"{measured.median('rss_mib'):.0f}",
        )
    console.print(table)
    for measured in all_measured:
        if measured is not reference:
            of = ratio(measured, reference)
            console.print(
                f"{measured.name} ({measured.version}) / {reference.name} ({reference.version}): {of.median:.2f} times the "
                f"CPU for a request (single rounds: {of.lowest:.2f} to {of.highest:.2f})"
            )


def write(path: Path, workload: dict[str, object], all_measured: Sequence[Measured], reference: Measured) -> None:
    """Write everything as JSON; the directory is made if it is missing."""
    peers = {
        measured.name: {
            "version": measured.version,
            "median": {what: measured.median(what) for what in Round.__slots__},
            "ratio": asdict(ratio(measured, reference)),
            "rounds": [asdict(taken) for taken in measured.rounds],
        }
        for measured in all_measured
    }
    result = {"when": _now(), "machine": _machine(), "workload": workload, "reference": reference.name, "peers": peers}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


def default_path(name: str) -> Path:
    return Path("bench-results") / f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}-{name}.json"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _machine() -> dict[str, object]:
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
