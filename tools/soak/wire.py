"""Reads one answer of HTTP/1.1, and is strict about it.

Must not know: who asked. Invariant: nothing behind the answer is read; one that is not whole raises.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


class Torn(Exception):
    """What came is no answer, or not all of one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`fields` by lower-case name."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        return self.fields.get("connection", "").lower() == "close"


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """One final answer to a request other than HEAD. Raises Torn, EOFError, OSError."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head[:-4].split("\r\n")
    version, status, *_ = line.split(" ")
    if version != "HTTP/1.1" or not status.isdecimal():
        raise Torn(f"begins with {line!r}")
    fields = {name.lower(): value for name, _, value in (field.partition(": ") for field in lines)}
    if fields.get("transfer-encoding") == "chunked":
        body = await _chunks(reader)
    elif "content-length" in fields:
        body = await reader.readexactly(int(fields["content-length"]))
    else:
        raise Torn(f"an answer without a length: {fields}")
    return Answer(int(status), fields, body)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        chunk = await reader.readexactly(size + 2)
        if chunk[-2:] != b"\r\n":
            raise Torn("a chunk does not end with CRLF")
        if not size:
            return body
        body += chunk[:-2]
