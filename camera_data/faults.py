"""Faults on purpose: a service that is slow, fails, hangs up, or answers what nobody expects.

Owns: what a fault is, how it is written, what it does to a request. Must not know: the camera API.
Invariants: without a fault in force nothing is touched; a request that is failed here has changed nothing, because the
service never saw it. `/health` suffers only the fault of that name: a broken release usually looks healthy to a probe.

How a fault is written (SHARE is of requests, 0 to 1, `on` is 1):
    latency=200ms[:SHARE]   answer that much later        error=SHARE[:STATUS]   answer 500, or another status
    drop=SHARE              hang up without an answer     shape=SHARE            wrap JSON as {"data": ...}
    health=SHARE            /health answers 503
What a rewrite gets wrong, in every JSON answer that has the field, at any depth:
    rename=FIELD:NAME[:SHARE]   the field has another name      stringify=FIELD[:SHARE]   its numbers are texts
    reorder=FIELD[:SHARE]       its lists run backwards         drop_header=NAME[:SHARE]  the header is missing
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import random
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from aiohttp import web
from aiohttp.typedefs import Middleware

from camera_data.errors import BodyError, FaultSpecError
from camera_data.reshape import as_text, in_other_order, renamed
from camera_data.wire import error_document, object_of

FAULT_PATH = "/fault"
HEALTH_PATH = "/health"
MAX_LATENCY_S = 600.0
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_PROXY_HEADERS = ("Forwarded", "X-Forwarded-For", "Via")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Kind(Enum):
    """What a fault does."""

    LATENCY = "latency"
    ERROR = "error"
    DROP = "drop"
    SHAPE = "shape"
    HEALTH = "health"
    RENAME = "rename"
    STRINGIFY = "stringify"
    REORDER = "reorder"
    DROP_HEADER = "drop_header"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault in force. `share` is the probability that a request suffers it; `field` becomes `name`, or else."""

    kind: Kind
    share: float
    latency_s: float = 0.0
    status: int = 500
    field: str = ""
    name: str = ""

    def __str__(self) -> str:
        if self.field:
            parts = [self.field, *([self.name] if self.name else []), *([f"{self.share:g}"] if self.share < 1 else [])]
            return f"{self.kind.value}={':'.join(parts)}"
        if self.kind is Kind.LATENCY:
            return f"latency={self.latency_s * 1000:g}ms" + (f":{self.share:g}" if self.share < 1 else "")
        status = f":{self.status}" if self.kind is Kind.ERROR and self.status != 500 else ""
        return f"{self.kind.value}={self.share:g}{status}"


_OF_A_FIELD = frozenset({Kind.RENAME, Kind.STRINGIFY, Kind.REORDER, Kind.DROP_HEADER})


def faults_of(specs: Iterable[str]) -> tuple[Fault, ...]:
    """The faults as they were written. Raises FaultSpecError that names every spec that can't be."""
    found: dict[Kind, Fault] = {}
    wrong: list[str] = []
    for spec in specs:
        try:
            fault = _fault(spec)
        except ValueError as error:
            wrong.append(f"{spec!r}: {error}")
        else:
            if fault.kind in found:
                wrong.append(f"{spec!r}: {fault.kind.value} is there twice")
            found[fault.kind] = fault
    if wrong:
        raise FaultSpecError(wrong)
    return tuple(found.values())


def _fault(spec: str) -> Fault:
    name, equals, value = spec.partition("=")
    if not equals or name not in {kind.value for kind in Kind}:
        raise ValueError(f"expected one of {', '.join(f'{kind.value}=...' for kind in Kind)}")
    kind = Kind(name)
    if kind in _OF_A_FIELD:
        return _fault_of_field(kind, value)
    first, colon, second = value.partition(":")
    if kind is Kind.LATENCY:
        return Fault(kind, _share(second) if colon else 1.0, latency_s=_duration_s(first))
    if kind is Kind.ERROR and colon:
        if not re.fullmatch(r"[45]\d\d", second):
            raise ValueError(f"status {second!r} is not one from 400 to 599")
        return Fault(kind, _share(first), status=int(second))
    return Fault(kind, _share(value))


def _fault_of_field(kind: Kind, value: str) -> Fault:
    names = 2 if kind is Kind.RENAME else 1
    parts = value.split(":")
    if len(parts) not in {names, names + 1} or not all(_NAME.fullmatch(name) for name in parts[:names]):
        raise ValueError(f"expected {kind.value}={'FIELD:NAME' if names == 2 else 'NAME'}[:SHARE]")
    share = _share(parts[names]) if len(parts) > names else 1.0
    return Fault(kind, share, field=parts[0], name=parts[1] if names == 2 else "")


