"""Tells the story and takes the pictures: `python -m tools.pictures`, five minutes.

Owns: which picture is taken when, and that each is small. Must not know: the story, how a dashboard is drawn.
With `--keep FOLDER` the data stay there, and `--again FOLDER` draws from them what needs no running splitter.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from PIL import Image

from tools.children import end_group, start
from tools.dashboards import preview
from tools.dashboards.asking import Span, wait_until_ready
from tools.pictures.screens import photograph
from tools.pictures.story import SCRAPE_S, Scene, prometheus_command, stage, tell
from tools.ports import free_port

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
LARGEST_BYTES: Final = 300_000
PICTURES: Final = ("dashboard-called.png", "dashboard-progress.png", "dashboard-inside.png")
"""Of dashboards: of the rollout twice, and of the inside."""


async def _told(folder: Path) -> None:
    with stage(folder) as scene:

        async def look(moment: str) -> None:
            pages = ("targets", "alerts") if moment == "alerts" else ("graph",)
            await photograph(scene.prometheus_port, _files(*pages))

        await tell(scene, look)
        (folder / "scene.json").write_text(json.dumps(scene.acts), "utf-8")
        await asyncio.to_thread(_draw, scene.prometheus_port, scene.acts)


def files() -> list[Path]:
    """All pictures."""
    return [*_files("targets", "alerts", "graph").values(), *(IMAGES / name for name in PICTURES)]


def _files(*names: str) -> dict[str, Path]:
    return {name: IMAGES / f"prometheus-{name}.png" for name in names}


def _draw(port: int, acts: dict[str, float]) -> None:
    """Of the rollout, what somebody sees who is called, and then how it went on."""
    end_s = max(acts.values())
    called = Span(min(acts.values()), acts["a guardrail has rolled back"] + 4, SCRAPE_S)
    whole = Span(min(acts.values()), end_s, SCRAPE_S)
    for name, uid, span, rows in (
        (PICTURES[0], "splitter-rollout", called, ("Now", "Where is the traffic?", "Which side fails, and why?")),
        (PICTURES[1], "splitter-rollout", whole, ("How long do requests take?", "How far is the rollout?")),
        (PICTURES[2], "splitter-inside", whole, ()),
    ):
        preview.draw(preview.FOLDER / f"{uid}.json", f"http://127.0.0.1:{port}", span, IMAGES / name, rows)


def _again(folder: Path) -> None:
    """From the data that a telling left behind."""
    scene = Scene(free_port(), 0, 0, 0, json.loads((folder / "scene.json").read_text("utf-8")))
    child = start(prometheus_command(folder, scene.prometheus_port), folder / "prometheus.log", cwd=folder)
    try:
        wait_until_ready(f"http://127.0.0.1:{scene.prometheus_port}")
        _draw(scene.prometheus_port, scene.acts)
    finally:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(10)
        end_group(child.pid)
        child.wait()


def _shrink() -> int:
    """Make the files small by a palette; how many are too large all the same."""
    too_large = 0
    for file in files():
        with Image.open(file) as picture:
            if picture.mode != "P":
                small = picture.convert("RGB").quantize(255, dither=Image.Dither.NONE)
                small.save(file, optimize=True)
        size = file.stat().st_size
        too_large += size > LARGEST_BYTES
        print(f"{file.name}: {size // 1024} KiB")
    return too_large


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.pictures", description="Make the pictures of docs/monitoring.md.")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the story's data there")
    parser.add_argument("--again", type=Path, metavar="FOLDER", help="only draw the dashboards, from such data")
    options = parser.parse_args(arguments)
    IMAGES.mkdir(exist_ok=True)
    began_s = time.monotonic()
    if options.again is not None:
        _again(options.again.absolute())
    elif options.keep is not None:
        options.keep.mkdir(parents=True)
        asyncio.run(_told(options.keep.absolute()))
    else:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(_told(Path(folder)))
    print(f"after {time.monotonic() - began_s:.0f} s")
    return 1 if _shrink() else 0


if __name__ == "__main__":
    sys.exit(main())
