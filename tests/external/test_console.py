"""The console in a real browser, on a running splitter with both backends: what one does at 3 a.m., and what may break."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.external.test_browser import CHROMIUM, QUIET
from tests.process.running import Splitter, ask, same_place, splitter
from tests.process.service import camera_backend

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),  # one browser for all of them
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: tools/test_packages.sh installs it"),
]

TOKEN = "a-token-nobody-guesses"
CONFIG = """
rollout:
  percent: 100
  routes:
    - {name: camera-control, methods: [POST], path: "/api/v1/cameras/{id}/*", percent: 5}
"""
NAMELESS = """
    [...document.querySelectorAll('button, input, select, svg[role=img]')]
        .filter(one => one.checkVisibility())
        .filter(one => !(one.labels?.length || one.textContent.trim() || one.getAttribute('aria-label')))
        .map(one => one.outerHTML)
"""
"""What can be used or looked at and has no name that a screen reader could tell."""


@dataclass
class Seen:
    """A page, and all that its browser complained of or asked for."""

    page: Page
    base: str
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def clean(self, *but: str) -> None:
        """Nothing was said but what these begin of; nobody else was asked."""
        assert [text for text in self.said if not any(part in text for part in but)] == []
        assert [url for url in self.asked if not url.startswith(f"{self.base}/")] == []


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Both, as the environment names them."""
    folder = tmp_path_factory.mktemp("backends")
    with camera_backend("legacy", folder) as legacy, camera_backend("domain", folder) as domain:
        urls = {"LEGACY_URL": f"http://127.0.0.1:{legacy}", "DOMAIN_URL": f"http://127.0.0.1:{domain}"}
        yield urls | {"SPLITTER_WORKERS": "2"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, backends: dict[str, str]) -> Iterator[Splitter]:
    """A splitter that wants no token, for all tests that don't end it."""
    with splitter(tmp_path_factory.mktemp("splitter"), CONFIG, **backends) as running:
        yield running


@pytest.fixture
def found(shared: Splitter) -> Splitter:
    """The same, at 100 %."""
    for method, what, body in (("POST", "resume", b"{}"), ("PUT", "percent", b'{"percent": 100}')):
        assert change(shared, method, what, body) == 200
    return shared


def change(running: Splitter, method: str, what: str, body: bytes) -> int:
    return ask(running.admin_port, f"/api/v1/rollout/{what}", method, body, {"Content-Type": "application/json"})[0]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield launched
        await launched.close()


@asynccontextmanager
async def console(browser: Browser, port: int, *, without: str = "", **looks: Any) -> AsyncIterator[Seen]:
    """The page, opened; `without`: what the browser is not to get."""
    context: BrowserContext = await browser.new_context(
        **{"locale": "en-GB", "viewport": {"width": 1280, "height": 900}, **looks}
    )
    page = await context.new_page()
    page.set_default_timeout(8000)
    seen = Seen(page, f"http://127.0.0.1:{port}")
    page.on("console", lambda message: seen.said.append(message.text))
    page.on("pageerror", lambda error: seen.said.append(str(error)))
    page.on("request", lambda request: seen.asked.append(request.url))
    if without:
        await page.route(without, lambda route: route.abort())
    await page.goto(f"{seen.base}/")
    yield seen
    assert await context.cookies() == []
    await context.close()


def side_of(port: int) -> str:
    return ask(port, "/api/v1/cameras")[1]["x-splitter-backend"]


