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


# --- the README, in two languages -----------------------------------------------------------------------------------

READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")


def code_of(page: Path) -> list[str]:
    """Every line of its fenced blocks, without comments, which are in the page's language."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [re.sub(r"\s+# .*$", "", line) for block in blocks for line in block.splitlines()]


def test_both_readmes_have_the_same_commands_and_show_the_same_output() -> None:
    english, chinese = map(code_of, READMES)
    assert len(english) > 30
    assert chinese == english


def test_both_readmes_lead_to_the_same_documents() -> None:
    english, chinese = (set(_LINK.findall(page.read_text("utf-8"))) for page in READMES)
    names = {page.name for page in READMES}
    assert len(english) > 15
    assert english - names - chinese == set(), "missing in Chinese"


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_each_readme_links_the_other_and_nothing_that_is_not_there(page: Path) -> None:
    links = _LINK.findall(page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
    assert {other.name for other in READMES} - {page.name} <= set(links)


def test_every_script_of_a_readme_is_there() -> None:
    for page in (*READMES, ROOT / "docs" / "immediate_next_steps.md"):
        scripts = set(re.findall(r"\btools/\w+\.sh\b", page.read_text("utf-8")))
        assert scripts
        assert [script for script in scripts if not (ROOT / script).exists()] == []


@pytest.mark.parametrize("name", ["adopt.md", "immediate_next_steps.md"])
def test_every_link_of_a_guide_leads_somewhere(name: str) -> None:
    page = ROOT / "docs" / name
    broken = [link for link in _LINK.findall(page.read_text("utf-8")) if not (page.parent / link).exists()]
    assert broken == []
    anchors = re.findall(r"\]\(#([^)]+)\)", page.read_text("utf-8"))
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(anchors) <= slugs
