"""What the two planes tell each other.

Owns: the snapshot the control plane publishes, and the momentary numbers a data plane answers with.
Must not know: how either plane works. Invariant: both are values; neither side keeps a hold on the other's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from splitter.routing import Table
from splitter.stats import Stats


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the control plane may change while traffic runs.

    `down`: (backend, URL) of the endpoints that probes found down; they get nothing while another of the same backend is
    up. `tunnel_grace_s`: while `table.rolled_back`, how long what still runs on domain may go on; None: until it ends.
    """

    table: Table
    domain_ejected: bool = False
    down: frozenset[tuple[str, str]] = frozenset()
    tunnel_grace_s: float | None = None


@dataclass(slots=True)
class Gauges:
    """What there is now, as against what there has been. `upstream` counts connections to backends by state."""

    downstream: int = 0
    tunnels: int = 0
    upstream: dict[str, int] = field(default_factory=dict)


class Plane(Protocol):
    """All the control plane sees of a data plane: workers here, a fleet of proxies elsewhere."""

    @property
    def stats(self) -> Stats: ...
    def gauges(self) -> Gauges: ...
    def publish(self, snapshot: Snapshot) -> None:
        """When it returns, every decision is taken by `snapshot`."""
