"""Draws a dashboard as a picture, from its JSON and a real Prometheus: `python -m tools.dashboards.preview`.

Owns: where panels lie, titles, the marks of what changed. Must not know: how a kind of panel is drawn (`drawing`).
It is for whoever has no Grafana at hand: the queries, units, words, colours, limits and places are the dashboard's own, the
drawing is ours and looks different.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from tools.dashboards.asking import Asked, Json, Span
from tools.dashboards.drawing import draw_panel
from tools.dashboards.looks import COLOURS, EDGE, FAINT, PAGE, PANEL, TEXT

FOLDER: Final = Path(__file__).parents[2] / "config" / "grafana" / "dashboards"
_WIDE, _HIGH, _GAP, _TOP = 60, 36, 4, 44
"""Pixels: of one of 24 columns, of one unit of height, half of the gap between panels, of the line at the top."""
_DPI: Final = 100
_INSETS: Final = {  # left, right, top, bottom of what is drawn in a panel, in pixels
    "stat": (0, 0, 0, 0), "timeseries": (58, 14, 32, 54), "state-timeline": (128, 12, 36, 26), "heatmap": (58, 12, 34, 24),
    "table": (12, 12, 40, 10),
}  # fmt: skip


def draw(dashboard: Path, prometheus_url: str, span: Span, file: Path, rows: tuple[str, ...] = ()) -> None:
    """Save a picture of the dashboard, or of the rows with these titles. Raises what `Asked` raises."""
    page = json.loads(dashboard.read_text("utf-8"))
    asked = Asked(prometheus_url, span)
    panels = list(_chosen(page["panels"], rows))
    first = min(panel["gridPos"]["y"] for panel in panels)
    last = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    sheet = _Sheet(first, last - first)
    shown = (
        f"{time.strftime('%H:%M:%S', time.gmtime(span.start_s))} to {time.strftime('%H:%M:%S', time.gmtime(span.end_s))} UTC"
    )
    sheet.headline(page["title"], shown)
    found = {entry["name"]: list(_marks(asked, entry)) for entry in page["annotations"]["list"]}
    sheet.name_marks([(name, marks[0][1]) for name, marks in found.items() if marks])
    marks = [mark for some in found.values() for mark in some]
    for panel in panels:
        sheet.add(panel, asked, marks)
    sheet.figure.savefig(file)


def _chosen(panels: list[Json], rows: tuple[str, ...]) -> Iterator[Json]:
    is_in = not rows
    for panel in panels:
        if panel["type"] == "row" and rows:
            is_in = panel["title"] in rows
        if is_in:
            yield panel


def _marks(asked: Asked, entry: Json) -> Iterator[tuple[float, str]]:
    """When something changed, and its colour. Times in a row are one change."""
    for one in asked.ranged(entry["expr"]):
        before_s = 0.0
        for at_s, _ in one["values"]:
            if at_s - before_s > 1.5 * asked.span.step_s:
                yield at_s, COLOURS[entry["iconColor"]]
            before_s = at_s


class _Sheet:
    """The page."""

    def __init__(self, first: int, height: int) -> None:
        self._first = first
        self._width_px, self._height_px = 24 * _WIDE, height * _HIGH + _TOP + _GAP
        self.figure = Figure(figsize=(self._width_px / _DPI, self._height_px / _DPI), dpi=_DPI, facecolor=PAGE)

    def headline(self, title: str, span: str) -> None:
        self._text(16, _TOP / 2, title, fontsize=14, fontweight="bold", color=TEXT, va="center")
        self._text(self._width_px - 16, _TOP / 2, span, fontsize=9, color=FAINT, va="center", ha="right")

    def name_marks(self, marks: list[tuple[str, str]]) -> None:
        """What the dotted lines mean, in their colours."""
        for place, (name, colour) in enumerate(marks):
            self._text(self._width_px / 2 - 200 + place * 80, _TOP / 2, f"┊ {name}", fontsize=9, color=colour, va="center")

    def add(self, panel: Json, asked: Asked, marks: list[tuple[float, str]]) -> None:
        place = panel["gridPos"]
        left, top = place["x"] * _WIDE + _GAP, (place["y"] - self._first) * _HIGH + _TOP
        width, height = place["w"] * _WIDE - 2 * _GAP, place["h"] * _HIGH - 2 * _GAP
        if panel["type"] == "row":
            self._text(left + 8, top + height / 2 + 2, f"▾ {panel['title']}", fontsize=11.5, color=TEXT, va="center")
            return
        self._box(left, top, width, height)
        inset = _INSETS[panel["type"]]
        axes = self.figure.add_axes(
            (
                (left + inset[0]) / self._width_px,
                1 - (top + height - inset[3]) / self._height_px,
                (width - inset[0] - inset[1]) / self._width_px,
                (height - inset[2] - inset[3]) / self._height_px,
            ),
            facecolor=PANEL,
        )
        draw_panel(axes, panel, asked)
        if panel["type"] == "timeseries":
            for at_s, colour in marks:
                axes.axvline(at_s / 86400, color=colour, linewidth=0.9, linestyle=(0, (2, 3)), alpha=0.8)
        colour = "white" if panel["type"] == "stat" else TEXT
        self._text(left + 12, top + 17, panel["title"], fontsize=9.5, fontweight="bold", color=colour, va="center")

    def _box(self, left: float, top: float, width: float, height: float) -> None:
        corner = (left / self._width_px, 1 - (top + height) / self._height_px)
        size = (width / self._width_px, height / self._height_px)
        self.figure.add_artist(
            FancyBboxPatch(corner, *size, boxstyle="square,pad=0", facecolor=PANEL, edgecolor=EDGE, linewidth=0.8,
                           transform=self.figure.transFigure, zorder=-1)
        )  # fmt: skip

    def _text(self, x_px: float, y_px: float, text: str, **look: Any) -> None:
        self.figure.text(x_px / self._width_px, 1 - y_px / self._height_px, text, **look)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.dashboards.preview", description=draw.__doc__)
    parser.add_argument("dashboard", type=Path, help="its JSON, such as config/grafana/dashboards/splitter-rollout.json")
    parser.add_argument("picture", type=Path, help="the PNG to write")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--minutes", type=float, default=15, help="how many, up to now (default 15)")
    parser.add_argument("--scrape-s", type=float, default=5, metavar="S", help="Prometheus' scrape interval (default 5)")
    options = parser.parse_args(arguments)
    span = Span(time.time() - options.minutes * 60, time.time(), options.scrape_s)
    try:
        draw(options.dashboard, options.prometheus, span, options.picture)
    except (OSError, ValueError) as error:
        print(f"{options.prometheus}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
