"""What a data plane is made with: plain values, a change of which needs a new plane.

Owns: their names and units. Must not know: files, where the values come from, what is done with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from splitter.certificates import Certificates
from splitter.config import Sender
from splitter.fallback import FallbackPolicy
from splitter.http1.forwarding import ForwardPolicy
from splitter.http1.request import HeadLimits
from splitter.proxy.dial import Endpoint
from splitter.proxy.mirror import MirrorSettings
from splitter.routing import Backend


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Of one backend: until the response head, of silence in a body, of silence in a tunnel."""

    response_s: float
    idle_s: float
    tunnel_s: float


@dataclass(frozen=True, slots=True)
class Ejection:
    """After how many failures in a row an endpoint is taken out, and for how long at first."""

    consecutive_failures: int
    for_s: float


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """`max_connections` and `max_waiting` are for each endpoint; `idle_s` is how long an unused connection is kept."""

    connect_timeout_s: float
    idle_s: float
    max_connections: int
    max_waiting: int
    header_bytes: int
    headers: int


@dataclass(frozen=True, slots=True)
class BackendSettings:
    endpoints: tuple[Endpoint, ...]
    timeouts: Timeouts
    pool: PoolLimits
    ejection: Ejection


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Of clients' connections: for a head to arrive, for the next request to begin, how many there may be."""

    header_timeout_s: float
    keepalive_timeout_s: float
    max_connections: int


@dataclass(frozen=True, slots=True)
class PlaneSettings:
    """What a plane is made with; a change needs a new one. `replay_bytes`: how much of a body is held to send it again."""

    backends: Mapping[Backend, BackendSettings]
    head_limits: HeadLimits
    limits: ConnectionLimits
    replay_bytes: int
    fallback: FallbackPolicy
    trusted_proxies: tuple[Sender, ...] = ()
    proxy_protocol: tuple[Sender, ...] = ()
    forward: ForwardPolicy = field(default_factory=ForwardPolicy)
    certificates: Certificates | None = None
    mirror: MirrorSettings = field(default_factory=MirrorSettings)
