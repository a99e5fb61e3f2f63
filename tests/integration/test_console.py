"""The console's files: all there, for operators only, and nothing in them that would ask somebody else."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from splitter.control import console
from splitter.control.app import HEALTH, LIVE, METRICS, READY, STATE, Audience, make_app
from tests.integration.operators import operators

FOLDER = Path(console.__file__).parent
FILES = sorted(file for file in FOLDER.iterdir() if file.suffix in {".html", ".css", ".js", ".svg"})
PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


async def test_the_page_and_what_it_needs_under_a_strict_policy(tmp_path: Path) -> None:
    async with operators(tmp_path) as ops:
        seen: set[str] = set()
        wanted = {"/"}
        while wanted - seen:
            path = (wanted - seen).pop()
            seen.add(path)
            async with ops.client.get(ops.server.make_url(path)) as response:
                assert response.status == 200, path
                policy = response.headers["Content-Security-Policy"]
                assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
                assert "unsafe" not in policy
                assert "frame-ancestors 'none'" in policy
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert "Set-Cookie" not in response.headers
                wanted |= set(re.findall(r'"(/console/[^"]*)"', await response.text()))
        assert {path.rpartition("/")[2] or "index.html" for path in seen} == {file.name for file in FILES}
        for nothing in ("/console/", "/console/__init__.py", "/console/../__init__.py", "/index.html"):
            async with ops.client.get(ops.server.make_url(nothing)) as response:
                assert response.status == 404


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_file_names_another_host_or_needs_what_the_policy_forbids(file: Path) -> None:
    text = file.read_text()
    assert set(re.findall(r"\w+://[^\s\"'`)]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=\"|innerHTML|\beval\(", text)


def test_an_installed_wheel_has_them() -> None:
    patterns = tomllib.loads(PYPROJECT.read_text())["tool"]["setuptools"]["package-data"]["splitter"]
    for file in FILES:
        name = file.relative_to(FOLDER.parents[1]).as_posix()
        assert any(fnmatch(name, pattern) for pattern in patterns), name


async def test_the_public_port_has_no_console(tmp_path: Path) -> None:
    async with operators(tmp_path) as ops:
        assert isinstance(ops.server, TestServer)
        pages = make_app(ops.server.app[STATE], Audience.PUBLIC)
        paths = {resource.canonical for resource in pages.router.resources()}
        assert paths == {HEALTH, LIVE, READY, METRICS}
