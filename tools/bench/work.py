"""What the proxies are put to: each kind of work, and what a proxy must be set up with for it.

Owns: the list of work, its names and titles. Must not know: how a proxy is configured, how load is made.
Invariant: the same work is the same for every proxy.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

KIB: Final = 1024
MIB: Final = 1024**2
IDLE_CONNECTIONS: Final = 5000


class Kind(Enum):
    """How load is made and what is looked at."""

    REQUESTS = "requests"  # as many as the proxy can take: CPU for each
    PACED = "paced"  # half as many as it can take: how long the slowest wait
    IDLE = "idle"  # connections that do nothing: memory
    WEBSOCKET = "websocket"  # messages that come back: CPU for each


@dataclass(frozen=True, slots=True)
class Setup:
    """What a proxy is started with. `echo`: the backends are WebSocket servers that echo."""

    tls: bool = False
    workers: int = 1
    access_log: bool = False
    echo: bool = False


PLAIN: Final = Setup()


@dataclass(frozen=True, slots=True)
class Work:
    """One row of the table. `body_bytes` is sent with each request, `answer_bytes` comes back (0: a small JSON text)."""

    name: str
    title: str
    kind: Kind = Kind.REQUESTS
    setup: Setup = PLAIN
    connections: int = 64
    body_bytes: int = 0
    answer_bytes: int = 0
    new_connections: bool = False

    @property
    def path(self) -> str:
        if self.answer_bytes:
            return f"/blob-{self.answer_bytes}"
        return "/upload" if self.body_bytes >= MIB else "/api/v1/cameras"


WORKS: Final = {
    work.name: work
    for work in (
        Work("small", "small GET, kept connections"),
        Work("logged", "small GET, access log on", setup=Setup(access_log=True)),
        Work("post", "POST of 1 KiB", body_bytes=KIB),
        Work("64k", "response of 64 KiB", answer_bytes=64 * KIB, connections=16),
        Work("1m", "response of 1 MiB", answer_bytes=MIB, connections=8),
        Work("upload", "upload of 1 MiB", body_bytes=MIB, connections=8),
        Work("new", "a new connection for each request", new_connections=True),
        Work("tls", "small GET, TLS, kept connections", setup=Setup(tls=True)),
        Work("websocket", "WebSocket message of 1 KiB, echoed", Kind.WEBSOCKET, setup=Setup(echo=True)),
        Work("two", "small GET, two workers", setup=Setup(workers=2), connections=128),
        Work("half", "small GET at half of saturation", Kind.PACED, connections=256),
        Work("idle", f"{IDLE_CONNECTIONS:,} idle connections", Kind.IDLE, connections=IDLE_CONNECTIONS),
    )
}
