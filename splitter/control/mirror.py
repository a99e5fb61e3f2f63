"""GET /api/v1/rollout/mirror: what copies of live requests have shown.

Owns: the path and its parameters. Must not know: who may ask (`auth`), what is told (`mirror_told`).
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from splitter.control import bodies
from splitter.control.admin import ROLLOUT
from splitter.control.controller import Controller
from splitter.control.mirror_told import findings_document
from splitter.control.replies import as_json
from splitter.snapshot import Plane

MIRROR: Final = f"{ROLLOUT}/mirror"
PLACES: Final = 200
MOST_PLACES: Final = 2000


def add_mirror(app: web.Application, plane: Plane, controller: Controller) -> None:
    """The page, with and without a slash at its end; the middleware of the admin API stands before it."""

    async def answer(request: web.Request) -> web.Response:
        limit = bodies.limit(request.query.get("limit"), PLACES, MOST_PLACES)
        tally = await plane.mirror_report()
        endpoint = request.query.get("endpoint")
        return as_json(findings_document(controller.config, controller.snapshot(), tally, limit, endpoint))

    for spelled in (MIRROR, f"{MIRROR}/"):
        app.router.add_get(spelled, answer)
