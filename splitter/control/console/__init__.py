"""The console: the page at `/` of the admin address, and the files it is made of.

Owns: which files there are and their media types. Must not know: what the page shows, who may open it.
Invariants: only files of this folder are served, each read once; none of them holds data or names another host.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

from aiohttp import web

from splitter.control.replies import Handler

_MEDIA_TYPES: Final = {"css": "text/css", "html": "text/html", "js": "text/javascript", "svg": "image/svg+xml"}
_PAGE: Final = "index.html"


def add_console(app: web.Application) -> None:
    """The page at `/`, the rest beside it under `/console/`."""
    for file in resources.files(__name__).iterdir():
        media_type = _MEDIA_TYPES.get(file.name.rpartition(".")[2])
        if media_type is not None:
            path = "/" if file.name == _PAGE else f"/console/{file.name}"
            app.router.add_get(path, _serve(file.read_bytes(), media_type))


def _serve(content: bytes, media_type: str) -> Handler:
    async def serve(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=content, content_type=media_type, charset="utf-8")

    return serve
