"""The one writer of what is in force.

Owns: turning configuration, state record and the backends' health into snapshots, and publishing them; the order of every
change: checked, saved, published, confirmed by every worker, answered.
Must not know: how a data plane works, how a store works, how health is found out, how a plan moves on (`steering`), when
domain is too bad (`pilot`).
Invariants: every snapshot a plane gets was made here; a rollback waits for nothing, it is published first and saved
meanwhile; domain is taken out for being down only while legacy is up, because a request that can go nowhere else is worth a
try.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from splitter.config import Config
from splitter.control.keeper import Change, Keeper
from splitter.control.status import Facts, event_line, problems, status_of
from splitter.control.steering import Steering
from splitter.control.store import Store
from splitter.control.table import baseline_of, table_of
from splitter.errors import IllegalTransition, StoreError
from splitter.jury import Finding
from splitter.rollout import Event as PlanEvent
from splitter.routing import Backend
from splitter.snapshot import Plane, Published, Snapshot
from splitter.state import (
    CONFIG,
    GLOBAL,
    HELD,
    Event,
    InForce,
    Latch,
    Record,
    Wish,
    adopt_edit,
    in_force,
    resume_all,
    roll_all_back,
    set_by_hand,
    steer,
)
from splitter.stats import Histogram
from splitter.tasks import Tasks

SAVE_S: Final = 0.01
"""How long the answer to a rollback, which is in force by then, waits for its being saved: a good disk takes 1 ms."""

PEER: Final = "peer"
"""Who rolled back, in the metrics, when it was done on another splitter."""

_BY: Final = frozenset({"guardrail", "signal", CONFIG, PEER})


def _now_to_the_millisecond() -> float:
    return round(time.time(), 3)


def _from_0(stage: int | None) -> int | None:
    return None if stage is None else stage - 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a change. `changed`: was there anything to do; `saved`: will it survive a restart.

    `workers` have it in force, `replaced` had to be killed for that; `took_s` is from the decision until then.
    """

    record: Record
    changed: bool
    saved: bool
    workers: int
    replaced: int
    took_s: float

    @property
    def version(self) -> int:
        return self.record.version