async def test_roll_back_and_resume_by_keyboard_with_the_token(
    tmp_path: Path, backends: dict[str, str], browser: Browser
) -> None:
    with splitter(tmp_path, CONFIG, **backends, SPLITTER_ADMIN_TOKEN=TOKEN) as found:
        assert side_of(found.port) == "domain"
        async with console(browser, found.admin_port) as seen:
            page, press = seen.page, seen.page.keyboard.press
            await expect(page.locator("#percent")).to_have_text("100")
            await expect(page.locator("#origin")).to_have_text("from the configuration, line 3")
            for _ in range(12):
                if await page.evaluate("document.activeElement.id") == "roll-back":
                    break
                await press("Tab")
            await press("Enter")
            await expect(page.locator("#confirm-yes")).to_be_focused()
            await press("Escape")
            await expect(page.locator("#confirm")).not_to_be_visible()
            await expect(page.locator("#roll-back")).to_be_focused()
            assert side_of(found.port) == "domain", "asked, and not done"
            await press("Enter")
            await press("Enter")
            await expect(page.locator("#token-value")).to_be_focused()
            await page.keyboard.type("wrong")
            await press("Enter")
            await expect(page.locator("#token-text")).to_have_text("That token is wrong. Try again.")
            assert side_of(found.port) == "domain"
            await page.keyboard.type(TOKEN)
            await press("Enter")
            await expect(page.locator("#outcome")).to_have_text(
                re.compile(r"^Rolled back in [\d.]+ ms: all 2 workers acknowledged \([\d.]+ m?s as seen from here\)\.")
            )
            assert side_of(found.port) == "legacy"
            await expect(page.locator("#headline")).to_have_text("Rolled back: everybody is on legacy")
            await expect(page.locator("#percent")).to_have_text("0")
            await expect(page.locator("#events tr").first).to_contain_text("console")
            await page.locator("#resume").press("Enter")
            await expect(page.locator("#confirm-text")).to_have_text("100 % of clients go to domain again at once.")
            await press("Enter")
            await expect(page.locator("#outcome")).to_have_text(re.compile(r"^Resumed in .* all 2 workers acknowledged\.$"))
            assert side_of(found.port) == "domain"
            await expect(page.locator("#resume")).not_to_be_visible()
            assert await page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 1]
            seen.clean("the server responded with a status of 401")


async def test_set_percents_with_reasons(found: Splitter, browser: Browser) -> None:
    async with console(browser, found.admin_port) as seen:
        page = seen.page
        await expect(page.locator("#percents tr")).to_have_count(2)
        for wrong in ("", "101", "12.345", "ten"):
            await page.locator("#value").fill(wrong)
            await page.locator("#value").press("Enter")
            await expect(page.locator("#set-said")).to_have_text("A number from 0 to 100, with at most two decimals.")
            await expect(page.locator("#value")).to_have_attribute("aria-invalid", "true")
        await page.locator("#value").fill("12,5 %")
        await page.locator("#why").fill("<b>day</b> two")
        await page.locator("#why").press("Enter")
        await expect(page.locator("#set-said")).to_have_text(
            re.compile(r"^12.5 % in force on all 2 workers after [\d.]+ ms\.")
        )
        await expect(page.locator("#percent")).to_have_text("12.5")
        await expect(page.locator("#origin")).to_have_text(
            re.compile(r"^set by console, [\d:]+: “<b>day</b> two” · instead of 100 % from the configuration, line 3$")
        )
        await page.locator("#target").select_option("camera-control")
        await page.locator("#value").fill("40")
        await page.locator("#set button").click()
        await expect(page.locator("#percents tr").nth(1)).to_contain_text("40 %")
        await expect(page.locator("#percent")).to_have_text("12.5")
        # What somebody else does is seen at once, in both places.
        ask(
            found.admin_port,
            "/api/v1/rollout/percent",
            "PUT",
            b'{"percent": 33.33}',
            {"Content-Type": "application/json"},
        )
        await expect(page.locator("#percent")).to_have_text("33.33")
        await expect(page.locator("#events tr").first).to_contain_text("33.33 %")
        seen.clean()


@pytest.mark.parametrize("broken", ["**/stream", "**/console/{console,charts,stream,panels}.js"])
async def test_the_rollback_works_when_the_rest_does_not(found: Splitter, browser: Browser, broken: str) -> None:
    async with console(browser, found.admin_port, without=broken) as seen:
        await seen.page.locator("#roll-back").click()
        await seen.page.locator("#confirm-yes").click()
        await expect(seen.page.locator("#outcome")).to_contain_text("all 2 workers acknowledged")
        assert side_of(found.port) == "legacy"
        await expect(seen.page.locator("#resume")).to_be_visible()
        seen.clean("net::ERR_FAILED")


