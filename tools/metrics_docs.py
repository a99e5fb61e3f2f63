"""Writes the tables in docs/metrics.md: `python -m tools.metrics_docs`, `--check` only compares.

Owns: what stands between the two markers of that page; the rest of it is written by hand. Must not know: any metric.
Invariant: the same table of metrics gives the same bytes, so that a test can tell whether the page is up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from splitter.metrics import FAMILIES
from splitter.metrics.families import Family, Label
from tools.made_part import MadePart

PAGE: Final = Path(__file__).parent.parent / "docs" / "metrics.md"
PART: Final = MadePart("python -m tools.metrics_docs", "splitter/metrics/table.py")


def reference() -> str:
    """The reference as Markdown."""
    return "\n".join(line for family in FAMILIES for line in _family(family))


def _family(family: Family) -> Iterator[str]:
    names = ", ".join(label.name for label in family.labels)
    yield from (
        f"### `{family.name}{{{names}}}`" if names else f"### `{family.name}`",
        "",
        f"*{family.kind.value}* {family.help}",
        "",
    )
    for label in family.labels:
        yield f"- `{label.name}`: {_values(label)}"
    if family.labels:
        yield ""


def _values(label: Label) -> str:
    return "; ".join(filter(None, (", ".join(f"`{value}`" for value in label.values), label.note)))


def main(arguments: list[str] | None = None) -> int:
    return PART.main(PAGE, reference, arguments)


if __name__ == "__main__":
    sys.exit(main())
