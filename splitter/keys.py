"""What makes a client one client: keys read from requests.

Owns: the sources of keys. Must not know: buckets, routes, what a key decides.
Invariant: nothing a client sends raises here.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Protocol

from splitter.config import KeySource
from splitter.hops import Style, Trust, client_address


class Request(Protocol):
    """What routing reads of a request: bytes as they came, `fields` by lower-case name."""

    @property
    def method(self) -> bytes: ...
    @property
    def path(self) -> bytes: ...
    @property
    def query(self) -> bytes: ...
    @property
    def fields(self) -> Mapping[bytes, bytes]: ...


Params = Mapping[str, bytes]
"""What a route's path template took from a path, by name."""

KeyReader = Callable[[Request, str, Params], bytes | None]
"""Request, peer address and path parameters to a key."""


def cookie_value(header: bytes, name: bytes) -> bytes | None:
    """The first cookie of that name, without the double quotes RFC 6265 section 4.1.1 allows around it."""
    for part in header.split(b";"):
        found, separator, value = part.strip(b" \t").partition(b"=")
        if separator and found == name:
            return value[1:-1] if len(value) > 1 and value[:1] == b'"' == value[-1:] else value
    return None


def query_value(query: bytes, name: bytes) -> bytes | None:
    """The first parameter of that name, as it came: not percent-decoded, as Envoy does not decode what it hashes."""
    for part in query.split(b"&"):
        found, _, value = part.partition(b"=")
        if found == name:
            return value
    return None


def jwt_claim(authorization: bytes, claim: str) -> bytes | None:
    """A claim of the bearer token, unverified: it only picks a bucket. None unless it is a text or a whole number."""
    scheme, _, token = authorization.partition(b" ")
    parts = token.strip().split(b".")
    if scheme.lower() != b"bearer" or len(parts) != 3:
        return None
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    value = payload.get(claim) if isinstance(payload, dict) else None
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).encode("utf-8", "surrogatepass")


def key_reader(source: KeySource, trust: Trust, style: Style = Style.X) -> KeyReader:
    """A function that reads one kind of key, chosen once so that a request pays for no comparison of kinds."""
    name = source.name.encode()
    lower = name.lower()
    match source.kind:
        case "header":
            return lambda request, _peer, _params: request.fields.get(lower)
        case "cookie":
            return lambda request, _peer, _params: cookie_value(request.fields.get(b"cookie", b""), name)
        case "query":
            return lambda request, _peer, _params: query_value(request.query, name)
        case "path":
            return lambda _request, _peer, params: params.get(source.name)
        case "jwt":
            return lambda request, _peer, _params: jwt_claim(request.fields.get(b"authorization", b""), source.name)
        case "client_ip":

            def address(request: Request, peer: str, _params: Params) -> bytes | None:
                found = client_address(peer, request.fields, trust, style)
                return found.encode() if found else None

            return address
        case _:
            raise ValueError(f"no such kind of key: {source.kind}")
