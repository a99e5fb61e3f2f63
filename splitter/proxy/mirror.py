"""Copies of live requests, sent to the other side and compared, without anybody waiting for them.

Owns: which requests are copied, the bounds, the report. Must not know: how an exchange works, who reads the report.
Invariants:
- a client's request is answered before its copy is made, and costs the same whether or not one is made;
- no more copies are under way than allowed: what comes on top is dropped and counted;
- every chosen request ends in exactly one outcome;
- nothing of this is seen by breakers, guardrails or the totals of requests;
- nothing reaches domain that the switches keep from it: a rollback ends the copies under way, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter, time
from typing import TYPE_CHECKING, Final

from xxhash import xxh64_intdigest

from splitter.compare import Context, Differences, EndpointNames, Mask, Observation, Report, Rules, Tally, compare
from splitter.config import Comparison, Config
from splitter.http1.response import ResponseHead
from splitter.proxy.copies import Answer, Copy, Trouble
from splitter.routing import BUCKETS, Backend

if TYPE_CHECKING:
    from splitter.proxy.mirrored import MirroredExchange, Recording
    from splitter.proxy.plane import DataPlane
    from splitter.proxy.pool import BackendPool
    from splitter.snapshot import Snapshot
    from splitter.tasks import Tasks

# Routing hashes a client's key with seed 0 or that of the salt; who is copied must not depend on who is on domain.
_CHOICE_SEED: Final = xxh64_intdigest(b"splitter mirror: which requests", 0)
_NOISE_SEED: Final = xxh64_intdigest(b"splitter mirror: which of them twice", 0)

_LEARN_FIRST: Final = 5
"""Requests of an endpoint that legacy is asked twice at first, whatever the share: else all of its noise is news."""

_INLINE_BYTES: Final = 8 * 1024
"""Larger bodies that are not the same bytes are compared on a thread: 8 KiB of JSON take about half a millisecond, in which
no client is served."""
_SWITCH_S: Final = 0.0005
"""How long that thread may keep the loop from going on (sys.setswitchinterval; the default is 5 ms)."""
_REST: Final = 3.0
"""For each second of comparing so many are left to the traffic: comparing takes a quarter of a core at most."""


@dataclass(frozen=True, slots=True)
class MirrorSettings:
    """What is copied and compared; off by default. `threshold` and `noise_threshold` count buckets of `BUCKETS`."""

    threshold: int = 0
    noise_threshold: int = 0
    to: Backend = Backend.DOMAIN
    methods: frozenset[bytes] = frozenset()
    max_body_bytes: int = 0
    max_in_flight: int = 1
    timeout_s: float = 5.0
    rules: Comparison = field(default_factory=Comparison)
    templates: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Config) -> MirrorSettings:
        """As a configuration asks for. Endpoints are named by the mirror's templates, then by those of the routes."""
        mirror = config.mirror
        return cls(
            threshold=mirror.percent_threshold,
            noise_threshold=round(mirror.noise * BUCKETS),
            to=Backend(mirror.to),
            methods=frozenset(method.encode() for method in mirror.methods),
            max_body_bytes=mirror.max_body_bytes,
            max_in_flight=mirror.max_in_flight,
            timeout_s=mirror.timeout_s,
            rules=mirror,
            templates=(*mirror.endpoints, *(route.path for route in config.rollout.routes)),
        )


