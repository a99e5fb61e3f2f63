"""The splitter's own pages: health and metrics for anybody, the admin API for operators.

Owns: which pages there are for whom, the shapes of health and metrics. Must not know: how requests are relayed, what the
admin API does (`admin`), who may ask (`auth`).
Invariant: health is 200 while any backend can be reached, and names every fault it knows of.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from aiohttp import web

from splitter import __version__
from splitter.config import Admin
from splitter.control.admin import BODY_BYTES, AdminApi, explain_refusals
from splitter.control.auth import Gate
from splitter.control.certificates import CertificateWatch
from splitter.control.console import add_console
from splitter.control.controller import Controller
from splitter.control.hooks import Hooks
from splitter.control.mirror import add_mirror
from splitter.control.prober import Prober
from splitter.control.replies import as_json, explain_errors, protect
from splitter.control.stream import Hub
from splitter.control.told import plan_hold_left_s, plan_step
from splitter.jury import Finding
from splitter.metrics import GuardrailReading, Reading, form_for, render
from splitter.snapshot import Plane
from splitter.stats import Stats
from splitter.tasks import Tasks
from splitter.usage import usage_of

HEALTH: Final = "/api/v1/monitoring/health"
LIVE: Final = f"{HEALTH}/live"
READY: Final = f"{HEALTH}/ready"
METRICS: Final = "/api/v1/monitoring/metrics"
OPEN_PATHS: Final = frozenset({LIVE, READY, METRICS})
"""Pages without anything that only operators may know."""


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
    gate: Gate
    tasks: Tasks
    clock: Callable[[], float]
    started_s: float
    life: Life = Life.STARTING
    certificates: CertificateWatch | None = None
    hooks: Hooks | None = None


class Audience(Enum):
    """Who reads the pages: anyone who can reach the public port, or operators."""

    PUBLIC = "public"
    OPERATORS = "operators"


STATE: Final = web.AppKey("state", State)
AUDIENCE: Final = web.AppKey("audience", Audience)


def make_app(state: State, audience: Audience) -> web.Application:
    """The pages. Where the backends are, and whatever changes anything, is for operators only."""
    api = _admin_api(state) if audience is Audience.OPERATORS else None
    middlewares = [explain_errors] if api is None else [explain_errors, api.middleware(), explain_refusals]
    app = web.Application(middlewares=middlewares, client_max_size=BODY_BYTES)
    app[STATE] = state
    app[AUDIENCE] = audience
    app.on_response_prepare.append(protect)
    for path, handler in ((HEALTH, _health), (LIVE, _live), (READY, _ready), (METRICS, _metrics)):
        app.router.add_get(path, handler)
    if api is not None:
        api.add_routes(app)
        add_mirror(app, state.plane, state.controller)
        add_console(app)
        app.on_startup.append(api.start)
        app.on_shutdown.append(api.close)
    return app


def make_gate(admin: Admin, clock: Callable[[], float]) -> Gate:
    """The gate of an admin side that is configured so."""
    token = admin.token.get_secret_value() if admin.token is not None else None
    return Gate(token, admin.address, {*admin.hosts, socket.gethostname()}, clock)


def _admin_api(state: State) -> AdminApi:
    async def totals() -> Stats:
        copied = Stats()  # a plane in this process gives the very numbers it goes on counting with
        copied.merge((await state.plane.collect()).stats)
        return copied

    return AdminApi(state.controller, state.gate, Hub(state.controller, totals, state.tasks), OPEN_PATHS)


def _problems(state: State, audience: Audience) -> list[str]:
    """What is wrong, a sentence each. The public learns what, operators also where and why."""
    operators = audience is Audience.OPERATORS
    found = [
        f"{endpoint.settings.backend}"
        + (f" at {endpoint.settings.url} is down: {endpoint.fault}" if operators else " is down")
        for endpoint in state.prober.endpoints
        if not endpoint.up
    ]
    dead = [worker.slot for worker in state.plane.workers() if not worker.pid]
    if dead:
        found.append(f"workers that died are not running again yet: {len(dead)}")
    found += state.controller.problems(details=operators)
    if state.certificates is not None:
        found += state.certificates.problems(in_full=operators)
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
    return as_json(body, 200 if reachable else 503)


async def _live(_request: web.Request) -> web.Response:
    return as_json({"status": "ok"})


async def _ready(request: web.Request) -> web.Response:
    state = request.app[STATE]
    if state.life is not Life.SERVING:
        return as_json({"status": state.life.value}, 503)
    if not any(state.prober.up().values()):
        return as_json({"status": "no backend can be reached"}, 503)
    return as_json({"status": "ok"})


async def _metrics(request: web.Request) -> web.Response:
    state = request.app[STATE]
    controller, totals = state.controller, await state.plane.collect()
    rollout, progress = controller.config.rollout, controller.plan.progress
    reading = Reading(
        stats=totals.stats,
        gauges=totals.gauges,
        snapshot=controller.snapshot(),
        version=__version__,
        backend_up=state.prober.up(),
        plan_step=plan_step(progress),
        plan_stages=len(rollout.plan),
        plan_phase=progress.phase,
        plan_hold_left_s=plan_hold_left_s(rollout, progress),
        guardrails=_guardrail_readings(controller.finding),
        rollbacks=controller.rollbacks,
        rollback_durations=controller.rollback_durations,
        config_reloads=controller.reloads,
        config_ok=not controller.reload_fault,
        state_store_up=controller.store_up,
        admin_refused=state.gate.refused,
        hook_deliveries=state.hooks.deliveries if state.hooks is not None else {},
        workers=totals.workers,
        deaths=totals.deaths,
        usage=usage_of([*dict.fromkeys((os.getpid(), *(worker.pid for worker in totals.workers if worker.pid)))]),
    )
    form = form_for(request.headers.get("Accept", ""))
    return web.Response(body=render(reading, form), headers={"Content-Type": form.value})


def _guardrail_readings(finding: Finding | None) -> Mapping[str, GuardrailReading]:
    """The last verdict of each rule, for the metrics."""
    results = () if finding is None else finding.window.results
    return {result.rule.value: GuardrailReading(result.outcome.value, result.value, result.limit) for result in results}
