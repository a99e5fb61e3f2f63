"""The plan under way: how far it has come by now, and what moves it on.

Owns: progress that is ahead of the store, what people, time and verdicts make of it, when it is saved.
Must not know: which event is possible when (`rollout`), what a record is made of (`state`), how a change comes into force.
Invariants: another stage or phase is saved before it is in force, how long a stage was held each minute; whatever somebody
else put into the record counts at once; while nothing can be saved the plan stays where it is, and says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import structlog

from splitter.config import Rollout
from splitter.control.keeper import Change, Keeper
from splitter.errors import StoreError
from splitter.progress import Phase, PlanProgress
from splitter.rollout import advance, lasting
from splitter.state import Course, Record, held, planned, progress_of, told, went_on
from splitter.verdict import Verdict

SAVED_EVERY_S: Final = 60.0
"""Of a hold so much can be lost to a kill -9."""


class Steering:
    """See the top of the file. `put` saves what a change makes of the record and puts it in force."""

    def __init__(
        self,
        keeper: Keeper,
        rollout: Callable[[], Rollout],
        put: Callable[[Change], Awaitable[object]],
        now: Callable[[], float],
    ) -> None:
        self._keeper = keeper
        self._rollout = rollout
        self._put = put
        self._now = now
        self._saved: Mapping[str, Any] = {}
        self._progress = PlanProgress()

    @property
    def progress(self) -> PlanProgress:
        """How far the plan has come by now."""
        return self._progress_of(self._keeper.record)

    def percents(self) -> dict[str, float]:
        """What the plan puts in force, by name."""
        return planned(self.of(self._keeper.record))

    def of(self, record: Record) -> Course:
        """The plan, and how far it has come, for changing this record."""
        return Course(self._rollout().plan, self._progress_of(record))

    def told(self) -> str:
        """Where it stands, for people."""
        return told(self.of(self._keeper.record))

    async def advance(self, verdict: Verdict) -> None:
        """Let time and a verdict over the stage have their say."""
        record, rollout, at_s = self._keeper.record, self._rollout(), self._now()
        plan, before = self.of(record)
        after = advance(before, plan, verdict, at_s, count_time_away=rollout.count_time_away)
        if (after.phase, after.stage) == (before.phase, before.stage):
            self._keep(record, after)
            if after.held_s - progress_of(record).held_s >= SAVED_EVERY_S:
                await self.save()
            return
        why = after.waiting_for or f"held for {lasting(before.held_s)}; {verdict.sentence}"

        def move(newer: Record) -> Record:
            return went_on(newer, Course(plan, after), at_s, why) if newer.plan == record.plan else newer

        try:
            await self._put(move)
        except StoreError as error:
            self._keep(record, replace(before, waiting_for=f"the state store: {error}"))
        else:
            structlog.get_logger().info("plan_went_on", why=why, now=self.told())

    def waits(self, why_not: str) -> None:
        """Say why it does not go on, until it does."""
        self._keep(self._keeper.record, replace(self.progress, waiting_for=why_not))

    async def save(self) -> None:
        """Save how long the stage was held, if that can be done now."""
        if self.progress.phase is not Phase.RUNNING:
            return
        at_s = self._now()
        with contextlib.suppress(StoreError):
            await self._keeper.change(lambda record: held(record, self.of(record), at_s))

    def _progress_of(self, record: Record) -> PlanProgress:
        if record.plan != self._saved:
            self._keep(record, progress_of(record))
        return self._progress

    def _keep(self, record: Record, progress: PlanProgress) -> None:
        self._saved, self._progress = record.plan, progress
