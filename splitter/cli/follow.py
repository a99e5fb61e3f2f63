"""Listens to the stream of a running splitter.

Owns: server-sent events as they come over the wire. Must not know: what a message means, who looks at it.
Invariant: it ends with UnreachableError or RefusedError, never by itself; a stream that has gone silent counts as gone.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass

from splitter.cli.client import ROLLOUT, UnreachableError, connect, headers, refusal, what_happened
from splitter.cli.target import Target
from splitter.cli.words import Json


@dataclass(frozen=True, slots=True)
class Message:
    """`name` is status, event or stats; `body` is its JSON."""

    name: str
    body: Json


def follow(target: Target) -> Iterator[Message]:
    """What the splitter tells, as it tells it. Raises UnreachableError, RefusedError."""
    try:
        connection = connect(target)
    except OSError as error:
        raise UnreachableError(what_happened(error)) from None
    try:
        sent = headers(target) | {"Accept": "text/event-stream"}
        connection.request("GET", f"{target.prefix}{ROLLOUT}/stream", headers=sent)
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise refusal(response.status, response.read())
        yield from _messages(response)
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(what_happened(error)) from None
    finally:
        connection.close()
    raise UnreachableError("the splitter has ended the stream")


def _messages(response: http.client.HTTPResponse) -> Iterator[Message]:
    """Lines as in https://html.spec.whatwg.org/multipage/server-sent-events.html: an empty one ends a message."""
    name, data = "", b""
    while line := response.readline():
        field, _, value = line.rstrip(b"\r\n").partition(b": ")
        if field == b"event":
            name = value.decode("utf-8", "replace")
        elif field == b"data":
            data += value
        elif not field:
            if data:
                yield Message(name, json.loads(data))
            name, data = "", b""
