"""The kinds of panels there are, drawn into matplotlib's axes.

Owns: how each kind looks. Must not know: where panels lie on the page, Prometheus.
"""

from __future__ import annotations

import math
from typing import Any

import numpy
from matplotlib import colormaps, dates
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.ticker import MaxNLocator

from tools.dashboards.asking import Asked, Json, Series
from tools.dashboards.looks import EDGE, FAINT, GRID, PANEL, TEXT, colours, overridden, said, shown

_WIDE = 12
"""Columns of a panel that counts as wide: a word needs less of its width."""
_NAMES = 6
_SHORT_S = 600


def draw_panel(axes: Axes, panel: Json, asked: Asked) -> None:
    """Ask what the panel asks and draw it. Raises KeyError for a kind of panel that the dashboards don't have."""
    found = [series for target in panel["targets"] for series in asked.series(target)]
    _KINDS[panel["type"]](axes, panel, found, asked)


def over_time(axes: Axes, asked: Asked) -> None:
    """The span shown, with its times below."""
    axes.set_xlim(_when(asked.span.start_s), _when(asked.span.end_s))
    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=2, maxticks=6))  # type: ignore[no-untyped-call]
    form = "%H:%M:%S" if asked.span.end_s - asked.span.start_s < _SHORT_S else "%H:%M"
    axes.xaxis.set_major_formatter(dates.DateFormatter(form))  # type: ignore[no-untyped-call] # matplotlib's has no types
    axes.tick_params(colors=FAINT, labelsize=7.5, length=0)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _when(at_s: Any) -> Any:
    return numpy.asarray(at_s) / 86400


def _figure(axes: Axes, panel: Json, found: list[Series], _asked: Asked) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    axes.axis("off")
    if found and not math.isnan(found[0].last):
        text, colour = said(found[0].last, defaults)
    else:
        text, colour = defaults.get("noValue", "no data"), "#6e7480"
    axes.set_facecolor(colour)
    axes.patch.set_visible(True)
    axes.axis("on")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=22, fontweight="bold", color="white")


def _lines(axes: Axes, panel: Json, found: list[Series], asked: Asked) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults.get("custom", {})
    is_stacked = custom.get("stacking", {}).get("mode") == "normal"
    over_time(axes, asked)
    right: Axes | None = None
    below = numpy.zeros(len(found[0].times_s)) if found else numpy.zeros(0)
    handles = []
    for series, colour in zip(found, colours([one.name for one in found], panel), strict=True):
        special = overridden(series.name, panel)
        target, unit = axes, special.get("unit", defaults.get("unit", "none"))
        if special.get("custom.axisPlacement") == "right":
            right = target = right or _right(axes, asked, unit)
        base = below if is_stacked else numpy.zeros(len(series.times_s))
        top = base + (numpy.nan_to_num(series.values) if is_stacked else series.values)
        (line,) = target.plot(_when(series.times_s), top, color=colour, linewidth=1.2)
        target.fill_between(_when(series.times_s), base, top, color=colour, alpha=custom.get("fillOpacity", 0) / 100, lw=0)
        handles.append((float(numpy.nan_to_num(series.values).max()), line, series.name))
        below = top if is_stacked else below
    if right is not None:
        right.set_ylim(0, _highest(right) * 1.1 or 1)
    axes.set_ylim(defaults.get("min", 0), defaults.get("max") or _highest(axes) * 1.1 or 1)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.yaxis.set_major_formatter(lambda value, _place: shown(value, defaults.get("unit", "none")))
    if custom.get("thresholdsStyle", {}).get("mode") == "dashed":
        for step in defaults["thresholds"]["steps"][1:]:
            if step["value"] <= axes.get_ylim()[1]:
                axes.axhline(step["value"], color="#F2495C", linewidth=1, linestyle=(0, (6, 4)))
    _legend(axes, handles)


def _right(axes: Axes, asked: Asked, unit: str) -> Axes:
    other = axes.twinx()
    over_time(other, asked)
    other.grid(visible=False)
    other.yaxis.set_major_locator(MaxNLocator(nbins=4))
    other.yaxis.set_major_formatter(lambda value, _place: shown(value, unit))
    return other


def _highest(axes: Axes) -> float:
    """The highest point of any of its lines."""
    tops = [numpy.asarray(line.get_ydata(), float) for line in axes.lines]
    return max((float(numpy.nanmax(top)) for top in tops if not numpy.isnan(top).all()), default=0.0)


def _legend(axes: Axes, handles: list[tuple[float, Any, str]]) -> None:
    """As many names as there is room for, those of the highest lines; Grafana's list can be scrolled."""
    kept = sorted(handles, key=lambda handle: -handle[0])[:_NAMES]
    kept = [handle for handle in handles if handle in kept]
    names = [name or "value" for _, _, name in kept]
    axes.legend(
        [line for _, line, _ in kept], names, loc="upper left", ncols=3, fontsize=7, bbox_to_anchor=(-0.02, -0.1),
        frameon=False, labelcolor=TEXT, handlelength=1.2, columnspacing=1.2, borderpad=0.1, labelspacing=0.3,
    )  # fmt: skip
    if len(handles) > len(kept):
        axes.text(
            1, 1.02, f"and {len(handles) - len(kept)} more", transform=axes.transAxes, fontsize=7, color=FAINT, ha="right"
        )