class Controller:
    """See the top of the file.

    `plan` is the plan under way, `finding` what the guardrails said last; `reload_fault`: why the last reload failed;
    `reloads` counts them by outcome; `restart_needed`: what of the configuration waits for a restart. `rollbacks` counts by
    who, `rollback_durations` from the decision until it was in force on all workers.
    """

    def __init__(
        self,
        config: Config,
        plane: Plane,
        store: Store,
        tasks: Tasks,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = _now_to_the_millisecond,
    ) -> None:
        self.config = config
        self.backend_up: dict[str, bool] = {}
        self.down: dict[str, frozenset[str]] = {}
        self.reload_fault = ""
        self.reloads = {"ok": 0, "failed": 0}
        self.restart_needed: tuple[str, ...] = ()
        self.rollbacks: dict[str, int] = {}
        self.rollback_durations = Histogram()
        self.finding: Finding | None = None
        self._unwatched = ""
        self._plane = plane
        self._keeper = Keeper(store, clock, now)
        self.plan = Steering(self._keeper, lambda: self.config.rollout, self.change, now)
        self._tasks = tasks
        self._clock = clock
        self._now = now
        self._edit_waits = True  # what the file says has not been compared with what was saved
        self._known_latch: Latch | None = None
        self._sent: Snapshot | None = None
        self._published: Published | None = None
        self._listeners: list[Callable[[], None]] = []

    # --- what is in force -------------------------------------------------------------------------------------------

    @property
    def record(self) -> Record:
        """The record that is acted by. While the state can't be read it has a latch that is not saved."""
        return self._keeper.standing

    @property
    def store_up(self) -> bool:
        return not self._keeper.fault

    def in_force(self) -> InForce:
        """Every value, and which layer it comes from."""
        return in_force(self.config, self.record, self.plan.percents(), self.plan.progress.started_at_s)

    def snapshot(self) -> Snapshot:
        domain_up = self.backend_up.get(Backend.DOMAIN, True)
        legacy_up = self.backend_up.get(Backend.LEGACY, True)
        return Snapshot(
            table_of(self.config, self.in_force()),
            domain_ejected=legacy_up and not domain_up,
            down=frozenset((name, url) for name, urls in self.down.items() for url in urls),
            tunnel_grace_s=self.config.rollout.tunnel_grace_s,
        )

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read the state and put it in force; then follow the store until the tasks are closed.

        Never fails, and does not wait for a store that is away: what can't be read lets nothing go to domain.
        """
        await self._keeper.look()
        while self._keeper.is_believing:
            await self._keeper.store.news()
            await self._keeper.look()
        await self._take_up_edit()
        self._known_latch = self._keeper.record.latch
        await self.publish()
        self._tasks.start(self._follow(), "state store")

    async def stop(self) -> None:
        """Try once more to save what is not saved, and let the store go."""
        if await self.leads():
            await self.plan.save()
        if not self._keeper.is_saved:
            await self._keeper.save()
        if not self._keeper.is_saved:
            structlog.get_logger().error("stopped_unsaved", version=self._keeper.record.version, why=self._keeper.fault)
        await self._keeper.store.close()

    async def leads(self) -> bool:
        """Whether this splitter is the one that advances the plan, now and for the next seconds."""
        try:
            return await self._keeper.store.hold_lease()
        except StoreError:
            return False

    async def _follow(self) -> None:
        """Put in force what other splitters saved, and save what is not saved yet, for ever."""
        keeper = self._keeper
        while True:
            await keeper.store.news()
            before = keeper.record, keeper.fault
            await keeper.look()
            latch = keeper.record.latch
            if latch is not None and latch != self._known_latch:
                self._known_latch = latch
                self._count_rollback(PEER)
            if self._edit_waits and not keeper.waits_for and not keeper.fault:
                await self._take_up_edit()
            await self._publish_news()
            if before != (keeper.record, keeper.fault):
                self._tell()

    async def publish(self) -> Published:
        """Put what is known now in force; returns when every worker decides by it."""
        snapshot = self.snapshot()
        self._sent = snapshot
        self._published = await self._plane.publish(snapshot)
        return self._published

    async def _publish_news(self) -> None:
        """Publish, unless it would be what was published last."""
        if self.snapshot() != self._sent:
            await self.publish()

    # --- changes ----------------------------------------------------------------------------------------------------

    async def change(self, make: Change) -> Outcome:
        """Save what `make` makes of the record, then put it in force. `make` may be called again on a newer record.

        Raises StoreError when it can't be saved, and whatever `make` raises; then nothing is changed.
        """
        started_s = self._clock()
        try:
            changed = await self._keeper.change(make)
        except StoreError:
            self._tell()
            raise
        published = await self.publish()
        if changed:
            self._tell()
        return self._outcome(published, self._clock() - started_s, changed=changed)

    async def set_percent(self, percent: float, route: str | None, who: str, why: str) -> Outcome:
        """Override a percent; without `route` the global one, which ends a plan.

        Raises StoreError, IllegalTransition, ValueError.
        """
        name = route or GLOBAL
        before = self.in_force().percents.get(name)
        if before is None:
            raise IllegalTransition(f"there is no route {name}; there are: {', '.join(self.route_names()) or 'none'}")
        wish, told = Wish(self._now(), who, why), f"{before.value:g} %"
        return await self.change(lambda record: set_by_hand(record, name, percent, self.plan.of(record), wish, told))

    async def roll_back(self, who: str, why: str) -> Outcome:
        """Send nothing to domain, at once and whatever the store does; what can't be saved now is saved later."""
        started_s, wish = self._clock(), Wish(self._now(), who, why)
        changed = self._keeper.record.latch is None
        record = self._keeper.decide(lambda record: roll_all_back(record, self.plan.of(record), wish))
        self._known_latch = record.latch
        saving = self._tasks.start(self._save_rollback(), "saving a rollback")
        published = await self.publish()
        took_s = self._clock() - started_s
        self.rollback_durations.observe(took_s)
        self._count_rollback(who.partition(":")[0])
        self._tell()
        await asyncio.wait({saving}, timeout=max(0.0, SAVE_S - (self._clock() - started_s)))
        outcome = self._outcome(published, took_s, changed=changed)
        structlog.get_logger().warning(
            "rolled_back",
            who=who,
            why=why,
            workers=outcome.workers,
            replaced=outcome.replaced,
            saved=outcome.saved,
            took_s=round(took_s, 4),
        )
        return outcome

    async def _save_rollback(self) -> None:
        await self._keeper.save()
        self._tell()

    def _count_rollback(self, by: str) -> None:
        word = by if by in _BY else "operator"
        self.rollbacks[word] = self.rollbacks.get(word, 0) + 1

    async def resume(self, who: str, why: str, from_stage: int | None = None) -> Outcome:
        """Clear the latch; a plan that was rolled back starts again, at its first stage or at `from_stage`, from 1.

        Raises StoreError, IllegalTransition.
        """
        wish, stage = Wish(self._now(), who, why), _from_0(from_stage)
        return await self.change(lambda record: resume_all(record, self.plan.of(record), wish, stage))

    async def steer(self, event: PlanEvent, who: str, why: str, from_stage: int | None = None) -> Outcome:
        """Do something to the plan; `from_stage`, for a start, from 1. Raises StoreError, IllegalTransition."""
        now = {name: float(percent.value) for name, percent in self.in_force().percents.items()}
        wish, stage = Wish(self._now(), who, why), _from_0(from_stage)
        outcome = await self.change(lambda record: steer(record, event, self.plan.of(record), wish, stage, now))
        if outcome.changed:
            structlog.get_logger().info("plan_steered", what=event.value, who=who, why=why, now=self.plan.told())
        return outcome

    async def note(self, who: str, what: str, why: str, after: str) -> None:
        """Leave a line in the audit list about what changes nothing. Raises StoreError."""
        at_s = self._now()
        await self.change(lambda record: record.noted(at_s, who, what, why, "", after))

    def waits(self, why_not: str) -> None:
        """Take note of why the stage may not end yet."""
        self.plan.waits(why_not)
        self._tell()

    def unwatched(self, fault: str) -> None:
        """Take note of why nobody watches domain; empty when somebody does."""
        is_news = fault != self._unwatched
        self._unwatched = fault
        if is_news:
            self._tell()

    def found(self, finding: Finding | None) -> None:
        """Take note of what the guardrails say now."""
        is_news = finding != self.finding
        self.finding = finding
        if is_news:
            self._tell()

    def _outcome(self, published: Published, took_s: float, *, changed: bool) -> Outcome:
        saved = self._keeper.is_saved
        return Outcome(self.record, changed, saved, published.workers, published.replaced, took_s)

    # --- what others find out ---------------------------------------------------------------------------------------

    async def on_backend(self, name: str, up: bool, down: frozenset[str] = frozenset()) -> None:
        """A backend or some of its endpoints went up or down; `down` are the URLs of those that are down now."""
        log = structlog.get_logger()
        self.down[name] = down
        if self.backend_up.get(name) is not up:
            self.backend_up[name] = up
            (log.info if up else log.warning)("backend_up" if up else "backend_down", backend=name)
            self._tell()
        await self._publish_news()

    async def adopt(self, config: Config) -> None:
        """Put the rollout part of a newly read configuration in force.

        What it says itself is in force at once. That an edited value drops an override is a change of the state: saved
        first, so it waits while the store is away.
        """
        started_s = self._clock()
        switched_off = self.config.rollout.use_domain_service and not config.rollout.use_domain_service
        self.config = config
        self.reload_fault = ""
        self.reloads["ok"] += 1
        self._edit_waits = True
        await self._publish_news()
        if switched_off:
            self.rollback_durations.observe(self._clock() - started_s)
            self._count_rollback(CONFIG)
        await self._take_up_edit()
        await self._publish_news()
        self._tell()

    def refuse(self, fault: str) -> None:
        """Keep the configuration in force, because the new one has a fault."""
        self.reload_fault = fault
        self.reloads["failed"] += 1

    async def _take_up_edit(self) -> None:
        """Compare file and environment with what was saved of them, and let the newest decision of a person win."""
        try:
            await self._keeper.change(self._adopted)
        except StoreError as error:
            if self._edit_drops_something():
                structlog.get_logger().warning("edit_waits", why=str(error))
        else:
            self._edit_waits = False

    def _adopted(self, record: Record) -> Record:
        return adopt_edit(record, baseline_of(self.config), self.plan.of(record), self._now())

    def _edit_drops_something(self) -> bool:
        record = self._keeper.record
        return self._adopted(record).overrides != record.overrides

    # --- what others ask --------------------------------------------------------------------------------------------

    def route_names(self) -> Sequence[str]:
        return [route.name for route in self.config.rollout.routes]

    def events(self) -> Sequence[Mapping[str, Any]]:
        """The audit list, oldest first: version, when, who, what, why, from, to."""
        return [event_line(event) for event in self._keeper.record.events if event.what != HELD]

    def take_made(self) -> tuple[Event, ...]:
        """The events this splitter itself has made since this was last asked, to be told outside."""
        return tuple(event for event in self._keeper.take_made() if event.what != HELD)

    def status(self) -> dict[str, Any]:
        """The body of GET /api/v1/rollout."""
        return status_of(self._facts())

    def problems(self, *, details: bool) -> list[str]:
        """What is wrong with state and configuration, a sentence each; with `details` also where and why."""
        found = problems(self._facts())
        return [f"{what}: {why}" if details and why else what for what, why in found]

    def _facts(self) -> Facts:
        keeper, record = self._keeper, self.record
        return Facts(
            config=self.config,
            record=record,
            now=self.in_force(),
            snapshot=self.snapshot(),
            backend_up=self.backend_up,
            published=self._published,
            workers=self._plane.workers(),
            store=keeper.store.where,
            store_fault=keeper.fault,
            saved=keeper.is_saved,
            waits_for=keeper.waits_for,
            notice=keeper.notice,
            reload_fault=self.reload_fault,
            restart_needed=self.restart_needed,
            edit_waits=self._edit_waits and self._edit_drops_something(),
            progress=self.plan.progress,
            finding=self.finding,
            unwatched=self._unwatched,
            at_s=self._now(),
        )

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` after whatever changed the status. It must return at once and not raise."""
        self._listeners.append(listener)

    def unsubscribe(self, listener: Callable[[], None]) -> None:
        self._listeners.remove(listener)

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener()
