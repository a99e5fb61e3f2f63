"""Values as text, and colours, in the manner of Grafana's dark theme.

Owns: units, value mappings, thresholds, the names of colours. Must not know: panels, matplotlib.
"""

from __future__ import annotations

import math
import re
from typing import Any

Json = dict[str, Any]

PAGE, PANEL, EDGE, TEXT, FAINT, GRID = "#111217", "#181b1f", "#2a2d33", "#d5d6dc", "#8e9096", "#2f3238"
COLOURS = {
    "green": "#73BF69", "red": "#F2495C", "orange": "#FF9830", "blue": "#5794F2", "purple": "#B877D9", "yellow": "#FADE2A",
    "text": "#6e7480",
}  # fmt: skip
_SERIES = ("#73BF69", "#F2CC0C", "#8AB8FF", "#FF780A", "#F2495C", "#5794F2", "#B877D9", "#8F3BB8", "#37872D", "#E0B400")
_SCALES = {"bytes": (1024, ("B", "KiB", "MiB", "GiB")), "Bps": (1000, ("B/s", "kB/s", "MB/s", "GB/s"))}
_SPANS = ((1e-3, 1e-6, "µs"), (1.0, 1e-3, "ms"), (120.0, 1.0, "s"), (7200.0, 60.0, "min"), (math.inf, 3600.0, "h"))


def shown(value: float, unit: str) -> str:
    """A value with its unit, three digits at most."""
    if math.isnan(value):
        return "-"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "percent":
        return f"{value:.3g} %"
    if unit == "s":
        _, scale, word = next(row for row in _SPANS if abs(value) < row[0]) if value else (0, 1.0, "s")
        return f"{value / scale:.3g} {word}"
    if unit in _SCALES:
        base, words = _SCALES[unit]
        power = min(len(words) - 1, int(math.log(value, base))) if value >= 1 else 0
        return f"{value / base**power:.3g} {words[power]}"
    return f"{value:.3g} req/s" if unit == "reqps" else f"{value:.4g}"


def said(value: float, defaults: Json) -> tuple[str, str]:
    """The text and the colour that a panel has for a value."""
    for mapping in defaults.get("mappings", ()):
        found = mapping["options"].get(f"{value:g}")
        if found:
            return found["text"], COLOURS[found["color"]]
    steps = defaults.get("thresholds", {}).get("steps", ())
    passed = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return shown(value, defaults.get("unit", "none")), COLOURS[passed[-1] if passed else "text"]


def overridden(name: str, panel: Json) -> Json:
    """What the panel's overrides say of the series with that name: properties by their ids."""
    found: Json = {}
    for override in panel["fieldConfig"]["overrides"]:
        matcher, wanted = override["matcher"]["id"], override["matcher"]["options"]
        by_name = matcher == "byName" and wanted == name
        if by_name or (matcher == "byRegexp" and re.search(wanted.strip("/"), name)):
            found |= {one["id"]: one["value"] for one in override["properties"]}
    return found


def colours(names: list[str], panel: Json) -> list[str]:
    """One for each series: the one the panel sets, else the next of a row."""
    free = iter(_SERIES * (1 + len(names) // len(_SERIES)))
    fixed = [overridden(name, panel).get("color", {}).get("fixedColor") for name in names]
    taken: set[str] = set()
    found = []
    for colour in fixed:
        wanted = COLOURS[colour] if colour else ""
        # Several series of one side: the first has its colour, the others one of the row each.
        found.append(wanted if wanted and wanted not in taken else next(free))
        taken.add(found[-1])
    return found