def _states(axes: Axes, panel: Json, found: list[Series], asked: Asked) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    over_time(axes, asked)
    axes.grid(visible=False)
    span = asked.span
    for row, series in enumerate(reversed(found)):
        for begin, end, value in _runs(series, span.step_s):
            text, colour = said(value, defaults)
            axes.barh(row, _when(end - begin), left=_when(begin), height=0.82, color=colour, alpha=0.85, linewidth=0)
            # What lasts less of the span than its word is wide has no word on it, as in Grafana.
            share = (end - begin) / (span.end_s - span.start_s)
            if share > len(text) / (130 if panel["gridPos"]["w"] >= _WIDE else 75):
                axes.text(
                    _when(begin) + _when(end - begin) / 2, row, text, ha="center", va="center", fontsize=7.5, color="white"
                )
    axes.set_ylim(-0.6, len(found) - 0.4)
    axes.set_yticks(range(len(found)), [series.name for series in reversed(found)])


def _runs(series: Series, step_s: float) -> list[tuple[float, float, float]]:
    """From when to when which value."""
    runs: list[list[float]] = []
    for at_s, value in zip(series.times_s, series.values, strict=True):
        if math.isnan(value):
            continue
        if runs and runs[-1][2] == value and at_s - runs[-1][1] < step_s / 2:
            runs[-1][1] = at_s + step_s
        else:
            runs.append([at_s, at_s + step_s, value])
    return [(begin, end, value) for begin, end, value in runs]


def _heat(axes: Axes, panel: Json, found: list[Series], asked: Asked) -> None:
    over_time(axes, asked)
    axes.grid(visible=False)
    ordered = sorted(found, key=lambda series: float(series.labels["le"].replace("+Inf", "inf")))
    bounds = [float(series.labels["le"].replace("+Inf", "inf")) for series in ordered]
    table = numpy.array([numpy.nan_to_num(series.values) for series in ordered])
    cells = numpy.diff(table, axis=0, prepend=0)
    cells = numpy.where(cells > panel["options"]["filterValues"]["le"], cells, numpy.nan)
    used = [row for row in range(len(bounds)) if not numpy.isnan(cells[row]).all()]
    if not used:
        return
    low, high = min(used), max(used) + 1
    scheme = colormaps[panel["options"]["color"]["scheme"]]
    tones = LinearSegmentedColormap.from_list("dark", [scheme(0.95), scheme(0.6), scheme(0.15)])
    edges = _when(numpy.append(ordered[0].times_s, ordered[0].times_s[-1] + asked.span.step_s))
    axes.pcolormesh(
        edges, numpy.arange(low, high + 1), cells[low:high], cmap=tones, norm=PowerNorm(0.5), edgecolors=PANEL, linewidth=0.3
    )
    axes.set_yticks(numpy.arange(low, high) + 1, [shown(bounds[row], "s") if math.isfinite(bounds[row]) else "∞"
                                                   for row in range(low, high)])  # fmt: skip
    axes.set_ylim(low, high)
    if panel["targets"][0].get("exemplar"):
        dots = asked.exemplars(panel["targets"][0]["expr"])
        places = [_place(value, bounds) for _, value in dots]
        axes.scatter(_when([at_s for at_s, _ in dots]), places, s=4, marker="D", color="#ff00ff", alpha=0.7, linewidths=0)


def _place(value: float, bounds: list[float]) -> float:
    """Where a value is among the buckets, which are all equally high."""
    row = next(row for row, bound in enumerate(bounds) if value <= bound)
    below = bounds[row - 1] if row else 0.0
    return row + ((value - below) / (bounds[row] - below) if math.isfinite(bounds[row]) else 0.5)


def _table(axes: Axes, panel: Json, _found: list[Series], asked: Asked) -> None:
    axes.axis("off")
    renamed = panel["transformations"][1]["options"]["renameByName"]
    label, *values = renamed
    columns = [asked.series(target) for target in panel["targets"]]
    numbers = any(name.startswith("Value") for name in values)
    rows = [
        [one.labels.get(label, ""), *(
            [shown(next((two.last for two in column if two.labels.get(label) == one.labels.get(label)), math.nan), "none")
             for column in columns] if numbers else [one.labels.get(name, "") for name in values])]
        for one in columns[0]
    ]  # fmt: skip
    places = [0.0, *(0.98 - 0.24 * back for back in reversed(range(len(values))))]
    for line, row in enumerate([list(renamed.values()), *rows]):
        height = 0.95 - line * 0.13
        for column, (place, text) in enumerate(zip(places, row, strict=True)):
            axes.text(place, height, text, fontsize=8.5, color=TEXT if line else FAINT, va="center",
                      ha="right" if column else "left", transform=axes.transAxes)  # fmt: skip
        axes.plot([0, 1], [height - 0.065] * 2, color=EDGE, linewidth=0.8, transform=axes.transAxes)


_KINDS = {
    "stat": _figure, "timeseries": _lines, "state-timeline": _states, "heatmap": _heat, "table": _table,
}  # fmt: skip
