"""Measures work: every proxy in turn, round after round.

Owns: the order of rounds and what is taken down in each. Must not know: how results are shown.
Invariants: rounds are interleaved (A B, B A, ...), so that a machine that grows slower does so for all; each proxy was
checked to do the work; every process started here ends here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.bench import cpu, idle, load, peers
from tools.bench.proxies import PEERS
from tools.bench.report import Measured, Round
from tools.bench.work import MIB, Kind, Work

_WARM_UP_S: Final = 1.0
_FIND_SATURATION_S: Final = 2.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where: the proxy alone on one core, as long as there are two. With several workers it may use all."""

    proxy: frozenset[int]
    backends: frozenset[int]
    load: frozenset[int]
    all: frozenset[int]

    @classmethod
    def share_out(cls, allowed: Sequence[int]) -> Cores:
        first, *others = sorted(allowed)
        backends = others[0] if others else first
        load_core = others[1] if len(others) > 1 else backends
        return cls(frozenset({first}), frozenset({backends}), frozenset({load_core}), frozenset(allowed))


@dataclass(frozen=True, slots=True)
class Rounds:
    """How often and how long."""

    count: int
    seconds: float


def measure(work: Work, names: Sequence[str], rounds: Rounds, cores: Cores, tell: Tell) -> list[Measured]:
    """One kind of work by every proxy that can do it. Raises PeerError, LoadError, ProcessGone."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        backends = peers.start_backends(stack, folder, cores.backends)
        running = []
        for name in names:
            peer = PEERS[name]()
            if peer.can(work.setup):
                on = cores.all if work.setup.workers > 1 else cores.proxy
                running.append(peers.start(stack, peer, backends, folder / name, on, work.setup))
                peers.check(running[-1])
        measured = [Measured(one.peer.name, one.peer.version()) for one in running]
        if work.kind is Kind.IDLE:
            for one, into in zip(running, measured, strict=True):
                into.rounds.append(_idle(one, work.connections))
            return measured
        log = folder / "load.log"
        rest_ms = [_warm_up(one, work, cores, log) for one in running]
        for number in range(rounds.count):
            in_turn = list(zip(running, measured, rest_ms, strict=True))
            for one, into, rest in in_turn if number % 2 == 0 else reversed(in_turn):
                into.rounds.append(_round(one, work, rounds.seconds, cores, log, rest))
            taken = ", ".join(f"{into.name} {into.rounds[-1].cpu_us:.1f}" for into in measured)
            tell(f"{work.name}, round {number + 1} of {rounds.count}: {taken} µs")
    return measured


def _warm_up(one: peers.Running, work: Work, cores: Cores, log: Path) -> int:
    """Let it get going; for paced work also find out how long connections must rest so that half of its capacity is used."""
    if work.kind is not Kind.PACED:
        load.run(work, one.place.proxy, _WARM_UP_S, cores.load, log)
        return 0
    full = load.run(work, one.place.proxy, _FIND_SATURATION_S, cores.load, log)
    half_per_s = full.requests / full.duration_s / 2
    return max(1, round(work.connections / half_per_s * 1000))


def _round(one: peers.Running, work: Work, seconds: float, cores: Cores, log: Path, rest_ms: int) -> Round:
    before = cpu.usage(one.pid)
    result = load.run(work, one.place.proxy, seconds, cores.load, log, rest_ms)
    after = cpu.usage(one.pid)
    spent_s = cpu.cpu_between(before, after)
    return Round(
        cpu_us=spent_s / result.requests * 1e6,
        requests_per_s=result.requests / result.duration_s,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        busy=spent_s / result.duration_s,
        rss_mib=after.rss_bytes / MIB,
        requests=result.requests,
    )


def _idle(one: peers.Running, count: int) -> Round:
    before = cpu.usage(one.pid)
    with idle.connections(one.place.proxy, count):
        after = cpu.usage(one.pid)
    grown_kib = (after.rss_bytes - before.rss_bytes) / 1024
    spent_s = cpu.cpu_between(before, after)
    return Round(
        cpu_us=spent_s / count * 1e6, requests_per_s=0, p50_ms=0, p99_ms=0, busy=0,
        rss_mib=after.rss_bytes / MIB, requests=count, kib_each=grown_kib / count,
    )  # fmt: skip
