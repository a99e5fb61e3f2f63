"""What the two planes tell each other.

Owns: the snapshot the control plane publishes, and the momentary numbers a data plane answers with.
Must not know: how either plane works. Invariant: both are values; neither side keeps a hold on the other's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from splitter.routing import Table
from splitter.stats import Stats


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the control plane may change while traffic runs."""

    table: Table
    domain_ejected: bool = False


@dataclass(slots=True)
class Gauges:
    """What there is now, as against what there has been. `upstream` counts connections to backends by state."""

    downstream: int = 0
    tunnels: int = 0
    upstream: dict[str, int] = field(default_factory=dict)

    def merge(self, other: Gauges) -> None:
        """Add what another data plane has now."""
        self.downstream += other.downstream
        self.tunnels += other.tunnels
        for state, count in other.upstream.items():
            self.upstream[state] = self.upstream.get(state, 0) + count

    def to_wire(self) -> dict[str, Any]:
        """As texts and numbers only, for orjson."""
        return asdict(self)

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Gauges:
        """Raises TypeError for what `to_wire` did not make."""
        return cls(**wire)


class Plane(Protocol):
    """All the control plane sees of a data plane: workers here, a fleet of proxies elsewhere."""

    @property
    def stats(self) -> Stats: ...
    def gauges(self) -> Gauges: ...
    def publish(self, snapshot: Snapshot) -> None:
        """When it returns, every decision is taken by `snapshot`."""
