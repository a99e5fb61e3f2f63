"""What the two planes tell each other.

Owns: the snapshot the control plane publishes, the totals and momentary numbers a data plane answers with, and the form
in which a snapshot crosses to another process.
Must not know: how either plane works, what carries the wire form.
Invariants: all of these are values, neither side keeps a hold on the other's; `from_wire(to_wire(s))` equals `s`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from splitter.compare import Tally
from splitter.config import KeySource
from splitter.config.addresses import Senders
from splitter.config.traffic import Key
from splitter.hops import Style
from splitter.judged import Judged
from splitter.routing import Force, Rule, Table
from splitter.stats import Stats

_SENDERS: Final = Senders()

Wire = dict[str, Any]
"""What JSON can hold: text, numbers, true and false, null, lists and mappings of these."""


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

    def to_wire(self) -> Wire:
        """As plain JSON: templates and key sources are the text of the configuration, bytes are latin-1."""
        return {
            "table": _table_to_wire(self.table),
            "domain_ejected": self.domain_ejected,
            "down": sorted(self.down),
            "tunnel_grace_s": self.tunnel_grace_s,
        }

    @classmethod
    def from_wire(cls, wire: Wire) -> Snapshot:
        return cls(
            table=_table_from_wire(wire["table"]),
            domain_ejected=wire["domain_ejected"],
            down=frozenset((backend, url) for backend, url in wire["down"]),
            tunnel_grace_s=wire["tunnel_grace_s"],
        )


def _table_to_wire(table: Table) -> Wire:
    return {
        "default": _rule_to_wire(table.default),
        "routes": [_rule_to_wire(rule) for rule in table.routes],
        "domain_enabled": table.domain_enabled,
        "rolled_back": table.rolled_back,
        "seed": table.seed,
        "force": table.force.value,
        "token": table.token.decode("latin-1"),
        "trusted_proxies": [str(sender) for sender in table.trusted_proxies],
        "forwarded": table.forwarded.value,
    }


def _table_from_wire(wire: Wire) -> Table:
    return Table(
        default=_rule_from_wire(wire["default"]),
        routes=tuple(_rule_from_wire(rule) for rule in wire["routes"]),
        domain_enabled=wire["domain_enabled"],
        rolled_back=wire["rolled_back"],
        seed=wire["seed"],
        force=Force(wire["force"]),
        token=wire["token"].encode("latin-1"),
        trusted_proxies=tuple(_SENDERS.read(sender) for sender in wire["trusted_proxies"]),
        forwarded=Style(wire["forwarded"]),
    )


def _rule_to_wire(rule: Rule) -> Wire:
    return {
        "name": rule.name,
        "threshold": rule.threshold,
        "sources": [str(source) for source in rule.sources],
        "methods": sorted(method.decode("latin-1") for method in rule.methods),
        "template": rule.template,
        "fallback_methods": sorted(method.decode("latin-1") for method in rule.fallback_methods),
    }


def _rule_from_wire(wire: Wire) -> Rule:
    return Rule(
        name=wire["name"],
        threshold=wire["threshold"],
        sources=tuple(_source_from_wire(source) for source in wire["sources"]),
        methods=frozenset(method.encode("latin-1") for method in wire["methods"]),
        template=wire["template"],
        fallback_methods=frozenset(method.encode("latin-1") for method in wire["fallback_methods"]),
    )


def _source_from_wire(text: str) -> KeySource:
    return Key(in_route=True).read(text)


@dataclass(slots=True)
class Gauges:
    """What there is now, as against what there has been. `upstream` counts connections to backends by state."""

    downstream: int = 0
    tunnels: int = 0
    upstream: dict[str, int] = field(default_factory=dict)

    def to_wire(self) -> Wire:
        return {"downstream": self.downstream, "tunnels": self.tunnels, "upstream": self.upstream}

    @classmethod
    def from_wire(cls, wire: Wire) -> Gauges:
        return cls(wire["downstream"], wire["tunnels"], wire["upstream"])

    def merge(self, other: Gauges) -> None:
        """Add another plane's numbers to these."""
        self.downstream += other.downstream
        self.tunnels += other.tunnels
        for state, count in other.upstream.items():
            self.upstream[state] = self.upstream.get(state, 0) + count


class WorkerState(StrEnum):
    """Where one worker stands in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


class Death(StrEnum):
    """Why a worker had to be replaced."""

    EXITED = "exited"
    STUCK = "stuck"
    """It answered no ping on its event loop."""
    NO_ACK = "no_ack"
    """It did not confirm a snapshot in time."""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One process that carries traffic. `slot` is its place, `generation` counts reloads, `pid` 0: none right now."""

    slot: int
    generation: int
    pid: int
    state: WorkerState
    age_s: float


@dataclass(frozen=True, slots=True)
class Totals:
    """What a plane has counted and has now, over the living and the dead. `deaths`: workers that had to be replaced."""

    stats: Stats
    gauges: Gauges
    workers: Sequence[WorkerInfo] = ()
    deaths: Mapping[Death, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Published:
    """A snapshot is in force. `workers` decide by it, `replaced` had to be killed for that, and it took `took_s`."""

    workers: int
    replaced: int
    took_s: float


class Plane(Protocol):
    """All the control plane sees of a data plane: workers here, a fleet of proxies elsewhere."""

    async def publish(self, snapshot: Snapshot) -> Published:
        """When it returns, every decision is taken by `snapshot` or by one that was published after it."""

    async def collect(self) -> Totals:
        """The totals up to now. Counters never go down, whatever becomes of single workers."""

    async def mirror_report(self) -> Tally:
        """What the mirror has found since its configuration changed last, over the living and those that ended in peace.

        Asked for when somebody wants to see it: it may be megabytes. It belongs to the caller.
        """

    def workers(self) -> Sequence[WorkerInfo]:
        """The processes there are, without asking them."""


class Witness(Protocol):
    """What guardrails see of a data plane."""

    async def collect(self) -> Totals:
        """As `Plane.collect`; what is told by it is in `judged`."""

    def judged(self) -> Judged:
        """What is judged by, as far as it was reported, without asking anybody."""

    def on_report(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever there is something new in `judged`. It must return at once and not raise."""
