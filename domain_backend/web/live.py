"""Handlers that show a camera: preview, stream, events.

Owns: answers that last. Must not know: when a camera has a picture, or how it is made.
"""

from __future__ import annotations

import contextlib

from aiohttp import web

from camera_data.errors import SourceError
from camera_data.live import CLOSE_TIMEOUT_S, HEARTBEAT_S, LAST_PART, STREAM_TYPE, Pace, part, until_first_ends
from domain_backend.entities.camera import Camera
from domain_backend.entities.refusals import Refusal
from domain_backend.services.camera_view import Snapshot
from domain_backend.web.context import CONTEXT, Context
from domain_backend.web.documents import change_document, snapshot_document
from domain_backend.web.errors import UpgradeRequired
from domain_backend.web.paths import CAMERA

GOING_AWAY, TRY_AGAIN_LATER = 1001, 1013  # RFC 6455 section 7.4.1 and the IANA registry

routes = web.RouteTableDef()


@routes.get(CAMERA + "/preview")
async def preview(request: web.Request) -> web.Response:
    """One picture, of now."""
    _, jpeg = await _picture(request.app[CONTEXT], request.match_info["camera_id"])
    return web.Response(body=jpeg, content_type="image/jpeg", headers={"Cache-Control": "no-store"})


@routes.get(CAMERA + "/stream")
async def stream(request: web.Request) -> web.StreamResponse:
    """Pictures until the camera stops, the client goes or the service ends."""
    context = request.app[CONTEXT]
    camera, jpeg = await _picture(context, request.match_info["camera_id"])
    response = web.StreamResponse(headers={"Content-Type": STREAM_TYPE, "Cache-Control": "no-store"})
    await response.prepare(request)
    if request.method != "HEAD":
        with contextlib.suppress(ConnectionError):  # the client has seen enough
            await _send_pictures(context, response, camera, jpeg)
    return response


async def _send_pictures(context: Context, response: web.StreamResponse, camera: Camera, jpeg: bytes) -> None:
    pace = Pace(context.ground.stopping)
    await response.write(part(jpeg))
    while await pace.wait(camera.fps):
        try:
            camera, jpeg = await _picture(context, camera.id)
        except Refusal:  # it was stopped, or is gone
            break
        await response.write(part(jpeg))
    await response.write(LAST_PART)
    await response.write_eof()


async def _picture(context: Context, camera_id: str) -> tuple[Camera, bytes]:
    threads, view = context.ground.threads, context.view
    camera = await threads.read(view.running, camera_id)
    try:
        return camera, await threads.read(view.picture, camera)
    except SourceError as error:
        raise await threads.change(view.lost, camera, error) from None


@routes.get(CAMERA + "/events")
async def events(request: web.Request) -> web.StreamResponse:
    """A WebSocket: how the camera is, then each change, whichever service made it."""
    context = request.app[CONTEXT]
    snapshot = await context.ground.threads.read(context.view.snapshot, request.match_info["camera_id"])
    socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, timeout=CLOSE_TIMEOUT_S)
    if not socket.can_prepare(request):
        raise UpgradeRequired("events are sent over a WebSocket")
    await socket.prepare(request)
    await until_first_ends(_tell(context, socket, snapshot), _listen(socket), _end(context, socket))
    return socket


async def _tell(context: Context, socket: web.WebSocketResponse, snapshot: Snapshot) -> None:
    camera_id, seq = snapshot.camera.id, snapshot.seq
    await socket.send_json(snapshot_document(snapshot))
    while True:
        await context.ground.changes.beyond(seq)
        news = await context.ground.threads.read(context.view.news, camera_id, seq)
        if news.missed:
            await socket.close(code=TRY_AGAIN_LATER, message=b"too far behind; connect again for a snapshot")
            return
        for change in news.changes:
            await socket.send_json(change_document(change))
            if change.status is None:
                await socket.close(message=b"the camera is gone")
                return
        seq = news.seq


async def _listen(socket: web.WebSocketResponse) -> None:
    """Nothing a client says means anything here, but this is how its pongs and its end are noticed."""
    async for _ in socket:
        continue


async def _end(context: Context, socket: web.WebSocketResponse) -> None:
    await context.ground.stopping.wait()
    await socket.close(code=GOING_AWAY, message=b"the service stops")
