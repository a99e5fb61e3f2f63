"""The new service put together.

Owns: which handlers there are, health, and what is done at the start. Must not know: how a request is served.
"""

from __future__ import annotations

import time

from aiohttp import web

from camera_data.serve import MAX_BODY_BYTES, Ground
from domain_backend.web import alerts, cameras, control, live
from domain_backend.web.context import CONTEXT, context_of
from domain_backend.web.errors import answer_errors


def build(ground: Ground) -> web.Application:
    """The application; the ground stays the caller's to close."""
    app = web.Application(middlewares=[answer_errors], client_max_size=MAX_BODY_BYTES)
    app[CONTEXT] = context_of(ground)
    app.router.add_get("/health", _health)
    for module in (cameras, control, live, alerts):
        app.add_routes(module.routes)
    app.on_startup.append(_start_up)
    return app


async def _start_up(app: web.Application) -> None:
    context = app[CONTEXT]
    await context.ground.threads.change(context.catalogue.refresh)
    await context.ground.threads.change(context.control.start_automatic)


async def _health(request: web.Request) -> web.Response:
    context = request.app[CONTEXT]
    summary = await context.ground.threads.read(context.catalogue.summary)
    return web.json_response(
        {
            "status": "degraded" if summary.file_fault else "ok",
            "backend": context.ground.name,
            "requests": context.ground.requests,
            "uptime_s": int(time.monotonic() - context.ground.started_s),
            "cameras": summary.total,
            "running": summary.running,
            "camera_file_fault": summary.file_fault,
        }
    )
