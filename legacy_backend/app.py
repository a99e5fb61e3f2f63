"""The old service put together: paths, and what becomes of an exception.

Owns: the route table, the error answers, what is done at the start. Must not know: how a request is served.
"""

from __future__ import annotations

import logging
import time

from aiohttp import web
from aiohttp.typedefs import Handler

from camera_data.errors import BodyError, CameraDataError, CameraFileError, StoreBusyError
from camera_data.serve import MAX_BODY_BYTES, Ground
from camera_data.wire import error_document
from legacy_backend import alerts, cameras, control, live
from legacy_backend.rows import GROUND, ApiError

log = logging.getLogger(__name__)

API = "/api/v1"
CAMERA = API + r"/cameras/{camera_id:(?!(?:batch-status|refresh)$)[^/]+}"  # those two are no ids: GET there is 405
DATA_ERRORS: dict[type[CameraDataError], tuple[int, str]] = {
    BodyError: (400, "bad_request"),
    CameraFileError: (503, "camera_file_invalid"),
    StoreBusyError: (503, "busy"),
}


def build(ground: Ground) -> web.Application:
    app = web.Application(middlewares=[answer_errors], client_max_size=MAX_BODY_BYTES)
    app[GROUND] = ground
    app.add_routes(
        [
            web.get("/health", health),
            web.get(API + "/cameras", cameras.list_cameras),
            web.post(API + "/cameras", cameras.create),
            web.post(API + "/cameras/batch-status", cameras.batch_status),
            web.post(API + "/cameras/refresh", cameras.refresh),
            web.get(CAMERA, cameras.get),
            web.put(CAMERA, cameras.update),
            web.delete(CAMERA, cameras.delete),
            web.get(CAMERA + "/status", cameras.status),
            web.get(CAMERA + "/logs", cameras.logs),
            web.post(CAMERA + "/start", control.start),
            web.post(CAMERA + "/stop", control.stop),
            web.post(CAMERA + "/restart", control.restart),
            web.post(CAMERA + "/activate", control.activate),
            web.post(CAMERA + "/deactivate", control.deactivate),
            web.put(CAMERA + "/auto-start", control.auto_start),
            web.get(CAMERA + "/preview", live.preview),
            web.get(CAMERA + "/stream", live.stream),
            web.get(CAMERA + "/events", live.events),
            web.get(API + "/alerts/rules", alerts.list_rules),
            web.post(API + "/alerts/rules", alerts.create),
            web.put(API + "/alerts/rules/{rule_id}", alerts.update),
        ]
    )
    app.on_startup.append(start_up)
    return app


async def start_up(app: web.Application) -> None:
    ground = app[GROUND]
    await ground.threads.change(cameras.refresh_work, ground)
    await ground.threads.change(control.auto_start_all, ground)


async def health(request: web.Request) -> web.Response:
    ground = request.app[GROUND]
    total, running, fault = await ground.threads.read(cameras.health_work, ground)
    return web.json_response(
        {
            "status": "degraded" if fault else "ok",
            "backend": ground.name,
            "requests": ground.requests,
            "uptime_s": int(time.monotonic() - ground.started_s),
            "cameras": total,
            "running": running,
            "camera_file_fault": fault,
        }
    )


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return failed(error.status, error.code, error.message, error.headers)
    except CameraDataError as error:
        status, code = DATA_ERRORS.get(type(error), (500, "internal"))
        return failed(status, code, str(error))
    except web.HTTPException as error:
        return refused(request, error)
    except ConnectionError:  # the client's own
        raise
    except Exception:
        log.exception("%s %s", request.method, request.path)
        return failed(500, "internal", "the service failed; its log says why")


def refused(request: web.Request, error: web.HTTPException) -> web.Response:
    if error.status == 405:
        allow = error.headers["Allow"]
        return failed(405, "method_not_allowed", f"{request.path} has no {request.method}; it has {allow}", {"Allow": allow})
    if error.status == 404:
        return failed(404, "not_found", f"there is no path {request.path}")
    if error.status == 413:
        return failed(413, "payload_too_large", f"the body is larger than {MAX_BODY_BYTES} bytes")
    return failed(error.status, "refused", error.reason)


def failed(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(error_document(code, message), status=status, headers=headers)
