"""The console's mirror panel in a real browser: planted faults side by side, noise folded, both languages, keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.external.test_browser import CHROMIUM
from tests.external.test_console import NAMELESS, browser, console
from tests.process.running import Splitter, ask, splitter
from tests.process.service import camera_backend
from tests.process.test_mirror import MIRROR, Backends
from tests.process.test_mirror_report import counted

__all__ = ["browser"]

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: tools/test_packages.sh installs it"),
]

PATHS = ("/api/v1/cameras", "/api/v1/cameras/entrance/status", "/api/v1/cameras/workshop/preview")


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backends]:
    folder = tmp_path_factory.mktemp("mirrored")
    with ExitStack() as stack:
        legacy = stack.enter_context(camera_backend("legacy", folder))
        domain = stack.enter_context(camera_backend("domain", folder, "--allow-faults"))
        yield Backends(legacy, domain)


@pytest.fixture
def running(tmp_path: Path, backends: Backends) -> Iterator[Splitter]:
    backends.plant()
    with splitter(tmp_path, MIRROR, SPLITTER_WORKERS="2", **backends.urls) as started:
        yield started


def traffic(running: Splitter, so_far: int = 0) -> None:
    for path in PATHS * 6:
        ask(running.port, path)
    counted(running, so_far + len(PATHS) * 6)


async def test_what_is_planted_is_shown_side_by_side(running: Splitter, backends: Backends, browser: Browser) -> None:
    traffic(running)
    async with console(browser, running.admin_port) as seen:
        page = seen.page
        verdict = page.locator("#mirror-verdict")
        await expect(verdict).to_have_text("Both sides answer alike (18 requests compared)")
        await expect(page.locator("#mirror-said")).to_contain_text("100 % of what legacy serves is copied to domain · alike")
        backends.plant("stringify=fps", "rename=state:status")
        traffic(running, 18)
        await expect(verdict).to_contain_text(re.compile(r"^Places where domain differs: \d \(36 requests compared\)$"))
        endpoint = page.locator(
            "#mirror-places .endpoint", has=page.get_by_role("heading", name="GET /api/v1/cameras", exact=True)
        )
        fps = endpoint.locator(".place", has_text="$.cameras[*].fps")
        await expect(fps).to_contain_text("another type")
        await expect(fps).to_contain_text(re.compile(r"in 6 of 12 requests; legacy differs from itself in 0 of \d+"))
        old, new = fps.locator(".value.legacy code").first, fps.locator(".value.domain code").first
        assert f'"{await old.inner_text()}"' == await new.inner_text()
        assert await new.locator("mark").inner_text() == await new.inner_text(), "what differs is marked"
        state = page.locator("#mirror-places .place", has_text="$.state").first
        await expect(state).to_contain_text("renamed")
        await expect(state.locator(".value.domain mark").first).to_have_text("status")
        seen.clean()


async def test_noise_is_folded_and_opened_by_keyboard(running: Splitter, browser: Browser) -> None:
    traffic(running)
    async with console(browser, running.admin_port) as seen:
        page = seen.page
        noise = page.locator("#mirror-noise > details")
        await expect(noise.locator("> summary")).to_have_text(re.compile(r"^Noise, .*: 1$"))
        await expect(page.locator("#mirror-places .place")).to_have_count(0)
        await expect(noise.locator(".place")).not_to_be_visible()
        await noise.locator("> summary").focus()
        await page.keyboard.press("Enter")
        await expect(noise.locator(".place")).to_be_visible()
        await expect(noise.locator(".place .where")).to_have_text("body")
        traffic(running, 18)
        await expect(page.locator("#mirror-verdict")).to_contain_text("36 requests compared")
        await expect(noise.locator(".place")).to_be_visible()
        assert await page.evaluate("document.activeElement.tagName") == "SUMMARY", "who reads is not thrown out"
        assert await page.evaluate(NAMELESS) == []
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        await page.set_viewport_size({"width": 360, "height": 740})
        assert await page.evaluate(wide) <= 0
        seen.clean()


async def test_a_rollback_is_told_in_chinese_too(running: Splitter, browser: Browser) -> None:
    traffic(running)
    headers = {"Content-Type": "application/json"}
    async with console(browser, running.admin_port, locale="zh-CN") as seen:
        page = seen.page
        await expect(page.locator("#h-mirror")).to_have_text("镜像对比")
        await expect(page.locator("#mirror-verdict")).to_have_text("两边应答一致（已比较 18 个请求）")
        assert ask(running.admin_port, "/api/v1/rollout/rollback", "POST", b"{}", headers)[0] == 200
        await expect(page.locator("#mirror-said")).to_contain_text("目前没有复制：rolled back")
        await page.locator("#language").select_option("en")
        await expect(page.locator("#mirror-said")).to_contain_text("nothing is copied now: rolled back")
        seen.clean()


async def test_without_a_mirror_nothing_is_asked_nor_shown(tmp_path: Path, backends: Backends, browser: Browser) -> None:
    with splitter(tmp_path, "rollout: {percent: 5}", **backends.urls) as started:
        async with console(browser, started.admin_port) as seen:
            await expect(seen.page.locator("#percent")).to_have_text("5")
            await expect(seen.page.locator("#mirror")).not_to_be_visible()
            assert not [url for url in seen.asked if url.partition("?")[0].endswith("/rollout/mirror")]
            seen.clean()