class Mirror:
    """See the top of the file. `on` while requests are to be recorded; `source`: the side whose answers are."""

    def __init__(
        self,
        settings: MirrorSettings,
        plane: DataPlane,
        pools: Mapping[Backend, BackendPool],
        tasks: Tasks,
        now_s: Callable[[], float] = time,
    ) -> None:
        self._settings = settings
        self._plane = plane
        self._pools = pools
        self._tasks = tasks
        self._now_s = now_s
        self._rules = Rules.of(settings.rules)
        self._mask = Mask(settings.rules.mask)
        self._names = EndpointNames(settings.templates)
        self._under_way: set[Copy] = set()
        self._held = 0
        self._answered: deque[_Trial] = deque()
        self._comparing = False
        self.source = Backend.LEGACY if settings.to is Backend.DOMAIN else Backend.DOMAIN
        self.max_body_bytes = settings.max_body_bytes
        self.tally = Tally(now_s()) if settings.threshold else Tally()
        self.on = False
        self._closed = False
        if settings.threshold:
            sys.setswitchinterval(_SWITCH_S)

    @property
    def report(self) -> Report:
        return self.tally.report

    def publish(self, snapshot: Snapshot) -> None:
        """Take up what is in force. While domain is switched off or rolled back nothing of the mirror goes there."""
        table = snapshot.table
        domain_off = table.rolled_back or not table.domain_enabled
        # Towards legacy there is nothing to copy then either: domain serves nobody.
        self.on = bool(self._settings.threshold) and not domain_off
        for name, pool in self._pools.items():
            pool.mark_down(frozenset(url for of, url in snapshot.down if of == name))
        if not self.on:
            self._give_up()

    def expire(self) -> None:
        """Close connections that nobody has used for a while."""
        for pool in self._pools.values():
            pool.expire()

    def close(self) -> None:
        """The plane stops."""
        self.on, self._closed = False, True
        self._give_up()
        for pool in self._pools.values():
            pool.close()

    def _give_up(self) -> None:
        for copy in list(self._under_way):
            copy.give_up()

    # --- for exchanges ---

    def wants(self, method: bytes, request_id: bytes) -> bool:
        """Whether a request is among those that are copied."""
        settings = self._settings
        return (
            self.on
            and method in settings.methods
            and xxh64_intdigest(request_id, _CHOICE_SEED) % BUCKETS < settings.threshold
        )

    def skip(self) -> None:
        """A chosen request can't be compared: its own answer never ended, or there is nowhere to send a copy now."""
        self._count("skipped")

    def _count(self, outcome: str) -> None:
        self._plane.stats.mirror(outcome)
        self.tally.outcomes[outcome] += 1

    def offer(self, exchange: MirroredExchange, recording: Recording) -> None:
        """A chosen request was answered: copy it, if there is room, once the answer is really on its way.

        uvloop sends what was written when all that came in was handled: whatever is done here and now the client waits for.
        """
        asyncio.get_running_loop().call_soon(self._copy, exchange, recording)

    def _copy(self, exchange: MirroredExchange, recording: Recording) -> None:
        if not self.on or (self._settings.to is Backend.DOMAIN and self._plane.domain_ejected):
            self.skip()
        elif not recording.is_whole or not exchange.can_be_copied:
            self._count("too_large")
        elif self._held >= self._settings.max_in_flight:
            self._count("dropped")
        else:
            self._start(exchange, recording)

    def _start(self, exchange: MirroredExchange, recording: Recording) -> None:
        settings = self._settings
        endpoint = self._names.name(exchange.head.method.decode("latin-1"), exchange.target)
        context = Context(exchange.target, exchange.request_id.decode("latin-1"), self._now_s())
        live = Answer(recording.head, recording.body())
        trial = _Trial(endpoint, context, live)
        wanted = [settings.to]
        if self._asks_twice(exchange, endpoint) and self._held + 2 <= settings.max_in_flight:
            wanted.append(Backend.LEGACY)
        trial.missing = trial.copies = len(wanted)
        self._held += len(wanted)
        for part, backend in enumerate(wanted):
            copy = Copy(
                self._pools[backend], exchange.head.method, exchange.request_for, settings.max_body_bytes, self._plane.wheel
            )
            self._under_way.add(copy)
            copy.begin(settings.timeout_s, self._on_end(trial, part, copy))

    def _asks_twice(self, exchange: MirroredExchange, endpoint: str) -> bool:
        threshold = self._settings.noise_threshold
        if not threshold:
            return False
        return (
            xxh64_intdigest(exchange.request_id, _NOISE_SEED) % BUCKETS < threshold
            or self.report.asked(endpoint) < _LEARN_FIRST
        )

    # --- answers ---

    def _on_end(self, trial: _Trial, part: int, copy: Copy) -> Callable[[Answer], None]:
        def ended(answer: Answer) -> None:
            self._under_way.discard(copy)
            trial.answers[part] = answer
            trial.missing -= 1
            if not trial.missing:
                self._on_answers(trial)

        return ended

    def _on_answers(self, trial: _Trial) -> None:
        """All copies of a request have ended: compare, unless there is nothing to compare."""
        trouble = trial.answers[0].trouble
        if trouble is Trouble.GIVEN_UP:
            self._conclude(trial, "skipped")
        elif trouble is Trouble.TOO_LARGE:
            self._conclude(trial, "too_large")
        elif trouble is not None and self._settings.to is Backend.LEGACY:
            self._conclude(trial, "failed")  # without control there is nothing to compare with
        else:
            self._answered.append(trial)
            if not self._comparing:
                self._comparing = True
                self._tasks.start(self._compare_all(), "mirror")

    def _conclude(self, trial: _Trial, outcome: str) -> None:
        self._held -= trial.copies
        self._count(outcome)

    async def _compare_all(self) -> None:
        """Compare what was answered, one after the other, with time for the traffic in between."""
        try:
            while self._answered:
                trial = self._answered.popleft()
                started_s = perf_counter()
                outcome = "failed"
                try:
                    outcome = await self._compare(trial)
                finally:  # whatever went wrong in here, its room is free again
                    self._conclude(trial, outcome)
                if not self._closed:
                    await asyncio.sleep(_REST * (perf_counter() - started_s))
        finally:
            self._comparing = False

    async def settle(self, within_s: float) -> None:
        """Wait until what was answered is compared, for one that is closed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._comparing:  # noqa: ASYNC110 - at the end of a process, and then for a moment
                    await asyncio.sleep(0.01)

    async def _compare(self, trial: _Trial) -> str:
        """Compare one, and add it to the report; the outcome that is counted."""
        if trial.is_heavy:
            found, noise = await asyncio.to_thread(self._differences, trial)
        else:
            found, noise = self._differences(trial)
        outcome = self.report.record(trial.endpoint, found, noise, trial.context, self._mask)
        return "failed" if trial.answers[0].trouble is not None else outcome.value

    def _differences(self, trial: _Trial) -> tuple[Differences, Differences | None]:
        """What candidate answered differently from control, and control from itself."""
        live, copied = _observation(trial.live), _observation(trial.answers[0])
        control, candidate = (live, copied) if self._settings.to is Backend.DOMAIN else (copied, live)
        again = trial.answers.get(1)
        noise = None if again is None or again.trouble else compare(control, _observation(again), self._rules)
        return compare(control, candidate, self._rules), noise


class _Trial:
    """One request: its own answer, and those of its copies by number: 0 is the other side's, 1 control's second one."""

    __slots__ = ("answers", "context", "copies", "endpoint", "live", "missing")

    def __init__(self, endpoint: str, context: Context, live: Answer) -> None:
        self.endpoint = endpoint
        self.context = context
        self.live = live
        self.answers: dict[int, Answer] = {}
        self.copies = 0
        self.missing = 0

    @property
    def is_heavy(self) -> bool:
        """Whether the comparison is a matter of milliseconds."""
        bodies = [self.live.body, *(answer.body for answer in self.answers.values())]
        return sum(map(len, bodies)) > _INLINE_BYTES and any(body != bodies[0] for body in bodies)


def _observation(answer: Answer) -> Observation:
    if answer.head is None:
        return Observation(0, failure=answer.why)
    return Observation(answer.head.status, _headers(answer.head), answer.body)


def _headers(head: ResponseHead) -> tuple[tuple[str, str], ...]:
    lines = (line.partition(":") for line in head.lines.decode("latin-1").split("\r\n") if line)
    return tuple((name, value.strip()) for name, _, value in lines)