async def test_it_comes_back_after_a_restart(tmp_path: Path, backends: dict[str, str], browser: Browser) -> None:
    with splitter(tmp_path, CONFIG, **backends) as found:
        async with console(browser, found.admin_port) as seen:
            page = seen.page
            await expect(page.locator("#link")).to_have_text("Live")
            found.process.send_signal(signal.SIGTERM)
            await expect(page.locator("#link")).to_contain_text("No connection: what is shown is from")
            await page.locator("#roll-back").click()
            found.process.wait(20)
            await page.locator("#confirm-yes").click()
            await expect(page.locator("#outcome")).to_contain_text("No answer from the splitter. Try `splitter rollback`")
            with splitter(tmp_path, CONFIG, **backends, **same_place(found), ROLLOUT_PERCENT="7"):
                await expect(page.locator("#link")).to_have_text("Live")
                await expect(page.locator("#percent")).to_have_text("7")
                await expect(page.locator("#origin")).to_have_text("from the environment (ROLLOUT_PERCENT)")
                await page.locator("#roll-back").click()
                await page.locator("#confirm-yes").click()
                await expect(page.locator("#outcome")).to_contain_text("all 2 workers acknowledged")
            seen.clean("net::ERR_", "Failed to load resource")


async def test_charts_of_what_happened_before_it_was_opened(found: Splitter, browser: Browser) -> None:
    for count in range(40):
        ask(found.port, f"/api/v1/cameras?force_domain={count % 4 != 0}")
    async with console(browser, found.admin_port) as seen:
        page = seen.page
        await expect(page.locator("figure")).to_have_count(6)
        spread = page.locator("figure[data-chart=spread]")
        await expect(spread.locator("path.area")).to_have_count(2)
        await spread.locator("summary").press("Enter")
        await expect(spread.locator("tbody tr").first).to_be_visible()
        shares = [float(text.split()[0]) for text in await spread.locator("tbody td:nth-child(3)").all_inner_texts()]
        assert sum(shares) == pytest.approx(100, abs=0.1), "of domain"
        rates = page.locator("figure[data-chart=rps]")
        await rates.locator("summary").press("Enter")
        of_domain = rates.locator("tbody td:nth-child(3)")
        await expect(of_domain.filter(has_text=re.compile("[1-9]")).first).to_be_visible()
        await expect(rates.locator("svg")).to_have_attribute(
            "aria-label", re.compile("^Requests per second: legacy .*, domain ")
        )
        await expect(rates.locator("path.series")).to_have_count(2)
        await expect(page.locator("#health dd").first).to_have_text(re.compile("^up · http://127.0.0.1:"))
        seen.clean()


