"""The splitter's own pages: health, metrics, and the state of the rollout.

Owns: their paths, statuses and shapes (contract of the HTTP API). Must not know: how requests are relayed.
Invariant: health is 200 while any backend can be reached, and names every fault it knows of.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

import orjson
from aiohttp import web

from splitter import __version__
from splitter.control.certificates import CertificateWatch
from splitter.control.controller import Controller
from splitter.control.prober import Prober
from splitter.metrics import Reading, form_for, render
from splitter.snapshot import Plane
from splitter.usage import usage_of

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
    certificates: CertificateWatch | None = None


class Audience(Enum):
    """Who reads the pages: anyone who can reach the public port, or operators."""

    PUBLIC = "public"
    OPERATORS = "operators"


STATE: Final = web.AppKey("state", State)
AUDIENCE: Final = web.AppKey("audience", Audience)


def make_app(state: State, audience: Audience) -> web.Application:
    """The pages. Where the backends are is for operators only."""
    app = web.Application()
    app[STATE] = state
    app[AUDIENCE] = audience
    app.router.add_get(HEALTH, _health)
    app.router.add_get(HEALTH + "/live", _live)
    app.router.add_get(HEALTH + "/ready", _ready)
    app.router.add_get(METRICS, _metrics)
    if audience is Audience.OPERATORS:
        app.router.add_get("/api/v1/rollout", _rollout)
        app.router.add_get("/api/v1/rollout/", _rollout)
    return app


def _json(body: object, status: int = 200) -> web.Response:
    data = orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return web.Response(body=data, status=status, content_type="application/json", headers={"Cache-Control": "no-store"})


def _problems(state: State, audience: Audience) -> list[str]:
    """What is wrong, a sentence each. The public learns what, operators also where and why."""
    operators = audience is Audience.OPERATORS
    found = [
        f"{endpoint.settings.backend}"
        + (f" at {endpoint.settings.url} is down: {endpoint.fault}" if operators else " is down")
        for endpoint in state.prober.endpoints
        if not endpoint.up
    ]
    found += state.controller.problems(details=operators)
    if state.certificates is not None:
        found += state.certificates.problems(in_full=operators)
    dead = [worker.slot for worker in state.plane.workers() if not worker.pid]
    if dead:
        found.append(f"workers that died are not running again yet: {len(dead)}")
    return found


async def _health(request: web.Request) -> web.Response:
    state = request.app[STATE]
    audience = request.app[AUDIENCE]
    up, problems = state.prober.up(), _problems(state, audience)
    reachable = any(up.values())
    status = "down" if not reachable else "degraded" if problems else "ok"
    body: dict[str, object] = {
        "status": status,
        "state": state.life.value,
        "version": __version__,
        "uptime_s": round(state.clock() - state.started_s, 1),
        "backends": {name: {"status": "up" if is_up else "down"} for name, is_up in up.items()},
        "problems": problems,
    }
    if audience is Audience.OPERATORS:
        body["endpoints"] = [
            {
                "backend": endpoint.settings.backend,
                "url": endpoint.settings.url,
                "status": "up" if endpoint.up else "down",
                "fault": endpoint.fault or None,
            }
            for endpoint in state.prober.endpoints
        ]
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
    controller, totals = state.controller, await state.plane.collect()
    reading = Reading(
        stats=totals.stats,
        gauges=totals.gauges,
        snapshot=controller.snapshot(),
        version=__version__,
        backend_up=state.prober.up(),
        rollbacks=controller.rollbacks,
        rollback_durations=controller.rollback_durations,
        config_reloads=controller.reloads,
        config_ok=not controller.reload_fault,
        state_store_up=controller.store_up,
        workers=totals.workers,
        deaths=totals.deaths,
        usage=usage_of([*dict.fromkeys((os.getpid(), *(worker.pid for worker in totals.workers if worker.pid)))]),
    )
    form = form_for(request.headers.get("Accept", ""))
    return web.Response(body=render(reading, form), headers={"Content-Type": form.value})


async def _rollout(request: web.Request) -> web.Response:
    """What is in force, which layer each value came from, and what is wrong."""
    return _json(request.app[STATE].controller.status())
