"""Writes the dashboards in config/grafana/dashboards: `python -m tools.dashboards`, `--check` only compares.

Owns: from panels to files. Must not know: any panel.
Invariant: the same code and the same version of the SDK give the same bytes, so that a test can tell whether the files are
up to date.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from string import ascii_uppercase
from types import ModuleType
from typing import Any, Final

from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, Row
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DashboardLinkType

from tools.dashboards import inside, rollout
from tools.dashboards.parts import EVENTS, marks, variables

FOLDER: Final = Path(__file__).parents[2] / "config" / "grafana" / "dashboards"
PAGES: Final[tuple[ModuleType, ...]] = (rollout, inside)


def file_of(page: ModuleType) -> Path:
    return FOLDER / f"{page.UID}.json"


def text_of(page: ModuleType) -> str:
    """A dashboard as the JSON that Grafana reads."""
    made = (
        Dashboard(page.TITLE)
        .uid(page.UID)
        .tags(["splitter"])
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(
            DashboardLink("Splitter")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["splitter"])
            .include_vars(include_vars=True)
            .keep_time(keep_time=True)
        )
    )
    for variable in variables():
        made.with_variable(variable)
    for mark in marks():
        made.annotation(mark)
    for number, panel in enumerate(page.panels(), 1):
        panel.id(number)
        if isinstance(panel, Row):
            made.with_row(panel)
        else:
            made.with_panel(panel)
    document: dict[str, Any] = json.loads(json.dumps(made.build(), cls=JSONEncoder))
    # The SDK leaves them empty, and Grafana's tables name columns by them: "Value #A".
    for shown in document["panels"]:
        for letter, target in zip(ascii_uppercase, shown.get("targets", ()), strict=False):
            target["refId"] = letter
    # Grafana makes the title of a mark from this; the SDK's model of annotations lacks it.
    for mark, (*_, title) in zip(document["annotations"]["list"], EVENTS, strict=True):
        mark["titleFormat"] = title
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.dashboards", description="Write the Grafana dashboards.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if one is not up to date")
    options = parser.parse_args(arguments)
    old = [page for page in PAGES if not file_of(page).exists() or file_of(page).read_text("utf-8") != text_of(page)]
    for page in old:
        if options.check:
            print(f"{file_of(page).name} is not up to date: run python -m tools.dashboards", file=sys.stderr)
        else:
            file_of(page).write_text(text_of(page), "utf-8")
    return 1 if old and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
