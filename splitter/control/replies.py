"""Answers of the splitter's own pages: JSON, and errors of the one shape.

Owns: how a body becomes a response, how whatever goes wrong becomes `{"error": {"code", "message", "request_id"}}`, the
fields that keep browsers from misusing an answer. Must not know: paths, who may ask, what is answered.
Invariants: no exception reaches a client as text of a framework or as a traceback; every answer has its request's id.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import orjson
import structlog
from aiohttp import web

REQUEST_ID: Final = "X-Request-Id"
_ID_FORM: Final = re.compile(r"[!-~]{1,128}", re.ASCII)
_ID: Final = web.RequestKey("request_id", str)

_PROTECTION: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_CODES: Final = {404: "not_found", 405: "method_not_allowed", 413: "content_too_large"}
_MESSAGES: Final = {404: "there is nothing here", 413: "the body is too large"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def as_json(body: object, status: int = 200) -> web.Response:
    """A JSON answer, laid out for people: who asks with curl reads it."""
    data = orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return web.Response(body=data, status=status, content_type="application/json")


def as_error(request: web.Request, status: int, code: str, message: str) -> web.Response:
    """An error of the one shape."""
    return as_json({"error": {"code": code, "message": message, "request_id": request_id(request)}}, status)


def request_id(request: web.Request) -> str:
    """The id the client gave, if it can stand in a header, else one of ours; the same for the whole request."""
    if _ID not in request:
        given = request.headers.get(REQUEST_ID, "")
        request[_ID] = given if _ID_FORM.fullmatch(given) else secrets.token_hex(16)
    return request[_ID]


async def protect(request: web.Request, response: web.StreamResponse) -> None:
    """For `on_response_prepare`: fields that every answer has, streams and errors too."""
    response.headers[REQUEST_ID] = request_id(request)
    for name, value in _PROTECTION.items():
        response.headers.setdefault(name, value)


@web.middleware
async def explain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever went wrong below, in the one shape."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code = _CODES.get(error.status, "refused")
        response = as_error(request, error.status, code, _message_of(request, error))
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception as error:
        structlog.get_logger().error("page_failed", path=request.path, request_id=request_id(request), exc_info=error)
        return as_error(request, 500, "internal", "a fault of the splitter itself; its log has more under this request_id")


def _message_of(request: web.Request, error: web.HTTPException) -> str:
    if isinstance(error, web.HTTPMethodNotAllowed):
        return f"{request.method} is not among the methods allowed here: {', '.join(sorted(error.allowed_methods))}"
    return _MESSAGES.get(error.status, error.reason)
