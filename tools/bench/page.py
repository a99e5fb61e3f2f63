"""The page about the benchmark (docs/benchmarks.md) and its plots, made from one run.

Must not know: how anything was measured. Invariant: every figure on it comes from the run it names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tools.bench.goals import OURS, Outcome
from tools.bench.report import Measured, Results, cells, ratio
from tools.bench.work import WORKS, Kind

_WHAT: Final = {"cpu_us": "CPU for each", "rss_mib": "memory in MiB", "p99_ms": "99th percentile"}
_NOTES: Final = Path(__file__).with_name("notes.md")
_COLOURS: Final = {OURS: "#0b7a75", "nginx": "#8a8f98", "haproxy": "#8a8f98"}
_OTHER: Final = "#c9ccd1"
_SHORT: Final = ("small", "post", "new")
_WHY: Final = "What a missed goal is made of, and what was tried: [performance.md](performance.md)."


def sentence(outcome: Outcome) -> str:
    """One goal and what became of it."""
    goal = outcome.goal
    title, sign = WORKS[goal.work].title, "≥" if goal.at_least else "≤"
    by = f" / {goal.peer}" if goal.peer else ""
    mark = "met   " if outcome.met else "missed"
    return f"{mark}  {title}: {_WHAT[goal.what]}, splitter{by} = {outcome.value:.2f} (goal {sign} {goal.limit:g})"


def write(path: Path, results: Results, outcomes: Sequence[Outcome], result: Mapping[str, Any]) -> None:
    """Write the page, and plots beside it: NAME.svg and NAME.png of everything, NAME-short of what most people ask for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plot = path.with_suffix("")
    shown = [name for name in results if WORKS[name].kind in (Kind.REQUESTS, Kind.WEBSOCKET)]
    _plot(plot, results, shown)
    _plot(plot.with_name(f"{plot.name}-short"), results, [name for name in shown if name in _SHORT] or shown[:1])
    machine = result["machine"]
    versions = {one.name: one.version for measured in results.values() for one in measured}
    lines = [
        "# Benchmarks",
        "",
        f"Made by `make bench ARGS='--page {path}'` on {result['when'][:10]}: {machine['cpus']} cores of {machine['cpu']}, "
        f"Linux {machine['kernel']}, {result['rounds']} rounds of {result['seconds']} s each, interleaved; medians.",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
        "",
        f"![CPU for each request, as multiples of nginx's]({plot.name}.svg)",
        "",
        _NOTES.read_text().strip(),
        "",
        "## Goals",
        "",
        "| work | what | splitter by | goal | measured | |",
        "|---|---|---|---|---|---|",
        *map(_goal_row, outcomes),
        "",
        *([] if all(outcome.met for outcome in outcomes) else [_WHY, ""]),
        "## Everything",
    ]
    for name, measured in results.items():
        lines += ["", *_table(name, measured)]
    path.write_text("\n".join(lines) + "\n")


def _goal_row(outcome: Outcome) -> str:
    goal = outcome.goal
    sign = "≥" if goal.at_least else "≤"
    verdict = "met" if outcome.met else "**missed**"
    return (
        f"| {WORKS[goal.work].title} | {_WHAT[goal.what]} | {goal.peer or '-'} | {sign} {goal.limit:g} | "
        f"{outcome.value:.2f} | {verdict} |"
    )


def _table(name: str, measured: Sequence[Measured]) -> list[str]:
    work = WORKS[name]
    idle = work.kind is Kind.IDLE
    headings = ["RSS MiB", "KiB each"] if idle else [
        "CPU µs", "range", "by nginx's", "per s", "p50 ms", "p99 ms", "core", "RSS MiB"]  # fmt: skip
    rows = [[one.name, *cells(work, one, measured[-1])] for one in measured]
    return [
        f"### {work.title[0].upper()}{work.title[1:]}",
        "",
        "| proxy | " + " | ".join(headings) + " |",
        "|---" + "|--:" * len(headings) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _plot(path: Path, results: Results, shown: Sequence[str]) -> None:
    """Bars of CPU by nginx's, a panel for each of these kinds of work."""
    import matplotlib as mpl  # noqa: PLC0415 - half a second that only the page needs

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "bench"  # the same figures make the same file
    columns = min(3, len(shown)) or 1
    rows = -(-len(shown) // columns) or 1
    figure, grid = pyplot.subplots(rows, columns, figsize=(4.1 * columns, 2.5 * rows), squeeze=False)
    for panel in grid.flat:
        panel.set_visible(False)
    for panel, name in zip(grid.flat, shown, strict=False):
        measured = sorted(results[name], key=lambda one: one.median("cpu_us"), reverse=True)
        values = [ratio(one, results[name][-1]).median for one in measured]
        panel.set_visible(True)
        panel.barh([one.name for one in measured], values, color=[_COLOURS.get(one.name, _OTHER) for one in measured])
        for row, value in enumerate(values):
            panel.annotate(f"{value:.2f}", (value, row), xytext=(3, 0), textcoords="offset points", va="center", fontsize=8)
        panel.set_title(WORKS[name].title, fontsize=9, loc="left")
        panel.set_xlim(0, max(values) * 1.18)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        "CPU for each request or message, as multiples of nginx's (less is better)",
        fontsize=11,
        x=0.01,
        y=0.995,
        va="top",
        ha="left",
    )
    figure.tight_layout(rect=(0, 0, 1, 1 if rows == 1 else 0.97))
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=130)
    pyplot.close(figure)
