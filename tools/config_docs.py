"""Writes the reference in docs/configuration.md from schema and precedence: `python -m tools.config_docs`, `--check` only
compares.

Owns: what stands between the two markers of that page; the rest of it is written by hand.
Must not know: any key.
Invariant: the same schema gives the same bytes, so that a test can tell whether the page is up to date.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic.fields import FieldInfo

from splitter.config import CONFIG_VARIABLE, Config
from splitter.config.environment import VARIABLES
from splitter.config.schema import key_of, kind_of
from splitter.config.sections import BackendConfig, Section
from splitter.config.sentences import sections_in
from splitter.state import GLOBAL, PERCENTS, SWITCHES, Baseline, Record, adopt_baseline, roll_back, set_percent
from tools.made_part import MadePart

PAGE: Final = Path(__file__).parent.parent / "docs" / "configuration.md"
PART: Final = MadePart("python -m tools.config_docs", "the descriptions in splitter/config")


def reference() -> str:
    """The reference as Markdown."""
    lines = [*_precedence(), *_environment(), *_table("Top level", "", _values(Config))]
    for name, field in Config.model_fields.items():
        section = sections_in(field.annotation)
        if section is not None:
            lines += _section(_place(key_of(name, field), field), field.description or "", section)
    return "\n".join(lines)


def _precedence() -> Iterator[str]:
    yield from ("### What is in force", "")
    yield from (
        "Does anything go to domain? The first line that is true answers; forced requests too go to legacy then.",
        "",
    )
    yield from ("| | while | requests bear the reason |", "|---|---|---|")
    for number, switch in enumerate(SWITCHES, 1):
        yield f"| {number} | {switch.meaning} | `{switch.reason}` |"
    yield from ("", "Which percent? The first layer that has one, for the global percent and for each route by itself.", "")
    yield from ("| | `from` begins with | set by |", "|---|---|---|")
    for number, layer in enumerate(PERCENTS, 1):
        yield f"| {number} | `{layer.word}` | {layer.meaning} |"
    yield from ("", "An edit of the file or the environment, noticed when it is saved or at the next start:", "")
    yield from ("| edited to another value | drops what was set at run time for |", "|---|---|")
    for what, dropped in _edits():
        yield f"| {what} | {dropped} |"
    yield ""


def _edits() -> Iterator[tuple[str, str]]:
    """What each edit drops, found out by making it, with everything overridden and rolled back."""
    percents = {GLOBAL: 10.0, "route": 10.0, "other route": 10.0}
    before = adopt_baseline(Record(), Baseline(use_domain_service=True, percents=percents), at_s=0)
    for name in percents:
        before = set_percent(before, name, 50, at_s=0, who="", why="")
    before = roll_back(before, at_s=0, who="", why="")
    for what, use, edited in (
        ("`rollout.percent`, `ROLLOUT_PERCENT`", True, {GLOBAL: 20.0}),
        ("`rollout.use_domain_service`, `USE_DOMAIN_SERVICE`", False, {}),
        ("the `percent` of a route", True, {"route": 20.0}),
        ("anything else: other keys, comments, the order of lines", True, {}),
    ):
        after = adopt_baseline(before, Baseline(use_domain_service=use, percents=percents | edited), at_s=1)
        if after.latch is None:
            raise AssertionError("an edit has cleared a rollback")
        dropped = before.overrides.keys() - after.overrides.keys()
        yield what, {0: "nothing", 1: "that route", 3: "the global percent and every route"}[len(dropped)]
    yield "whatever it is", "never the rollback: only `splitter resume` clears that"


def _environment() -> Iterator[str]:
    yield from ("### Environment", "", "| variable | sets | holds |", "|---|---|---|")
    yield f"| `{CONFIG_VARIABLE}` | which file is read | a path |"
    for variable in VARIABLES:
        yield f"| `{variable.name}` | `{'.'.join(map(str, variable.path))}` | {variable.holds} |"
    yield ""


def _section(path: str, description: str, section: type[Section]) -> Iterator[str]:
    """A heading and a table for a section, then for those in it. Sections of one shape are told once."""
    values = _values(section)
    if values:
        yield from _table(f"`{path}`", description, values)
    inner = [(key_of(name, field), field) for name, field in section.model_fields.items()]
    backends = [(key, field) for key, field in inner if _is_backend(field)]
    if backends:
        title = " and ".join(f"`{path}.{key}`" for key, _ in backends)
        yield from _table(title, " ".join(field.description or "" for _, field in backends), _backend_values(backends))
        path, inner = f"{path}.NAME", [(key_of(name, field), field) for name, field in BackendConfig.model_fields.items()]
    for key, field in inner:
        nested = sections_in(field.annotation)
        if nested is not None:
            yield from _section(_place(f"{path}.{key}", field), field.description or "", nested)


def _place(path: str, field: FieldInfo) -> str:
    """A path, marked when there may be several sections at it."""
    return path + "[]" * (typing.get_origin(field.annotation) is tuple)


def _is_backend(field: FieldInfo) -> bool:
    section = sections_in(field.annotation)
    return section is not None and issubclass(section, BackendConfig)


def _values(section: type[Section]) -> list[tuple[str, str, str, str]]:
    """(key, what is allowed, default, description) of the fields that hold values and may stand in a file."""
    rows = []
    for name, field in section.model_fields.items():
        key, kind = key_of(name, field), kind_of(field)
        if kind is not None and key not in section.environment_only:
            default = "required" if field.is_required() else f"`{kind.show(field.default)}`"
            rows.append((key, kind.allowed, default, field.description or ""))
    return rows


def _backend_values(backends: list[tuple[str, FieldInfo]]) -> list[tuple[str, str, str, str]]:
    """The rows of all backends in one table: where defaults differ, each is named."""
    tables = [(key, _values(sections_in(field.annotation) or Section)) for key, field in backends]
    rows = []
    for alike in zip(*(table for _, table in tables), strict=True):
        key, allowed, default, _ = alike[0]
        if len({row[2] for row in alike}) > 1:
            default = ", ".join(f"{name}: {row[2]}" for (name, _), row in zip(tables, alike, strict=True))
        shared = next(field for name, field in BackendConfig.model_fields.items() if key_of(name, field) == key)
        rows.append((key, allowed, default, shared.description or ""))
    return rows


def _table(title: str, description: str, rows: list[tuple[str, str, str, str]]) -> Iterator[str]:
    yield from (f"### {title}", "")
    if description:
        yield from (description, "")
    yield from ("| key | allowed | default | meaning |", "|---|---|---|---|")
    for key, *cells in rows:
        yield " | ".join((f"| `{key}`", *(cell.replace("|", "\\|") for cell in cells))) + " |"
    yield ""


def main(arguments: list[str] | None = None) -> int:
    return PART.main(PAGE, reference, arguments)


if __name__ == "__main__":
    sys.exit(main())
