"""The pilot: watches domain while clients are on it, lets the plan go on while it is good, and acts when it isn't.

Owns: when guardrails are asked, what is done about their answer, who moves the plan on.
Must not know: what a window is and when it is bad (`jury`), how a plan moves (`steering`), how a change comes into force.
Invariants:
- what is judged is what is in force: any change of it begins anew;
- an action is taken once, not at every look that finds the same; nothing that was rolled back comes back by itself;
- nobody is sent back to a legacy that is down;
- of several splitters each judges its own traffic and may roll back all; one of them, the leader, moves the plan on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

import structlog

from splitter.control.controller import Controller
from splitter.control.hooks import ASK_EVERY_S
from splitter.errors import IllegalTransition, StoreError
from splitter.jury import Finding, Jury
from splitter.progress import IN_FORCE, Gate, Phase
from splitter.rollout import Event, shut_gates
from splitter.routing import Backend
from splitter.snapshot import Witness
from splitter.tasks import Tasks
from splitter.verdict import Limits, Rule, RuleResult, limits_of

TICK_S: Final = 1.0
"""How often time is let pass for the plan."""
AGAIN_S: Final = 1.0
"""After a fault of its own, which is told in the health page until it is over."""
REPORT_S: Final = 0.25
"""How long a report is waited for; a plane in this process makes none, so it is looked at as often."""


class Confirms(Protocol):
    """Who asks a stage's hook."""

    async def ask(self, url: str, body: Mapping[str, Any]) -> str:
        """Empty for yes, else a sentence why not. Never raises."""


class _Scene(NamedTuple):
    """All that, when it changes, makes what was judged before another matter."""

    is_open: bool
    percents: tuple[tuple[str, float], ...]
    stage: int | None
    is_frozen: bool
    limits: Limits
    window_s: float
    bad_windows: int


