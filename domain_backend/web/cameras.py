"""Handlers about cameras as things.

Owns: their requests and answers. Must not know: what a camera may do.
"""

from __future__ import annotations

from aiohttp import web

from domain_backend.web.bodies import Batch, NewCamera, Nothing, page_of, read, read_change
from domain_backend.web.context import CONTEXT
from domain_backend.web.documents import camera_document, logs_document, refreshed_document, status_document
from domain_backend.web.paths import CAMERA, CAMERAS

routes = web.RouteTableDef()


@routes.get(CAMERAS)
async def list_cameras(request: web.Request) -> web.Response:
    """Every camera."""
    context = request.app[CONTEXT]
    cameras = await context.ground.threads.read(context.catalogue.all)
    return web.json_response({"cameras": [camera_document(camera) for camera in cameras], "total": len(cameras)})


@routes.post(CAMERAS)
async def create(request: web.Request) -> web.Response:
    """One more."""
    context = request.app[CONTEXT]
    body = await read(request, NewCamera)
    camera = await context.ground.threads.change(context.catalogue.create, body.camera())
    return web.json_response(camera_document(camera), status=201, headers={"Location": f"{CAMERAS}/{camera.id}"})


@routes.post(CAMERAS + "/batch-status")
async def batch_status(request: web.Request) -> web.Response:
    """The status of several."""
    context = request.app[CONTEXT]
    body = await read(request, Batch)
    cameras, unknown = await context.ground.threads.read(context.catalogue.some, body.camera_ids)
    statuses = [status_document(camera) for camera in cameras]
    return web.json_response({"statuses": statuses, "unknown": unknown, "total": len(statuses)})


@routes.post(CAMERAS + "/refresh")
async def refresh(request: web.Request) -> web.Response:
    """Read the camera file again, and bring the run state into line."""
    context = request.app[CONTEXT]
    await read(request, Nothing)
    return web.json_response(refreshed_document(await context.ground.threads.change(context.catalogue.refresh)))


@routes.get(CAMERA)
async def get(request: web.Request) -> web.Response:
    """One camera."""
    context = request.app[CONTEXT]
    camera = await context.ground.threads.read(context.catalogue.get, request.match_info["camera_id"])
    return web.json_response(camera_document(camera))


@routes.put(CAMERA)
async def update(request: web.Request) -> web.Response:
    """Another definition for one."""
    context = request.app[CONTEXT]
    camera_id = request.match_info["camera_id"]
    fields = await read_change(request, camera_id)
    return web.json_response(
        camera_document(await context.ground.threads.change(context.catalogue.update, camera_id, fields))
    )


@routes.delete(CAMERA)
async def delete(request: web.Request) -> web.Response:
    """One less."""
    context = request.app[CONTEXT]
    await read(request, Nothing)
    await context.ground.threads.change(context.catalogue.delete, request.match_info["camera_id"])
    return web.Response(status=204)


@routes.get(CAMERA + "/status")
async def status(request: web.Request) -> web.Response:
    """Its state only."""
    context = request.app[CONTEXT]
    camera = await context.ground.threads.read(context.catalogue.get, request.match_info["camera_id"])
    return web.json_response(status_document(camera))


@routes.get(CAMERA + "/logs")
async def logs(request: web.Request) -> web.Response:
    """A page of its log, the newest line first."""
    context = request.app[CONTEXT]
    camera_id = request.match_info["camera_id"]
    page = page_of(request.query)
    found = await context.ground.threads.read(context.catalogue.logs, camera_id, page.limit, page.offset)
    return web.json_response(logs_document(camera_id, found, page.limit, page.offset))
