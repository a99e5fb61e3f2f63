"""Photographs of Prometheus' own pages, by Chromium.

Owns: which pages, what is hidden or opened on them, their size. Must not know: what the splitter went through.
"""

from __future__ import annotations

import shutil
import urllib.parse
from pathlib import Path
from typing import Final

from playwright.async_api import Page, async_playwright

_QUIET: Final = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip
"""Without these it asks hosts of its maker, which a closed network refuses one by one."""

_UNFOLDED_MS: Final = 800
"""What unfolds on its page moves, and says nothing when it has come to rest."""

GRAPHS: Final = {
    "error rate": 'sum(rate(splitter_backend_failures_total{backend="domain"}[15s]))'
    ' / sum(rate(splitter_requests_total{backend="domain"}[15s]) or rate(splitter_requests_total{reason="fallback"}[15s]))',
    "response time": 'histogram_quantile(0.95, sum by (backend, le) (rate('
    'splitter_request_duration_seconds_bucket{backend=~"legacy|domain"}[15s])))',
    "share of domain": 'sum(rate(splitter_requests_total{backend="domain"}[15s]))'
    ' / sum(rate(splitter_requests_total{backend=~"legacy|domain"}[15s]))',
}  # fmt: skip
"""The three figures, over a quarter of a minute, because the story takes minutes instead of weeks."""


async def photograph(port: int, pages: dict[str, Path], until: str = "") -> None:
    """Save pictures of `targets`, `alerts` and `graph`, those that are named, of the Prometheus at that port.

    `until`: the end of the five minutes of graphs, as Prometheus reads it ("2026-11-24 21:00"); now if empty.

    Debian's Prometheus has the pages of before its page in React, elsewhere at /classic/ as well.
    """
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(_QUIET))
        try:
            page = await browser.new_page(viewport={"width": 1280, "height": 560})
            for name, file in pages.items():
                await _PAGES[name](page, f"http://127.0.0.1:{port}/classic", until)
                # Its bar follows the reader: it would lie over the middle of a long page.
                await page.evaluate("document.querySelector('.navbar').style.position = 'absolute'; scrollTo(0, 0)")
                await page.screenshot(path=file, full_page=True)
        finally:
            await browser.close()


async def _targets(page: Page, base: str, _until: str) -> None:
    await page.goto(f"{base}/targets")


async def _alerts(page: Page, base: str, _until: str) -> None:
    """Only what fires, and every one of these opened."""
    await page.goto(f"{base}/alerts")
    await page.wait_for_load_state("networkidle")
    await page.get_by_text("Inactive (").click()
    await page.get_by_text("Show annotations").click()
    for header in await page.locator("tr.alert_header:visible").all():
        await header.click()
    await page.wait_for_timeout(_UNFOLDED_MS)


async def _graph(page: Page, base: str, until: str) -> None:
    """One under the other, each a picture high."""
    fields: dict[str, str] = {}
    for number, expression in enumerate(GRAPHS.values()):
        fields |= {f"g{number}.expr": expression, f"g{number}.tab": "0", f"g{number}.range_input": "5m"}
        fields |= {f"g{number}.end_input": until} if until else {}
    await page.goto(f"{base}/graph?{urllib.parse.urlencode(fields)}")
    await page.wait_for_load_state("networkidle")
    # Of a question it shows the first line only.
    await page.evaluate(
        "document.querySelectorAll('textarea').forEach(one => { one.style.height = one.scrollHeight + 4 + 'px' })"
    )


_PAGES: Final = {"targets": _targets, "alerts": _alerts, "graph": _graph}
