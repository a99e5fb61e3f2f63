"""What the documents name is there: tests, settings, other documents."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from splitter.config import Config
from splitter.config.schema import key_of
from splitter.config.sections import Section
from splitter.config.sentences import sections_in

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
THREATS = ROOT / "THREAT_MODEL.md"
PAGES = (THREATS, ROOT / "docs" / "http.md")

_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")
_SETTING = re.compile(r"`((?:listen|admin|limits|rollout|fallback|backends)\.[a-z_.]+)[`:]")
_LINK = re.compile(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)")


def names_in(path: Path) -> set[str]:
    """The names of all test functions of a file, those of classes too."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_every_test_the_threat_model_names_exists() -> None:
    named = set(_TEST.findall(THREATS.read_text("utf-8")))
    assert len(named) > 40
    missing = [
        f"{path}::{name}" for path, name in named if not (TESTS / path).exists() or name not in names_in(TESTS / path)
    ]
    assert missing == []


def test_every_row_of_the_threat_model_names_a_test() -> None:
    rows = [
        line for line in THREATS.read_text("utf-8").splitlines() if line.startswith("| ") and not line.startswith("| tries")
    ]
    assert len(rows) > 25
    assert [row for row in rows if not _TEST.search(row.split(" | ")[-1])] == []


def settings(section: type[Section], prefix: str = "") -> set[str]:
    found = set()
    for name, field in section.model_fields.items():
        path = f"{prefix}{key_of(name, field)}"
        found.add(path)
        inner = sections_in(field.annotation)
        if inner is not None:
            found |= settings(inner, f"{path}.")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_a_page_names_exists(page: Path) -> None:
    named = set(_SETTING.findall(page.read_text("utf-8")))
    assert named
    assert named - settings(Config) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    broken = [link for link in _LINK.findall(page.read_text("utf-8")) if not (page.parent / link).exists()]
    assert broken == []
