"""The page of `splitter compare` in a real browser: it asks nobody for anything, and can be read in light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import Request, async_playwright

from splitter.cli.compare.page import page
from tests.external.test_browser import CHROMIUM, QUIET
from tests.unit.test_compare_outputs import some, told

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: tools/test_packages.sh installs it")


async def test_it_is_shown_in_light_and_dark(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_bytes(page(told(some(), ("POST /z", "changes something"))))
    asked: list[str] = []
    said: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    views: tuple[tuple[Literal["light", "dark"], int], ...] = (("light", 1200), ("dark", 1200), ("light", 380))
    headline = "Domain differs from legacy: 2 differences at 2 endpoints."
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        grounds = set()
        for scheme, width in views:
            shown = await browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
            shown.on("request", note)
            shown.on("console", lambda message: said.append(message.text))
            await shown.goto(file.as_uri())
            assert await shown.locator(".banner strong").inner_text() == headline
            assert await shown.locator("article h3").count() == 2
            assert await shown.locator("tbody tr").count() == 4
            assert await shown.locator("svg").first.is_visible()
            wide = await shown.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, "the page itself never scrolls sideways"
            grounds.add(await shown.evaluate("getComputedStyle(document.body).backgroundColor"))
            summary = shown.locator("summary", has_text="Every step")
            await summary.click()
            assert await shown.locator("details[open] li").first.is_visible()
        await browser.close()
    assert asked == [file.as_uri()] * 3
    assert said == []
    assert len(grounds) == 2