def _share(text: str) -> float:
    if text == "on":
        return 1.0
    if not re.fullmatch(r"\d*\.?\d+", text, re.ASCII) or not 0 <= float(text) <= 1:
        raise ValueError(f"{text!r} is not a share from 0 to 1, nor 'on'")
    return float(text)


def _duration_s(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a duration such as 200ms or 1.5s")
    latency_s = float(match[1]) * _UNIT_S[match[2]]
    if latency_s > MAX_LATENCY_S:
        raise ValueError(f"{text!r} is more than {MAX_LATENCY_S:g}s")
    return latency_s


class FaultInjector:
    """The faults in force in one process. `draw` gives numbers from 0 up to, but not including, 1."""

    def __init__(
        self,
        faults: Iterable[Fault] = (),
        draw: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._faults = {fault.kind: fault for fault in faults}
        self._draw = draw
        self._sleep = sleep

    @property
    def specs(self) -> list[str]:
        """What is in force, as it would be written."""
        return [str(fault) for fault in self._faults.values()]

    def put(self, faults: Iterable[Fault]) -> None:
        """These, and no others, from the next request on."""
        self._faults = {fault.kind: fault for fault in faults}

    def _strikes(self, kind: Kind) -> Fault | None:
        fault = self._faults.get(kind)
        return fault if fault and self._draw() < fault.share else None

    def middleware(self) -> Middleware:
        """What goes around a whole service."""

        @web.middleware
        async def inject(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not self._faults or request.path == FAULT_PATH:
                return await handler(request)
            if request.path == HEALTH_PATH:
                ill = self._strikes(Kind.HEALTH)
                return _injected(503, Kind.HEALTH) if ill else await handler(request)
            return await self._through(request, handler)

        return inject

    async def _through(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if slow := self._strikes(Kind.LATENCY):
            await self._sleep(slow.latency_s)
        if self._strikes(Kind.DROP):
            if request.transport:
                request.transport.close()
            return web.Response()  # never sent: the connection is gone
        if failed := self._strikes(Kind.ERROR):
            return _injected(failed.status, Kind.ERROR)
        response = await handler(request)
        for kind in Kind:  # in this order, whichever were set first
            if kind in _OF_A_FIELD and (wrong := self._strikes(kind)):
                _make_wrong(response, wrong)
        return _reshaped(response) if self._strikes(Kind.SHAPE) else response

    async def control(self, request: web.Request) -> web.StreamResponse:
        """GET, PUT {"faults": [spec, ...]} and DELETE, for who sits on this machine; for others there is no such path."""
        if not _is_local(request):
            raise web.HTTPNotFound
        if request.method == "PUT":
            try:
                self.put(faults_of(_specs(object_of(await request.read()))))
            except (BodyError, FaultSpecError) as error:
                return web.json_response(error_document("bad_request", str(error)), status=400)
        elif request.method == "DELETE":
            self.put(())
        elif request.method not in {"GET", "HEAD"}:
            raise web.HTTPMethodNotAllowed(request.method, ["DELETE", "GET", "HEAD", "PUT"])
        return web.json_response({"faults": self.specs})


def _specs(body: dict[str, object]) -> list[str]:
    unknown = sorted(set(body) - {"faults"})
    specs = body.get("faults")
    if unknown or not isinstance(specs, list) or not all(isinstance(spec, str) for spec in specs):
        raise BodyError('the body must be {"faults": [...]} with faults as text, such as "error=0.1"')
    return specs


def _is_local(request: web.Request) -> bool:
    """Through a proxy on this machine the peer is local whoever asks, so a request that came through one is not."""
    peer = request.transport.get_extra_info("peername") if request.transport else None
    if not peer or any(name in request.headers for name in _PROXY_HEADERS):
        return False
    return ipaddress.ip_address(peer[0].partition("%")[0]).is_loopback


def _injected(status: int, kind: Kind) -> web.Response:
    return web.json_response(error_document("injected_fault", f"{kind.value}: injected on purpose"), status=status)


def _make_wrong(response: web.StreamResponse, fault: Fault) -> None:
    if fault.kind is Kind.DROP_HEADER:
        response.headers.popall(fault.field, None)
        return
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return
    if response.content_type != "application/json" or not response.body:
        return
    document = json.loads(response.body)
    if fault.kind is Kind.RENAME:
        document = renamed(document, fault.field, fault.name)
    elif fault.kind is Kind.STRINGIFY:
        document = as_text(document, fault.field)
    else:
        document = in_other_order(document, fault.field)
    response.body = json.dumps(document).encode()


def _reshaped(response: web.StreamResponse) -> web.StreamResponse:
    body = response.body if isinstance(response, web.Response) else None
    if response.content_type != "application/json" or response.status >= 400 or not isinstance(body, bytes):
        return response
    return web.json_response({"data": json.loads(body)}, status=response.status)
