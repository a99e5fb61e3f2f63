"""What was found, on a terminal: a table and a few lines.

Owns: the layout. Must not know: how anything was found.
Invariant: everything of the table is there without colours too; a report into a file or a pipe has no escape codes.
"""

from __future__ import annotations

import sys
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from splitter.cli.compare.findings import Verdict
from splitter.cli.compare.told import Told, count
from splitter.compare.report import Row

_WIDTH_WITHOUT_TERMINAL: Final = 200
_SAMPLE_CHARACTERS: Final = 80
_ROWS_MAX: Final = 40
_COLOURS: Final = {Verdict.MATCH: "bold green", Verdict.MISMATCH: "bold red", Verdict.FAILED: "bold yellow"}


def progress() -> Progress:
    """A bar on standard error; nothing at all when that is no terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, disable=not console.is_terminal, transient=True,
    )  # fmt: skip


def show(told: Told) -> None:
    """Print it."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL)
    findings = told.findings
    console.print(Text(told.plan.title, style="bold"))
    console.print(Text(f"{told.control.name} {told.control.url}, {told.candidate.name} {told.candidate.url}", style="dim"))
    rows = findings.mismatches()
    if rows:
        console.print(_table(told, rows[:_ROWS_MAX]))
    if len(rows) > _ROWS_MAX:
        console.print(f"... and {count(len(rows) - _ROWS_MAX, 'more difference')}: --json and --html have all of them")
    for problem in findings.problems:
        console.print(Text(problem, style="yellow"))
    for each in findings.verdicts():
        for why, times in each.result.failures.items():
            console.print(Text(f"{each.result.title}: not compared ({times}): {why}", style="yellow"))
    for line in (told.noise, told.without_noise, f"latency: {told.latency}"):
        if line:
            console.print(Text(line))
    _skipped(console, told)
    console.print(Text(f"{told.headline} ({told.extent})", style=_COLOURS[findings.verdict]))


def _table(told: Told, rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("endpoint", overflow="fold")
    table.add_column("where", overflow="fold", style="bold")
    table.add_column("what", overflow="fold")
    table.add_column("requests", justify="right", no_wrap=True)
    table.add_column(told.control.name, overflow="fold", max_width=48)
    table.add_column(told.candidate.name, overflow="fold", max_width=48)
    for row in rows:
        sample = row.samples[0] if row.samples else None
        shown = (_short(sample.control), _short(sample.candidate)) if sample else ("", "")
        cells = (row.endpoint, row.path, row.kind.value, f"{row.differed} of {row.compared}", *shown)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _short(text: str) -> str:
    return text if len(text) <= _SAMPLE_CHARACTERS else text[: _SAMPLE_CHARACTERS - 3] + "..."


def _skipped(console: Console, told: Told) -> None:
    reasons: dict[str, list[str]] = {}
    for request, why in told.plan.skipped:
        reasons.setdefault(why, []).append(request)
    for why, requests in reasons.items():
        named = ", ".join(requests[:3]) + (f" and {len(requests) - 3} more" if len(requests) > 3 else "")
        console.print(Text(f"not sent: {named}: {why}", style="dim"))
