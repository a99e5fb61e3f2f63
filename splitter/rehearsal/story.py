"""The story: what is done in which order, what was promised of it, and whether that was kept.

Owns: the acts, the promises. Must not know: how the copy is run, how clients ask, who reads it.
Invariants: a promise is kept or broken by what was measured, never by what was meant; a broken one does not end the story,
so that one rehearsal shows all that is wrong; every wait is bounded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from splitter.rehearsal.clients import Answer, Clients
from splitter.rehearsal.private_copy import PrivateCopy
from splitter.rehearsal.promises import IN_FLIGHT_S, Promise, Span, seen_by_clients
from splitter.rehearsal.script import Script, Trouble

_LOOK_S: Final = 0.05
_WARM_UP_S: Final = 1.0

RULES: Final = {
    Trouble.DOWN: ("consecutive_failures", "error_rate", "success_rate"),
    Trouble.ERRORS: ("error_rate", "success_rate", "consecutive_failures"),
    Trouble.SLOW: ("latency_p95_ratio",),
    Trouble.NONE: (),
}
"""Rules that may be the first to notice."""

_WRONG: Final = {
    Trouble.DOWN: "domain is killed",
    Trouble.ERRORS: "half of domain's answers are failures",
    Trouble.SLOW: "domain turns slow",
    Trouble.NONE: "",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """A line of the timeline, `at_s` after the first request."""

    at_s: float
    what: str
    detail: str = ""


class Story:
    """One rehearsal as it is played. `on_moment` hears each line of the timeline; `before`, if there is one, is waited for
    before each act, while the plan is paused."""

    def __init__(
        self,
        script: Script,
        copy: PrivateCopy,
        clients: Clients,
        on_moment: Callable[[Moment], None],
        before: Callable[[str], Awaitable[None]] | None,
    ) -> None:
        self.promises: list[Promise] = []
        self.timeline: list[Moment] = []
        self._script = script
        self._copy = copy
        self._clients = clients
        self._on_moment = on_moment
        self._before = before
        self._began_s = time.time()
        self._spans: list[Span] = []

    async def play(self) -> None:
        """From the first request to the end of the plan. Raises CopyError when the copy breaks down."""
        script = self._script
        self._began_s = time.time()
        self._say("clients come, all of them go to legacy", f"{script.requests_per_s:g} requests a second")
        await asyncio.sleep(_WARM_UP_S)
        await self._wait_before("the plan starts")
        await self._first_stage()
        if script.trouble is not Trouble.NONE:
            await self._wait_before(_WRONG[script.trouble])
            await self._trouble()
            await self._aftermath()
            await self._wait_before("an operator resumes")
            await self._resume()
        await self._to_the_end()
        self.promises += seen_by_clients(self._clients.answers, self._spans)
        await self._wait_before("the end")

    async def _wait_before(self, act: str) -> None:
        if self._before is None:
            return
        runs = (await self._copy.ask())["plan"]["phase"] == "running"
        if runs:
            await self._copy.press("/plan/pause", "somebody looks around")
        await self._before(act)
        if runs:
            await self._copy.press("/plan/continue", "somebody has looked around")

    def _say(self, what: str, detail: str = "", at_s: float | None = None) -> None:
        moment = Moment(round((time.time() if at_s is None else at_s) - self._began_s, 2), what, detail)
        self.timeline.append(moment)
        self._on_moment(moment)

    def _promise(self, name: str, kept: bool, detail: str) -> None:
        self.promises.append(Promise(name, kept, detail))

    async def _until(self, check: Callable[[dict[str, Any]], bool], timeout_s: float) -> dict[str, Any] | None:
        """The first status that passes; None if none does in time."""
        until_s = time.monotonic() + timeout_s
        while True:
            status = await self._copy.ask()
            if check(status):
                return status
            if time.monotonic() > until_s:
                return None
            await asyncio.sleep(_LOOK_S)

    # --- the acts ---

    async def _first_stage(self) -> None:
        status = (await self._copy.press("/plan/start", "rehearsal"))["status"]
        stage = self._script.plan[0]
        plan, percent = status["plan"], status["percent"]["value"]
        self._say(*_stage_line(plan))
        kept = (plan["phase"], plan["stage"], percent) == ("running", 1, stage.percent)
        self._promise("the plan starts at its first stage", kept, f"{percent:g} % of clients")
        if self._script.trouble is Trouble.NONE:
            return  # the stage is judged on the way to the end
        judged = await self._until(lambda status: _stage_outcome(status) == "pass", 20 * self._script.pace)
        found = judged or await self._copy.ask()
        sentence = _verdict_sentence(found)
        if judged is not None:
            self._say("the guardrails pass", sentence)
        self._promise("a good domain passes the guardrails", judged is not None, sentence)

    async def _trouble(self) -> None:
        script, copy = self._script, self._copy
        since_s = time.time()
        await copy.break_domain()
        self._say(_WRONG[script.trouble], at_s=since_s)
        status = await self._until(
            lambda status: bool(status["rolled_back"]["value"]), script.act_within_s + 8 * script.pace
        )
        if status is None:
            await self._nobody_acted(await copy.ask())
            return
        latch = status["rolled_back"]
        rule = str(latch["who"]).removeprefix("guardrail:")
        at_s = datetime.fromisoformat(latch["when"]).timestamp()
        bad = [answer for answer in self._clients.answers if answer.at_s >= since_s and self._is_bad(answer)]
        first_s = min((answer.at_s for answer in bad), default=since_s)
        first = "the first late answer" if script.trouble is Trouble.SLOW else "the first request that domain fails"
        self._say(first, at_s=first_s)
        self._say(f"rolled back by {latch['who']}", str(latch["why"]), at_s=at_s)
        acted = latch["who"] == f"guardrail:{rule}" and rule in RULES[script.trouble]
        self._promise("a guardrail rolls back", acted, f"{latch['who']}: {latch['why']}")
        took_s = at_s - first_s
        limit = f"{script.act_within_s:.1f} s allowed: {script.act_because}"
        self._promise("soon enough", took_s <= script.act_within_s, f"{took_s:.2f} s after the first failure; {limit}")
        lines = copy.log_lines("rolled_back")
        in_force_s = at_s + (float(lines[0]["took_s"]) if lines else 0.0)
        took_ms = (in_force_s - at_s) * 1000
        self._say("in force on all workers", f"{took_ms:.1f} ms later", at_s=in_force_s)
        await asyncio.sleep(3 * IN_FLIGHT_S)
        after = [answer for answer in self._clients.answers if answer.at_s > in_force_s + IN_FLIGHT_S]
        reached = sum(answer.backend == "domain" for answer in after)
        self._promise("from then on nobody goes to domain", reached == 0, f"{reached} of {len(after)} requests since")

    async def _nobody_acted(self, status: dict[str, Any]) -> None:
        waited_s = self._script.act_within_s + 8 * self._script.pace
        action = status["guardrails"]["action"]
        why = f"not within {waited_s:.1f} s; guardrails.action is {action}; {_verdict_sentence(status)}"
        self._say("no guardrail has rolled back", why)
        self._promise("a guardrail rolls back", kept=False, detail=why)
        await self._copy.press("/rollback", "no guardrail did")
        self._say("an operator rolls back")

    def _is_bad(self, answer: Answer) -> bool:
        if self._script.trouble is Trouble.SLOW:
            return answer.backend == "domain" and answer.took_s >= self._script.slow_s
        return answer.is_error or answer.reason in ("fallback", "unhealthy")

    async def _aftermath(self) -> None:
        await self._copy.mend_domain()
        since_s = time.time()
        self._say("domain is well again", "and nobody goes back by itself")
        await asyncio.sleep(self._script.quiet_s)
        status = await self._copy.ask()
        reached = sum(answer.backend == "domain" for answer in self._clients.answers if answer.at_s > since_s + IN_FLIGHT_S)
        kept = bool(status["rolled_back"]["value"]) and status["plan"]["phase"] == "rolled_back" and reached == 0
        detail = f"{reached} requests to domain in {self._script.quiet_s:g} s; the plan is {status['plan']['phase']}"
        self._promise("nothing goes back by itself", kept, detail.replace("_", " "))

    async def _resume(self) -> None:
        await self._until(lambda status: status["backends"]["domain"]["status"] == "up", 10 * self._script.pace)
        status = (await self._copy.press("/resume", "domain was mended"))["status"]
        plan = status["plan"]
        self._say("an operator resumes", _stage_line(plan)[0])
        kept = not status["rolled_back"]["value"] and (plan["phase"], plan["stage"]) == ("running", 1)
        self._promise("resume starts the plan at its first stage", kept, f"stage {plan['stage']}, {plan['phase']}")

    async def _to_the_end(self) -> None:
        """Follow the plan, letting it go on where it waits for a person."""
        script, seen = self._script, (1, "running")
        began_s = time.time()
        timeout_s = sum(stage.hold_s or 0.0 for stage in script.plan) * 2 + 20 * script.pace + 2 * len(script.plan)
        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s:
            plan = (await self._copy.ask())["plan"]
            now = (int(plan["stage"] or 0), str(plan["phase"]))
            if now != seen:
                if now[0] != seen[0]:
                    self._spans.append(Span(script.plan[seen[0] - 1].percent, began_s, time.time()))
                    began_s = time.time()
                what, detail = _stage_line(plan)
                self._say(what, detail or ("goes on" if now[0] == seen[0] else ""))
                seen = now
            if plan["phase"] == "completed" or plan["phase"] in ("rolled_back", "frozen", "aborted"):
                break
            if plan["phase"] == "waiting" and script.plan[now[0] - 1].approve:
                await self._copy.press("/plan/continue", "looked at it")
            await asyncio.sleep(_LOOK_S)
        if seen[1] == "completed":
            await asyncio.sleep(_WARM_UP_S)
            self._spans.append(Span(script.plan[-1].percent, began_s, time.time()))
        status = await self._copy.ask()
        kept = status["plan"]["phase"] == "completed" and status["percent"]["value"] == script.plan[-1].percent
        waits = f": {status['plan']['waiting_for']}" if status["plan"]["waiting_for"] else ""
        detail = f"{status['percent']['value']:g} % of clients, {status['plan']['phase'].replace('_', ' ')}{waits}"
        self._promise("the plan completes", kept, detail)
        if script.trouble is Trouble.NONE:
            rollbacks = [event for event in await self._events() if event["what"] == "rollback"]
            self._promise("a good domain is not rolled back", not rollbacks, f"{len(rollbacks)} rollbacks")
        await self._hook_was_told()

    async def _events(self) -> list[dict[str, Any]]:
        """The audit list, the oldest first."""
        events: list[dict[str, Any]] = (await self._copy.ask("/events"))["events"]
        return sorted(events, key=lambda event: int(event["version"]))

    async def _hook_was_told(self) -> None:
        wanted = [event["version"] for event in await self._events()]
        await self._until(lambda _status: len(self._copy.told.events) >= len(wanted), 2.0)
        told = [event["version"] for event in self._copy.told.events]
        detail = f"{len(told)} deliveries for {len(wanted)} changes"
        self._promise("a hook is told of every change, once and in order", told == wanted, detail)


def _stage_line(plan: dict[str, Any]) -> tuple[str, str]:
    phase = str(plan["phase"]).replace("_", " ")
    if plan["stage"] is None:
        return f"the plan is {phase}", str(plan["reason"] or "")
    detail = "" if phase == "running" else phase + (f" for {plan['waiting_for']}" if plan["waiting_for"] else "")
    return f"stage {plan['stage']} of {len(plan['stages'])}: {plan['percent']:g} % of clients", detail


def _stage_outcome(status: dict[str, Any]) -> str:
    stage = status["guardrails"]["stage"]
    return str(stage["outcome"]) if stage is not None else ""


def _verdict_sentence(status: dict[str, Any]) -> str:
    """The figure that matters of the last verdict."""
    verdict = status["guardrails"]["verdict"]
    if verdict is None:
        return "nothing was judged"
    results = [result for result in verdict["results"] if result["outcome"] == verdict["outcome"]]
    return "; ".join(str(result["sentence"]) for result in results[:2]) or str(verdict["sentence"])
