"""A plan carried out: every step on both sides, and once more on control to learn what is noise.

Owns: the order of everything, variables and what is captured, who plays which part. Must not know: how results are shown.
Invariants:
- the sides go through a scenario in step, so that what belongs to all of them is the same when each is asked;
- each part (control, candidate, control again) writes only to what it made itself;
- whatever was set up is cleaned up, also when the run is stopped;
- which of the two sides is asked first alternates.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from splitter.cli.compare.asker import Asked, Asker, Request, not_asked
from splitter.cli.compare.findings import Findings, StepResult
from splitter.cli.compare.own_names import OwnNames
from splitter.cli.compare.steps import NO_JSON, Plan, Scenario, Step, fill, fill_json
from splitter.compare import Context, Differences, Mask, Observation, compare
from splitter.compare.observation import UnreadableError, read_json
from splitter.config import JsonPath

_LETTERS: Final = "abc"


@dataclass(slots=True)
class Part:
    """One who is asked: a side, and the variables it has to itself."""

    asker: Asker
    variables: dict[str, str]


@dataclass(frozen=True, slots=True)
class Options:
    """How a plan is carried out. `new_word`: a word no other run has; `now_s`: the time for samples."""

    noise: bool
    rounds: int
    concurrency: int
    mask: Mask
    new_word: Callable[[], str]
    now_s: Callable[[], float]


@dataclass(slots=True)
class Run:
    """See the top of the file. `on_step` hears of each step that was carried out."""

    control: Asker
    candidate: Asker
    options: Options
    findings: Findings
    on_step: Callable[[], None]
    _count: int = field(default=0)

    async def carry_out(self, plan: Plan) -> None:
        """Everything in a plan, as often as there are rounds."""
        queue = [scenario for _ in range(self.options.rounds) for scenario in plan.scenarios]
        waiting = iter(queue)

        async def work() -> None:
            for scenario in waiting:
                await self._scenario(scenario)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.options.concurrency, len(queue))):
                group.create_task(work())

    async def _scenario(self, scenario: Scenario) -> None:
        parts = self._parts(scenario)
        try:
            for step in scenario.setup:
                if not await self._step(step, parts):
                    return
            for step in scenario.requests:
                await self._step(step, parts)
        finally:
            for step in scenario.cleanup:
                await self._step(step, parts)

    def _parts(self, scenario: Scenario) -> list[Part]:
        askers = [self.control, self.candidate, *([self.control] if self.options.noise else [])]
        word = self.options.new_word()
        parts = []
        for asker, letter in zip(askers, _LETTERS, strict=False):
            variables = {"run": word, "side": letter}
            for name, text in scenario.variables.items():
                variables[name] = fill(text, variables)
            parts.append(Part(asker, variables))
        return parts

    async def _step(self, step: Step, parts: list[Part]) -> bool:
        """Send a step as often as it wants, and compare; whether control answered as expected each time."""
        expected = True
        for _ in range(step.repeat):
            self._count += 1
            request_id = f"compare-{self.options.new_word()}"
            answers = await self._ask_all(step, parts, request_id)
            expected &= self._as_expected(step, answers)
            if step.compared:
                self._compare(step, parts, answers, request_id)
            self.on_step()
        return expected

    async def _ask_all(self, step: Step, parts: list[Part], request_id: str) -> list[Asked]:
        """The answers, by part. One that lacks a variable is not asked; the others are, so that they clean up."""
        order = list(range(len(parts)))
        if self._count % 2:
            order[0], order[1] = order[1], order[0]
        answers: dict[int, Asked] = {}
        for index in order:
            part = parts[index]
            try:
                request = _request(step, part.variables, request_id)
            except KeyError as missing:
                answers[index] = not_asked(f"{missing.args[0]} was to be captured before, and was not")
                continue
            answers[index] = await part.asker.ask(request)
            self.findings.sent += 1
            _capture(step, part, answers[index].observation)
        return [answers[index] for index in range(len(parts))]

    def _as_expected(self, step: Step, answers: list[Asked]) -> bool:
        control = answers[0].observation
        if not step.expect or (not control.failure and control.status in step.expect):
            return True
        if answers[0].not_comparable:
            return False
        wanted = " or ".join(str(status) for status in sorted(step.expect))
        name = self.control.side.name
        self.findings.add_problem(f"{step.title}: {name} was to answer {wanted}, not {control.failure or control.status}")
        return False

    def _compare(self, step: Step, parts: list[Part], answers: list[Asked], request_id: str) -> None:
        findings = self.findings
        result = findings.step(step.title, step.endpoint)
        seen = [
            answer.observation if step.literal or step.shared else _alike(part, answer.observation)
            for part, answer in zip(parts, answers, strict=True)
        ]
        control, candidate = seen[0], seen[1]
        result.duration_s += answers[0].duration_s + answers[1].duration_s
        not_compared = answers[0].not_comparable or answers[1].not_comparable
        if not_compared:
            findings.fail(result, not_compared)
            return
        if control.failure:
            why = control.failure if control.failure == candidate.failure or not candidate.failure else "neither answered"
            findings.fail(result, f"{self.control.side.name}: {why}")
            return
        found = compare(control, candidate, step.rules)
        again = seen[2] if len(seen) > 2 else None
        noise = None if again is None or again.failure else compare(control, again, step.rules)
        context = Context(f"{step.method} {step.target}", request_id, self.options.now_s())
        findings.report.record(step.endpoint, found, noise, context, self.options.mask)
        _add(result, found)
        if not candidate.failure and control.status == candidate.status:
            findings.add_pair(step.endpoint, answers[0].duration_s, answers[1].duration_s)


def _add(result: StepResult, found: Differences) -> None:
    result.compared += 1
    result.ignored += found.ignored
    for difference in found.found:
        result.places[difference.place] = result.places.get(difference.place, 0) + 1


def _request(step: Step, variables: dict[str, str], request_id: str) -> Request:
    """A step ready to be sent. Raises KeyError for a variable that has no value."""
    target, headers, body, value = step.target, step.headers, step.body, step.json
    if not step.literal:
        target = fill(target, variables)
        headers = tuple((name, fill(text, variables)) for name, text in headers)
        body = fill(body.decode(), variables).encode() if body else b""
        value = fill_json(value, variables) if value is not NO_JSON else value
    if value is not NO_JSON:
        body = json.dumps(value).encode()
    given = {name.lower() for name, _ in headers}
    if value is not NO_JSON and "content-type" not in given:
        headers = (*headers, ("Content-Type", "application/json"))
    return Request(step, target, (*headers, ("X-Request-Id", request_id)), body)


def _capture(step: Step, part: Part, observation: Observation) -> None:
    """Take variables out of an answer; one that is not there stays unset, and the step that wants it says so."""
    if not step.capture or observation.failure:
        return
    try:
        value = read_json(observation.content())
    except UnreadableError:
        return
    for name, path in step.capture.items():
        found = _at(value, path)
        if isinstance(found, str | int | float) and not isinstance(found, bool):
            part.variables[name] = str(found)


def _at(value: Any, path: JsonPath) -> Any:
    for part in path.parts:
        if isinstance(value, dict) and isinstance(part.name, str):
            value = value.get(part.name)
        elif isinstance(value, list) and isinstance(part.name, int) and part.name < len(value):
            value = value[part.name]
        else:
            return None
    return value


def _alike(part: Part, observation: Observation) -> Observation:
    return OwnNames(part.variables, part.asker.side.url).put_back(observation)
