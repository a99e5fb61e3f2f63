"""The proxy everyone would write first: an aiohttp server in front of an aiohttp client.

Owns: nothing anyone should copy; it is what the splitter is measured against. It does the same work, in the plainest way:
hash the user, forward, add the same header fields.
Usage: python -m tools.bench.aiohttp_proxy PORT LEGACY_PORT DOMAIN_PORT [--tls CERT KEY] [--access-log]
"""

from __future__ import annotations

import argparse
import logging
import ssl
import uuid
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict
from prometheus_client import Counter, Histogram
from xxhash import xxh64_intdigest

HOP_BY_HOP = frozenset({"connection", "keep-alive", "te", "transfer-encoding", "upgrade", "proxy-connection"})
REQUESTS = Counter("proxy_requests", "Requests.", ["backend", "method", "code"])
SECONDS = Histogram("proxy_request_duration_seconds", "Duration.", ["backend"])
SESSION = web.AppKey("session", aiohttp.ClientSession)


def _side(request: web.Request) -> str:
    return "domain" if xxh64_intdigest(request.headers.get("X-User-Id", "").encode(), 0) % 10_000 < 5_000 else "legacy"


async def _forward(request: web.Request) -> web.StreamResponse:
    ports = request.app[PORTS]
    side = _side(request)
    fields = CIMultiDict((name, value) for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP)
    fields.setdefault("X-Request-Id", uuid.uuid4().hex)
    fields["X-Forwarded-For"] = request.remote or ""
    fields["X-Forwarded-Proto"] = request.scheme
    fields["X-Forwarded-Host"] = request.host
    fields["Via"] = "1.1 aiohttp"
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return await _tunnel(request, ports[side], fields)
    with SECONDS.labels(side).time():
        url = f"http://127.0.0.1:{ports[side]}{request.rel_url}"
        body = request.content.iter_any() if request.can_read_body else None
        async with request.app[SESSION].request(request.method, url, headers=fields, data=body) as answer:
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            for name, value in answer.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    response.headers.add(name, value)
            response.headers["X-Splitter-Backend"] = side
            response.headers["X-Splitter-Reason"] = "bucket"
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
    REQUESTS.labels(side, request.method, str(answer.status)).inc()
    return response


async def _tunnel(request: web.Request, port: int, fields: CIMultiDict[str]) -> web.WebSocketResponse:
    own = {"host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions"}
    passed = CIMultiDict((name, value) for name, value in fields.items() if name.lower() not in own)
    downstream = web.WebSocketResponse(compress=False)
    await downstream.prepare(request)
    async with request.app[SESSION].ws_connect(f"http://127.0.0.1:{port}{request.rel_url}", headers=passed) as upstream:
        # An echo is asked and answered in turn, so one loop is enough.
        async for message in downstream:
            await upstream.send_bytes(message.data)
            await downstream.send_bytes((await upstream.receive()).data)
    return downstream


async def _session(app: web.Application) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        app[SESSION] = session
        yield


PORTS = web.AppKey("ports", dict[str, int])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("ports", type=int, nargs=3, metavar="PORT")
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    parser.add_argument("--access-log", action="store_true")
    options = parser.parse_args()
    port, legacy, domain = options.ports
    context = None
    if options.tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*options.tls)
    log = None
    if options.access_log:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        log = logging.getLogger("aiohttp.access")
    app = web.Application(client_max_size=1 << 30)
    app[PORTS] = {"legacy": legacy, "domain": domain}
    app.cleanup_ctx.append(_session)
    app.router.add_route("*", "/{path:.*}", _forward)
    loop = uvloop.new_event_loop()
    web.run_app(app, host="127.0.0.1", port=port, backlog=4096, access_log=log, print=None, loop=loop, ssl_context=context)


if __name__ == "__main__":
    main()
