"""Thresholds between up and down."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.test_utils import TestServer

from splitter.control.prober import EndpointState, Prober, ProbeSettings
from splitter.tasks import Tasks
from tools.ports import free_port


def endpoint(healthy_after: int = 2, unhealthy_after: int = 3) -> EndpointState:
    return EndpointState(ProbeSettings("domain", "http://x", "http://x/", 1, 1, healthy_after, unhealthy_after))


def test_it_takes_several_in_a_row() -> None:
    state = endpoint()
    changes = [state.observe(fault) for fault in ["no", "no", "", "no", "no", "no", "no", "", "no", "", ""]]
    assert changes == [False] * 5 + [True] + [False] * 4 + [True]
    assert state.up


def test_why_it_is_down_is_kept() -> None:
    state = endpoint(unhealthy_after=1)
    state.observe("answered 500")
    assert (state.up, state.fault) == (False, "answered 500")
    state.observe("answered 503")
    assert (state.up, state.fault) == (False, "answered 503"), "the newest reason"
    state.observe("")
    assert (state.up, state.fault) == (False, "answered 503")
    state.observe("")
    assert (state.up, state.fault) == (True, "")


async def test_probes_tell_of_a_backend_that_goes_and_comes() -> None:
    status = 200

    async def health(_request: web.Request) -> web.Response:
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/health", health)
    heard: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
    errors: list[BaseException] = []
    tasks = Tasks(lambda _name, error: errors.append(error))
    async with TestServer(app) as server:
        settings = (
            ProbeSettings("legacy", "one", str(server.make_url("/health")), 0.01, 1, 1, 2),
            ProbeSettings("domain", "two", f"http://127.0.0.1:{free_port()}/health", 0.01, 1, 1, 2),
        )
        prober = Prober(settings, lambda name, up, _down: heard.put((name, up)))
        await prober.run(tasks)
        assert {heard.get_nowait(), heard.get_nowait()} == {("legacy", True), ("domain", False)}
        status = 503
        async with asyncio.timeout(5):
            assert await heard.get() == ("legacy", False)
        assert prober.up() == {"legacy": False, "domain": False}
        status = 404  # no health page, but somebody is there
        async with asyncio.timeout(5):
            assert await heard.get() == ("legacy", True)
    await tasks.close()
    assert not errors