@pytest.mark.parametrize(
    "looks",
    [
        {"color_scheme": "light"},
        {"color_scheme": "dark"},
        {"color_scheme": "light", "viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True},
    ],
    ids=["light", "dark", "phone"],
)
async def test_how_it_looks(found: Splitter, browser: Browser, looks: dict[str, Any]) -> None:
    async with console(browser, found.admin_port, **looks) as seen:
        page = seen.page
        await expect(page.locator("#percent")).to_have_text("100")
        wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, "the page itself never scrolls sideways"
        ground = await page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        is_dark = sum(map(int, re.findall(r"\d+", ground))) < 3 * 128
        assert is_dark == (looks["color_scheme"] == "dark")
        box = await page.locator("#roll-back").bounding_box()
        assert box is not None
        assert box["height"] >= 80
        assert box["y"] + box["height"] < looks.get("viewport", {"height": 900})["height"], "seen without scrolling"
        assert await page.evaluate(NAMELESS) == []
        seen.clean()


PLAN = """
rollout:
  percent: 10
  plan: [{percent: 10, hold: 1h}, {percent: 50, hold: 1h, approve: true}, {percent: 100}]
guardrails: {window: 2s, every: 500ms, min_requests: 10, latency_min_requests: 10, action: freeze}
backends: {domain: {eject: {consecutive_failures: 100}}}  # by chance half of the answers may be many failures in a row
"""


async def test_the_plan_is_steered_by_keyboard_and_shows_its_stages(
    tmp_path: Path, backends: dict[str, str], browser: Browser
) -> None:
    with splitter(tmp_path, PLAN, **backends) as found:
        async with console(browser, found.admin_port) as seen:
            page, press = seen.page, seen.page.keyboard.press

            async def do(button: str, said: str) -> None:
                await page.locator(f"#plan-{button}").focus()
                await press("Enter")
                await expect(page.locator("#confirm-yes")).to_be_focused()
                await press("Enter")
                await expect(page.locator("#plan-done")).to_contain_text(f"{said}: in force on all 2 workers")

            shown = page.locator(".steer button:visible")
            await expect(page.locator("#plan-said")).to_have_text("not started")
            await expect(shown).to_have_text(["Start"])
            await do("start", "Start")
            await expect(page.locator("#plan-said")).to_contain_text("Stage 1 of 3, running · ")
            await expect(page.locator("#plan-said")).to_contain_text("of its hold left")
            await expect(page.locator("#stages li")).to_have_count(3)
            await expect(page.locator("#stages [aria-current=step]")).to_contain_text("10 %")
            await expect(shown).to_have_text(["Pause", "Next stage", "Abort"])
            await do("promote", "Next stage")
            await expect(page.locator("#percent")).to_have_text("50")
            await expect(page.locator("#origin")).to_contain_text("set by the plan")
            await expect(page.locator("#stages .over")).to_contain_text("10 %")
            await do("pause", "Pause")
            await expect(page.locator("#plan-said")).to_contain_text("Stage 2 of 3, paused")
            await do("continue", "Continue")
            assert change(found, "POST", "rollback", b"{}") == 200
            await expect(page.locator("#plan-said")).to_contain_text("rolled back")
            await expect(page.locator("#origin")).to_contain_text("10 % of clients once resumed")
            assert change(found, "POST", "resume", b"{}") == 200
            await expect(page.locator("#plan-said")).to_contain_text("Stage 1 of 3, running")
            await do("abort", "Abort")
            await expect(page.locator("#percent")).to_have_text("0")
            await expect(page.locator("#plan-said")).to_contain_text("aborted")
            await expect(page.locator("#events tr").first).to_contain_text("plan abort")
            seen.clean()


async def test_a_bad_domain_freezes_the_plan_and_the_numbers_are_shown(tmp_path: Path, browser: Browser) -> None:
    planted = "--fault", "error=0.5:500"
    with (
        camera_backend("legacy", tmp_path) as legacy,
        camera_backend("domain", tmp_path, *planted) as domain,
        splitter(tmp_path, PLAN, LEGACY_URL=f"http://127.0.0.1:{legacy}", DOMAIN_URL=f"http://127.0.0.1:{domain}") as found,
    ):
        async with console(browser, found.admin_port) as seen:
            assert change(found, "POST", "plan/start", b"{}") == 200

            async def traffic_until(place: str, text: str) -> None:
                for number in range(5000):
                    ask(found.port, "/api/v1/cameras", headers={"X-User-Id": str(number)})
                    if number % 50 == 0 and text in (await seen.page.locator(place).text_content() or ""):
                        break

            await traffic_until("#plan-said", "frozen")
            await expect(seen.page.locator("#plan-said")).to_contain_text("Stage 1 of 3, frozen by a guardrail")
            await expect(seen.page.locator("#plan-said")).to_contain_text("guardrail:error_rate: error rate")
            await expect(seen.page.locator("#events tr").first).to_contain_text("plan freeze")
            await traffic_until("#rules", "limit 5 %")
            await expect(seen.page.locator("#rules tr").first).to_contain_text("limit 5 %")  # it goes on being watched
            await expect(seen.page.locator("#percent")).to_have_text("10")
            seen.clean()


async def test_chinese_and_back(found: Splitter, browser: Browser) -> None:
    async with console(browser, found.admin_port, locale="zh-CN") as seen:
        page = seen.page
        await expect(page.locator("#roll-back")).to_have_text("立即回滚")
        await expect(page.locator("#headline")).to_have_text("domain 正在分担流量")
        assert await page.evaluate("document.documentElement.lang") == "zh-CN"
        await page.locator("#language").select_option("en")
        await expect(page.locator("#headline")).to_have_text("Domain gets its share")
        await page.reload()
        await expect(page.locator("#roll-back")).to_have_text("Roll back")
        both = await page.evaluate("import('/console/words.js').then(words => words.gaps())")
        assert both == [], "every sentence is there in both languages"
        seen.clean()


async def test_a_script_of_somebody_else_does_not_run(found: Splitter, browser: Browser) -> None:
    async with console(browser, found.admin_port) as seen:
        await seen.page.evaluate(
            """() => { const script = document.createElement('script'); script.textContent = 'window.ran = true';
                       document.body.append(script); }"""
        )
        assert await seen.page.evaluate("window.ran") is None
        assert any("Content Security Policy" in text for text in seen.said)
