"""Refusals and failures as answers.

Owns: which status each has. Must not know: where they come from.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Handler

from camera_data.errors import BodyError, CameraDataError, CameraFileError, StoreBusyError
from camera_data.serve import MAX_BODY_BYTES
from camera_data.wire import error_document
from domain_backend.entities.refusals import InvalidRule, NotFound, Refusal, SourceUnavailable
from domain_backend.web.bodies import InvalidBody

log = logging.getLogger(__name__)

CONFLICT = 409
REFUSALS: Mapping[type[Refusal], int] = {NotFound: 404, InvalidRule: 400, SourceUnavailable: 422}
DATA_ERRORS: Mapping[type[CameraDataError], tuple[int, str]] = {
    BodyError: (400, "bad_request"),
    CameraFileError: (503, "camera_file_invalid"),
    StoreBusyError: (503, "busy"),
}


class UpgradeRequired(Exception):
    """A plain request for what only a WebSocket can give."""


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Around every handler: whatever it raises becomes JSON of one shape."""
    try:
        return await handler(request)
    except ConnectionError:  # the client's own
        raise
    except Exception as error:
        return _answer(request, error)


def _answer(request: web.Request, error: Exception) -> web.Response:
    match error:
        case Refusal():
            return _json(REFUSALS.get(type(error), CONFLICT), error.code, str(error))
        case InvalidBody():
            return _json(400, "bad_request", str(error))
        case CameraDataError() if type(error) in DATA_ERRORS:
            status, code = DATA_ERRORS[type(error)]
            return _json(status, code, str(error))
        case UpgradeRequired():
            return _json(426, "upgrade_required", str(error), {"Upgrade": "websocket", "Connection": "Upgrade"})
        case web.HTTPException():
            return _http(request, error)
    log.error("%s %s", request.method, request.path, exc_info=error)
    return _json(500, "internal", "the service failed; its log says why")


def _http(request: web.Request, error: web.HTTPException) -> web.Response:
    match error.status:
        case 404:
            return _json(404, "not_found", f"there is no path {request.path}")
        case 405:
            allow = error.headers["Allow"]
            message = f"{request.path} has no {request.method}; it has {allow}"
            return _json(405, "method_not_allowed", message, {"Allow": allow})
        case 413:
            return _json(413, "payload_too_large", f"the body is larger than {MAX_BODY_BYTES} bytes")
    return _json(error.status, "refused", error.reason)


def _json(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response(error_document(code, message), status=status, headers=headers)
