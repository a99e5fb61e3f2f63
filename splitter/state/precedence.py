"""What is in force, and who says so: the precedence of all layers, as one table.

Owns: the two tables (also those of docs/configuration.md, which are made of them), and reading them.
Must not know: stores, clocks, requests (`routing` decides those, by the values found here).
Invariant: for each value exactly one layer answers, the first that has something to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from splitter.config import Config
from splitter.state.changes import CONFIG, STORE
from splitter.state.record import GLOBAL, Latch, Override, Record

OPERATOR: Final = "operator"
GUARDRAIL: Final = "guardrail"
PLAN: Final = "plan"
ENVIRONMENT: Final = "env"
FILE: Final = "file"
DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class Value:
    """A value in force. `layer` is `operator`, `plan`, `env:NAME`, `file:LINE` or `default`; `by` who, when and why.

    A latch may also come from `guardrail` and `store`. `instead_of`: what the next layer says that has something to say.
    """

    value: float | bool
    layer: str
    by: Override | Latch | None = None
    instead_of: Value | None = None


@dataclass(frozen=True, slots=True)
class InForce:
    """All that people, plan and configuration decide about who goes to domain. `percents` by route, and under GLOBAL."""

    use_domain_service: Value
    rolled_back: Value
    percents: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class _Asked:
    """The percent that is asked for, and all who may answer."""

    name: str
    configured: float
    origin: str
    record: Record
    plan_percents: Mapping[str, float]
    plan_since_s: float


@dataclass(frozen=True, slots=True)
class Layer:
    """A row of the table of percents: `word` is what `from` begins with, `says` gives its value if it has one."""

    word: str
    meaning: str
    says: Callable[[_Asked], Value | None]


@dataclass(frozen=True, slots=True)
class Switch:
    """A row of the table of switches: while `is_off`, nothing reaches domain, and requests bear `reason`."""

    reason: str
    meaning: str
    is_off: Callable[[InForce], bool]


def _operator(asked: _Asked, *, before_plan: bool = False) -> Value | None:
    override = asked.record.overrides.get(asked.name)
    if override is None or (override.at_s <= asked.plan_since_s) is not before_plan:
        return None
    if override.who == CONFIG and override.percent == asked.configured:
        return Value(override.percent, asked.origin, override)  # an edit that wins over a plan is still that line's
    return Value(override.percent, OPERATOR, override)


def _plan(asked: _Asked) -> Value | None:
    percent = asked.plan_percents.get(asked.name)
    return None if percent is None else Value(percent, PLAN)


def _configuration(word: str) -> Callable[[_Asked], Value | None]:
    """The configuration has chosen between environment, file and default already, and says which it was."""

    def says(asked: _Asked) -> Value | None:
        return Value(asked.configured, asked.origin) if asked.origin.partition(":")[0] == word else None

    return says


PERCENTS: Final = (
    Layer(OPERATOR, "somebody, at run time: `splitter set`, the API, the console", _operator),
    Layer(PLAN, "the stage the plan is at, where it names the percent, while one is in progress", _plan),
    Layer(OPERATOR, "the same, but from before the plan was started", partial(_operator, before_plan=True)),
    Layer(ENVIRONMENT, "`ROLLOUT_PERCENT`; routes have no variable", _configuration(ENVIRONMENT)),
    Layer(FILE, "`rollout.percent`, a route's `percent`", _configuration(FILE)),
    Layer(DEFAULT, "10; a route has none", _configuration(DEFAULT)),
)
"""Where a percent comes from: the first layer that has one."""

SWITCHES: Final = (
    Switch(
        "disabled",
        "`use_domain_service` is false; `USE_DOMAIN_SERVICE` beats the file, the default is true",
        lambda now: not now.use_domain_service.value,
    ),
    Switch(
        "rollback",
        "somebody, or a guardrail, has rolled back; until `splitter resume`, whatever is configured meanwhile",
        lambda now: bool(now.rolled_back.value),
    ),
)
"""What keeps everything from domain, before any percent is asked."""


def in_force(config: Config, record: Record, plan_percents: Mapping[str, float], plan_since_s: float = 0.0) -> InForce:
    """What a configuration and a record make together. `plan_percents`: of an active plan, by name, started then."""
    rollout, origins = config.rollout, config.origins
    configured = {GLOBAL: (rollout.percent, origins.get("rollout.percent", DEFAULT))} | {
        route.name: (route.percent, origins.get(f"rollout.routes[{index}].percent", DEFAULT))
        for index, route in enumerate(rollout.routes)
    }
    return InForce(
        Value(rollout.use_domain_service, origins.get("rollout.use_domain_service", DEFAULT)),
        _rolled_back(record.latch),
        {
            name: _percent(_Asked(name, percent, origin, record, plan_percents, plan_since_s))
            for name, (percent, origin) in configured.items()
        },
    )


def _rolled_back(latch: Latch | None) -> Value:
    if latch is None:
        return Value(value=False, layer=DEFAULT)
    who = latch.who.partition(":")[0]
    return Value(value=True, layer=who if who in (GUARDRAIL, STORE) else OPERATOR, by=latch)


def _percent(asked: _Asked) -> Value:
    answers = [value for layer in PERCENTS if (value := layer.says(asked)) is not None]
    return replace(answers[0], instead_of=answers[1]) if len(answers) > 1 else answers[0]
