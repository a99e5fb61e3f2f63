"""The splitter's own pages: health, metrics, and the state of the rollout.

Owns: their paths, statuses and shapes (contract of the HTTP API). Must not know: how requests are relayed.
Invariant: health is 200 while any backend can be reached, and names every fault it knows of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

import orjson
from aiohttp import web

from splitter import __version__
from splitter.control.controller import Controller
from splitter.control.prober import Prober
from splitter.metrics import CONTENT_TYPE, Reading, render
from splitter.routing import BUCKETS
from splitter.snapshot import Plane

HEALTH: Final = "/api/v1/monitoring/health"
METRICS: Final = "/api/v1/monitoring/metrics"


class Life(Enum):
    """Where the process stands in its life."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


@dataclass(slots=True)
class State:
    """What the pages are made of. `clock` counts seconds from any point."""

    plane: Plane
    controller: Controller
    prober: Prober
    clock: Callable[[], float]
    started_s: float
    life: Life = Life.STARTING


STATE: Final = web.AppKey("state", State)


def make_app(state: State) -> web.Application:
    """The pages, for the internal socket and for the admin listener."""
    app = web.Application()
    app[STATE] = state
    app.router.add_get(HEALTH, _health)
    app.router.add_get(HEALTH + "/live", _live)
    app.router.add_get(HEALTH + "/ready", _ready)
    app.router.add_get(METRICS, _metrics)
    app.router.add_get("/api/v1/rollout", _rollout)
    app.router.add_get("/api/v1/rollout/", _rollout)
    return app


def _json(body: object, status: int = 200) -> web.Response:
    data = orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return web.Response(body=data, status=status, content_type="application/json", headers={"Cache-Control": "no-store"})


def _problems(state: State) -> list[str]:
    found = [
        f"{endpoint.settings.backend} at {endpoint.settings.url} is down: {endpoint.fault}"
        for endpoint in state.prober.endpoints
        if not endpoint.up
    ]
    if state.controller.reload_fault:
        found.append(f"the last reload of the configuration failed: {state.controller.reload_fault}")
    return found


async def _health(request: web.Request) -> web.Response:
    state = request.app[STATE]
    up, problems = state.prober.up(), _problems(state)
    reachable = any(up.values())
    status = "down" if not reachable else "degraded" if problems else "ok"
    body = {
        "status": status,
        "state": state.life.value,
        "version": __version__,
        "uptime_s": round(state.clock() - state.started_s, 1),
        "backends": {
            name: {
                "status": "up" if is_up else "down",
                "endpoints": [
                    {"url": e.settings.url, "status": "up" if e.up else "down", "fault": e.fault or None}
                    for e in state.prober.endpoints
                    if e.settings.backend == name
                ],
            }
            for name, is_up in up.items()
        },
        "problems": problems,
    }
    return _json(body, 200 if reachable else 503)


async def _live(_request: web.Request) -> web.Response:
    return _json({"status": "ok"})


async def _ready(request: web.Request) -> web.Response:
    state = request.app[STATE]
    if state.life is not Life.SERVING:
        return _json({"status": state.life.value}, 503)
    if not any(state.prober.up().values()):
        return _json({"status": "no backend can be reached"}, 503)
    return _json({"status": "ok"})


async def _metrics(request: web.Request) -> web.Response:
    state = request.app[STATE]
    reading = Reading(
        stats=state.plane.stats,
        gauges=state.plane.gauges(),
        snapshot=state.controller.snapshot(),
        version=__version__,
        backend_up=state.prober.up(),
    )
    return web.Response(body=render(reading), headers={"Content-Type": CONTENT_TYPE})


async def _rollout(request: web.Request) -> web.Response:
    """What is in force, and which layer each value came from."""
    state = request.app[STATE]
    config = state.controller.config
    snapshot = state.controller.snapshot()
    table = snapshot.table
    origins = config.origins
    body = {
        "use_domain_service": {
            "value": table.domain_enabled,
            "from": origins.get("rollout.use_domain_service", "default"),
        },
        "percent": {
            "value": table.default.threshold * 100 / BUCKETS,
            "from": origins.get("rollout.percent", "default"),
        },
        "rolled_back": table.rolled_back,
        "domain_ejected": snapshot.domain_ejected,
        "routes": {rule.name: rule.threshold * 100 / BUCKETS for rule in table.routes},
        "key": [f"{s.kind}:{s.name}" if s.name else s.kind for s in table.default.sources],
        "force": table.force.value,
    }
    return _json(body)