class Pilot:
    """See the top of the file. `clock` counts seconds from any point."""

    def __init__(
        self, controller: Controller, plane: Witness, confirms: Confirms, tasks: Tasks, clock: Callable[[], float]
    ) -> None:
        self._controller = controller
        self._plane = plane
        self._confirms = confirms
        self._tasks = tasks
        self._clock = clock
        self._log = structlog.get_logger()
        self._reported = asyncio.Event()
        self._done: set[Rule] = set()
        self._scene = self._look_around()
        self._jury = self._new_jury()
        self._look_at_s = self._tick_at_s = clock()
        self._asking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Watch until the tasks are closed."""
        self._plane.on_report(self._reported.set)
        self._controller.subscribe(self._reported.set)  # what is judged may have changed
        self._tasks.start(self._run(), "guardrails")

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPORT_S):
                    await self._reported.wait()
            self._reported.clear()
            try:
                await self.step()
            except Exception as error:  # whatever it is: nobody may believe that somebody is watching when nobody is
                self._log.exception("guardrails_failed")
                self._controller.unwatched(f"{type(error).__name__}: {error}")
                await asyncio.sleep(AGAIN_S)
            else:
                self._controller.unwatched("")

    async def step(self) -> None:
        """What is due now."""
        scene = self._look_around()
        if scene != self._scene:
            self._begin(scene)
        now_s = self._clock()
        if scene.is_open:
            blamed = self._jury.watch(self._plane.judged())
            if blamed is not None:
                await self._act(blamed)
                scene = self._look_around()
        if scene != self._scene:
            return  # what was done has made what was judged another matter
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + self._controller.config.guardrails.every_s
            await self._look(now_s)
        if now_s >= self._tick_at_s:
            self._tick_at_s = now_s + TICK_S
            await self._tick()

    # --- what is judged ---

    def _look_around(self) -> _Scene:
        controller = self._controller
        guardrails, plan = controller.config.guardrails, controller.config.rollout.plan
        now, progress = controller.in_force(), controller.plan.progress
        stage = progress.stage if progress.phase in IN_FORCE and plan else None
        own = plan[min(stage, len(plan) - 1)].limits if stage is not None else None
        return _Scene(
            is_open=bool(now.use_domain_service.value) and not now.rolled_back.value,
            percents=tuple((name, float(value.value)) for name, value in now.percents.items()),
            stage=stage,
            is_frozen=progress.phase is Phase.FROZEN,
            limits=limits_of(guardrails, own),
            window_s=guardrails.window_s,
            bad_windows=guardrails.bad_windows,
        )

    def _begin(self, scene: _Scene) -> None:
        """Something else is in force: nothing from before counts any more."""
        before, self._scene = self._scene, scene
        self._done.clear()
        if (before.window_s, before.bad_windows) == (scene.window_s, scene.bad_windows):
            self._jury.begin(self._clock(), self._plane.judged(), scene.limits)
        else:
            self._jury = self._new_jury()
        self._look_at_s = self._clock()

    def _new_jury(self) -> Jury:
        scene = self._scene
        return Jury(scene.window_s, scene.bad_windows, self._clock(), self._plane.judged(), scene.limits)

    async def _look(self, now_s: float) -> None:
        """At the last window. While nothing can go to domain nothing is judged."""
        if not self._scene.is_open:
            self._controller.found(None)
            return
        await self._plane.collect()
        finding = self._jury.look(now_s, self._plane.judged())
        self._controller.found(finding)
        if finding.blamed is not None:
            await self._act(finding.blamed)
        elif not finding.bad_windows:
            self._done.clear()

    # --- what is done ---

    async def _act(self, blamed: RuleResult) -> None:
        """What is configured, once. What can't be saved now is tried again when it is found again."""
        action, who = self._controller.config.guardrails.action, f"guardrail:{blamed.rule}"
        legacy_is_down = not self._controller.backend_up.get(Backend.LEGACY, True)
        if action == "rollback" and not legacy_is_down:
            await self._controller.roll_back(who, blamed.sentence)
            return
        if blamed.rule in self._done or (action == "freeze" and self._scene.is_frozen):
            return
        self._log.warning("guardrail", rule=blamed.rule.value, why=blamed.sentence, action=action, value=blamed.value)
        try:
            if action == "freeze" and self._controller.plan.progress.phase in IN_FORCE - {Phase.COMPLETED}:
                await self._controller.steer(Event.FREEZE, who, blamed.sentence)
            else:
                after = "not rolled back: legacy is down" if action == "rollback" else "nothing was changed"
                await self._controller.note(who, "guardrail", blamed.sentence, after)
        except (StoreError, IllegalTransition) as error:
            self._log.error("guardrail_not_acted", rule=blamed.rule.value, why=str(error))
        else:
            self._done.add(blamed.rule)

    # --- the plan ---

    async def _tick(self) -> None:
        """Let time pass for the plan, if it is ours to move."""
        controller = self._controller
        progress = controller.plan.progress
        if progress.phase not in (Phase.RUNNING, Phase.WAITING) or not self._scene.is_open:
            return
        finding = controller.finding
        if finding is None or not await controller.leads():
            return
        if progress.phase is Phase.WAITING:
            self._ask_hook(finding)
        else:
            await controller.plan.advance(finding.for_advance)

    def _ask_hook(self, finding: Finding) -> None:
        """Ask the hook that the stage waits for, if it does, one question at a time."""
        plan, progress = self._controller.config.rollout.plan, self._controller.plan.progress
        if Gate.HOOK not in shut_gates(plan, progress) or (self._asking is not None and not self._asking.done()):
            return
        self._asking = self._tasks.start(self._until_confirmed(finding), "confirm hook")

    async def _until_confirmed(self, finding: Finding) -> None:
        controller = self._controller
        plan, progress = controller.config.rollout.plan, controller.plan.progress
        stage = min(progress.stage, len(plan) - 1)
        url, follows = plan[stage].confirm, plan[stage + 1 : stage + 2]
        body = {
            "stage": stage + 1,
            "percent": plan[stage].percent,
            "next_percent": follows[0].percent if follows else None,
            "held_s": round(progress.held_s, 1),
            "verdict": finding.for_advance.to_json(),
        }
        why_not = await self._confirms.ask(str(url), body)
        now = controller.plan.progress
        if (now.phase, now.stage) != (Phase.WAITING, progress.stage):
            return  # somebody else has moved it meanwhile
        if why_not:
            self._log.info("not_confirmed", stage=stage + 1, why=why_not)
            controller.waits(f"its confirm hook to say yes: {why_not}")
            await asyncio.sleep(ASK_EVERY_S)
            return
        try:
            await controller.steer(Event.CONFIRM, "hook", "said yes")
        except (StoreError, IllegalTransition) as error:
            self._log.error("confirmation_lost", why=str(error))
