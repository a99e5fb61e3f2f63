"""Handlers that move a camera.

Owns: their requests and answers. Must not know: which moves are legal.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from domain_backend.services.camera_control import CameraControlService, Moved
from domain_backend.web.bodies import AutoStart, Nothing, read
from domain_backend.web.context import CONTEXT
from domain_backend.web.documents import moved_document
from domain_backend.web.paths import CAMERA

routes = web.RouteTableDef()


@routes.post(CAMERA + "/start")
async def start(request: web.Request) -> web.Response:
    """200 when it runs, 422 when its source gives no picture."""
    return await _move(request, CameraControlService.start)


@routes.post(CAMERA + "/stop")
async def stop(request: web.Request) -> web.Response:
    """Also out of an error."""
    return await _move(request, CameraControlService.stop)


@routes.post(CAMERA + "/restart")
async def restart(request: web.Request) -> web.Response:
    """Also starts what does not run."""
    return await _move(request, CameraControlService.restart)


@routes.post(CAMERA + "/activate")
async def activate(request: web.Request) -> web.Response:
    """From now on it may be started."""
    return await _move(request, CameraControlService.activate)


@routes.post(CAMERA + "/deactivate")
async def deactivate(request: web.Request) -> web.Response:
    """Stop it if it runs; from now on it may not be started."""
    return await _move(request, CameraControlService.deactivate)


@routes.put(CAMERA + "/auto-start")
async def auto_start(request: web.Request) -> web.Response:
    """Whether it starts with the service."""
    context = request.app[CONTEXT]
    body = await read(request, AutoStart)
    camera_id = request.match_info["camera_id"]
    moved = await context.ground.threads.change(context.control.set_auto_start, camera_id, body.enabled)
    return web.json_response(moved_document(moved))


async def _move(request: web.Request, move: Callable[[CameraControlService, str], Moved]) -> web.Response:
    context = request.app[CONTEXT]
    await read(request, Nothing)
    moved = await context.ground.threads.change(move, context.control, request.match_info["camera_id"])
    return web.json_response(moved_document(moved))
