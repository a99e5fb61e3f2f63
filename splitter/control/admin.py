"""The admin API: what operators may ask and change over HTTP, under `/api/v1/rollout`.

Owns: paths, statuses and shapes (with `bodies` and `openapi`), who is written into the audit list.
Must not know: how a change is made, saved or put in force; who may ask (`auth`); how errors look (`replies`).
Invariants: every change goes through the controller and is answered after it is in force on every worker; what is refused
changed nothing, and its answer says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from splitter.config.kinds import did_you_mean, shown
from splitter.control import bodies
from splitter.control.auth import Asked, Gate, Page, actor
from splitter.control.openapi import document
from splitter.control.replies import Handler, as_error, as_json, request_id
from splitter.control.stream import Hub
from splitter.errors import IllegalTransition, StoreError
from splitter.rollout import Event as PlanEvent

ROLLOUT: Final = "/api/v1/rollout"
OPENAPI: Final = "/api/v1/openapi.json"
ACTOR: Final = "X-Splitter-Actor"
STEERED: Final = (PlanEvent.PAUSE, PlanEvent.CONTINUE, PlanEvent.ABORT)
"""What can be done to the plan besides starting and promoting it."""
BODY_BYTES: Final = 16 * 1024
EVENTS: Final = 50
MOST_EVENTS: Final = 200


class Outcome(Protocol):
    """What became of a change. `took_s`: from the decision until it was in force on every worker."""

    @property
    def version(self) -> int: ...
    @property
    def changed(self) -> bool: ...
    @property
    def saved(self) -> bool: ...
    @property
    def workers(self) -> int: ...
    @property
    def replaced(self) -> int: ...
    @property
    def took_s(self) -> float: ...


class Controls(Protocol):
    """What the API needs of the controller. Changes return when they are in force on every worker.

    They raise StoreError when nothing can be saved (a rollback never does), and IllegalTransition.
    """

    def status(self) -> Mapping[str, Any]: ...
    def events(self) -> Sequence[Mapping[str, Any]]:
        """The audit list, oldest first."""

    def route_names(self) -> Sequence[str]: ...
    async def set_percent(self, percent: float, route: str | None, who: str, why: str) -> Outcome: ...
    async def roll_back(self, who: str, why: str) -> Outcome: ...
    async def resume(self, who: str, why: str, from_stage: int | None) -> Outcome: ...
    async def steer(self, event: PlanEvent, who: str, why: str, from_stage: int | None = None) -> Outcome: ...


class AdminApi:
    """The handlers, and the middleware before them."""

    def __init__(self, controls: Controls, gate: Gate, hub: Hub, open_paths: frozenset[str]) -> None:
        self._controls = controls
        self._gate = gate
        self._hub = hub
        self._open_paths = open_paths

    def add_routes(self, app: web.Application) -> None:
        """The API's paths, each with and without a slash at its end."""
        for method, path, handler in (
            ("GET", ROLLOUT, self._status),
            ("PUT", f"{ROLLOUT}/percent", self._set_percent),
            ("POST", f"{ROLLOUT}/rollback", self._roll_back),
            ("POST", f"{ROLLOUT}/resume", self._resume),
            ("GET", f"{ROLLOUT}/plan", self._plan),
            ("POST", f"{ROLLOUT}/plan/start", self._start_plan),
            ("POST", f"{ROLLOUT}/plan/promote", self._promote_plan),
            *(("POST", f"{ROLLOUT}/plan/{event}", self._steering(event)) for event in STEERED),
            ("GET", f"{ROLLOUT}/events", self._events),
            ("GET", f"{ROLLOUT}/stream", self._stream),
            ("GET", OPENAPI, self._openapi),
        ):
            for spelled in (path, f"{path}/"):
                if method == "GET":
                    app.router.add_get(
                        spelled, handler, allow_head=handler != self._stream
                    )  # a stream has no end to wait for
                else:
                    app.router.add_route(method, spelled, handler)

    async def start(self, _app: web.Application) -> None:
        """For `on_startup`."""
        self._hub.start()

    async def close(self, _app: web.Application) -> None:
        """For `on_shutdown`: streams would go on for ever."""
        self._hub.close()

    def middleware(self) -> Middleware:
        """Lets in who may come in; a refusal for a wrong token waits before it is told."""

        @web.middleware
        async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
            asked = self._asked(request)
            refusal = self._gate.check(asked)
            if refusal is None:
                return await handler(request)
            try:
                if refusal.status != 429:
                    structlog.get_logger().warning(
                        "admin_refused",
                        cause=refusal.cause.value,
                        peer=asked.peer,
                        method=asked.method,
                        path=request.path,
                        request_id=request_id(request),
                    )
                await asyncio.sleep(refusal.delay_s)
            finally:
                self._gate.answered(asked, refusal)
            response = as_error(request, refusal.status, refusal.code, refusal.message)
            response.headers.extend(refusal.headers)
            return response

        return admit

    def _asked(self, request: web.Request) -> Asked:
        headers = request.headers
        path = request.path.rstrip("/")
        page = Page.OPEN if path in self._open_paths else Page.DATA if path else Page.SHELL
        return Asked(
            method=request.method,
            page=page,
            peer=_peer(request),
            host=headers.get("Host"),
            origin=headers.get("Origin"),
            fetch_site=headers.get("Sec-Fetch-Site"),
            fetch_mode=headers.get("Sec-Fetch-Mode"),
            authorization=headers.get("Authorization"),
            content_type=headers.get("Content-Type"),
        )

    async def _status(self, _request: web.Request) -> web.Response:
        return as_json(self._controls.status())

    async def _set_percent(self, request: web.Request) -> web.Response:
        body = bodies.read(bodies.SetPercent, await request.read())
        names = self._controls.route_names()
        if body.route is not None and body.route not in names:
            hint = did_you_mean(body.route, list(names)) or f"; there are: {', '.join(names) or 'none'}"
            raise bodies.BodyError(404, "unknown_route", f"there is no route {shown(body.route)}{hint}")
        return self._done(await self._controls.set_percent(body.percent, body.route, _who(request), body.reason))

    async def _roll_back(self, request: web.Request) -> web.Response:
        body = bodies.read(bodies.Rollback, await request.read())
        return self._done(await self._controls.roll_back(_who(request), body.reason))

    async def _resume(self, request: web.Request) -> web.Response:
        body = bodies.read(bodies.Resume, await request.read())
        return self._done(await self._controls.resume(_who(request), body.reason, body.from_stage))

    async def _plan(self, _request: web.Request) -> web.Response:
        status = self._controls.status()
        return as_json({"plan": status["plan"], "guardrails": status["guardrails"]})

    async def _start_plan(self, request: web.Request) -> web.Response:
        body = bodies.read(bodies.StartPlan, await request.read())
        return self._done(await self._controls.steer(PlanEvent.START, _who(request), body.reason, body.from_stage))

    async def _promote_plan(self, request: web.Request) -> web.Response:
        body = bodies.read(bodies.PromotePlan, await request.read())
        event = PlanEvent.PROMOTE_FULL if body.full else PlanEvent.PROMOTE
        return self._done(await self._controls.steer(event, _who(request), body.reason))

    def _steering(self, event: PlanEvent) -> Handler:
        async def steer(request: web.Request) -> web.Response:
            body = bodies.read(bodies.SteerPlan, await request.read())
            return self._done(await self._controls.steer(event, _who(request), body.reason))

        return steer

    def _done(self, outcome: Outcome) -> web.Response:
        return as_json(
            {
                "changed": outcome.changed,
                "saved": outcome.saved,
                "workers": outcome.workers,
                "replaced": outcome.replaced,
                "took_ms": round(outcome.took_s * 1000, 3),
                "version": outcome.version,
                "status": self._controls.status(),
            }
        )

    async def _events(self, request: web.Request) -> web.Response:
        limit = bodies.limit(request.query.get("limit"), EVENTS, MOST_EVENTS)
        return as_json({"events": list(reversed(self._controls.events()))[:limit]})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if not self._hub.has_room:
            return as_error(request, 503, "too_many_listeners", "no more listeners can be served: close one")
        return await self._hub.serve(request)

    async def _openapi(self, _request: web.Request) -> web.Response:
        return as_json(document())


@web.middleware
async def explain_refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What the controller or a body's check refused, as a status."""
    try:
        return await handler(request)
    except bodies.BodyError as error:
        return as_error(request, error.status, error.code, error.message)
    except IllegalTransition as error:
        return as_error(request, 409, "illegal", str(error))
    except StoreError as error:
        response = as_error(request, 503, "store_unavailable", f"{error}; nothing was changed")
        response.headers["Retry-After"] = "1"
        return response


def _peer(request: web.Request) -> str:
    """The address that asks; empty on a unix socket."""
    name = request.transport.get_extra_info("peername") if request.transport is not None else None
    return str(name[0]) if isinstance(name, tuple) else ""


def _who(request: web.Request) -> str:
    return actor(request.headers.get(ACTOR), _peer(request))
