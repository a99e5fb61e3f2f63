"""A real browser behind the splitter: the stream in an <img>, events over a WebSocket."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from tests.process.running import ask
from tests.process.service import service

CHROMIUM = shutil.which("chromium")
# Without these Chromium asks hosts of its maker for updates and lists, which a closed network refuses one by one.
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: tools/test_packages.sh installs it")


async def _shows_the_stream(page: Page, base: str) -> None:
    await page.goto(f"{base}/api/v1/cameras")
    await page.evaluate(
        "src => { document.body.innerHTML = '<img id=camera>'; document.getElementById('camera').src = src }",
        f"{base}/api/v1/cameras/entrance/stream",
    )
    image = page.locator("#camera")
    await page.wait_for_function("document.getElementById('camera').naturalWidth > 0")
    first = await image.screenshot()
    for _ in range(40):
        if await image.screenshot() != first:
            return
        await page.wait_for_timeout(100)
    pytest.fail("the picture does not move")


async def _hears_events(page: Page, base: str, port: int) -> None:
    await page.evaluate(
        """url => { window.heard = []; window.socket = new WebSocket(url);
                    window.socket.onmessage = message => window.heard.push(JSON.parse(message.data)) }""",
        base.replace("http", "ws", 1) + "/api/v1/cameras/entrance/events?force_domain=false",
    )
    await page.wait_for_function("window.heard.length === 1")
    assert ask(port, "/api/v1/cameras/entrance/stop?force_domain=true", "POST")[0] == 200
    await page.wait_for_function("window.heard.some(event => event.type === 'change' && event.status.state === 'stopped')")


@pytest.mark.parametrize("side", ["true", "false"])
async def test_a_browser_sees_the_stream_and_hears_events(tmp_path: Path, side: str) -> None:
    percent = "100" if side == "true" else "0"
    with service(tmp_path, ROLLOUT_PERCENT=percent) as port:
        ask(port, "/api/v1/cameras/entrance/start", "POST")  # it may be running already
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
            page = await browser.new_page()
            base = f"http://127.0.0.1:{port}"
            await _shows_the_stream(page, base)
            await _hears_events(page, base, port)
            await browser.close()
