"""A flame graph from the raw stacks of py-spy: `python -m tools.bench.flame RAW SVG`.

    py-spy record --function --rate 500 --duration 12 --format raw --output RAW --pid WORKER

Owns: the drawing. Must not know: what was sampled.
Invariant: of a file only its path inside the project is shown, or its name: a picture in the documents tells nothing of the
machine it was made on.
"""

from __future__ import annotations

import html
import re
import sys
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_WIDTH: Final = 1200
_ROW: Final = 19
_LEAST_WIDTH: Final = 1.2
_LETTER: Final = 6.6
_FRAME: Final = re.compile(r"(.*) \((.*?)(?::\d+)?\)")
_LOOP: Final = ("Runner.run", "run")
_COLOURS: Final = (
    ("splitter/proxy/", "#e6{:02x}46", 120), ("splitter/http1/", "#ebb4{:02x}", 60), ("splitter/", "#96be{:02x}", 90),
)  # fmt: skip


@dataclass(slots=True)
class Box:
    """A function called from one place: how many samples it was in, and what it called."""

    name: str
    file: str
    samples: int = 0
    inside: dict[tuple[str, str], Box] = field(default_factory=dict)


def read(lines: Iterable[str]) -> Box:
    """All stacks as one tree; what is below the event loop is left out."""
    root = Box("event loop: uvloop, libuv, the kernel", "")
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = [(match[1], _shown(match[2])) for frame in stack.split(";") if (match := _FRAME.fullmatch(frame))]
        begin = next((at + 1 for at, (name, _) in reversed(list(enumerate(frames))) if name in _LOOP), 0)
        box = root
        box.samples += int(count)
        for name, file in frames[begin:]:
            box = box.inside.setdefault((name, file), Box(name, file))
            box.samples += int(count)
    return root


def _shown(file: str) -> str:
    return file[file.index("splitter/") :] if "splitter/" in file else Path(file).name


def _colour(box: Box) -> str:
    if not box.file:
        return "#9fb3c8"
    for begin, colour, base in _COLOURS:
        if box.file.startswith(begin):
            return colour.format(base + zlib.crc32(box.name.encode()) % 40)
    return "#c9c2b4"


def draw(root: Box, title: str) -> str:
    """As SVG. The width of a box is its share of the samples."""
    placed: list[tuple[float, int, float, Box]] = []

    def place(box: Box, left: float, row: int) -> None:
        width = _WIDTH * box.samples / root.samples
        if width >= _LEAST_WIDTH:
            placed.append((left, row, width, box))
            for inner in sorted(box.inside.values(), key=lambda one: -one.samples):
                place(inner, left, row + 1)
                left += _WIDTH * inner.samples / root.samples

    place(root, 0.0, 0)
    height = _ROW * (max(row for _, row, _, _ in placed) + 1) + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="system-ui, sans-serif" '
        'font-size="11.5"><rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="6" y="20" font-size="15" fill="#222222">{html.escape(title)}: {root.samples:,} samples</text>',
        '<text x="6" y="38" fill="#555555">grey: not Python (system calls, event loop); orange: proxy/; yellow: http1/; '
        "green: routing, stats. Point at a box for its share.</text>",
    ]
    parts += [_box(box, left, height - 6 - (row + 1) * _ROW, width, root.samples) for left, row, width, box in placed]
    return "\n".join([*parts, "</svg>", ""])


def _box(box: Box, left: float, top: int, width: float, samples: int) -> str:
    share = 100 * box.samples / samples
    place = f" ({box.file})" if box.file else ""
    drawn = (
        f"<g><title>{html.escape(box.name + place)} {share:.1f} %</title>"
        f'<rect x="{left:.1f}" y="{top}" width="{max(width - 0.6, 0.5):.1f}" height="{_ROW - 1.5}" rx="2" '
        f'fill="{_colour(box)}"/>'
    )
    room, label = int(width / _LETTER), f"{box.name} {share:.0f} %"
    if len(label) > room:
        label = box.name if len(box.name) <= room else box.name[: room - 1] + "…"
    if room > 4:
        drawn += f'<text x="{left + 4:.1f}" y="{top + 13}" fill="#1c1c1c">{html.escape(label)}</text>'
    return drawn + "</g>"


def main() -> int:
    raw, svg = Path(sys.argv[1]), Path(sys.argv[2])
    svg.write_text(draw(read(raw.read_text().splitlines()), "A worker with small GETs on kept connections, width is time"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
