"""What is rehearsed: the user's plan and guardrails with compressed time, what goes wrong, how soon that must be noticed.

Owns: making the copy's configuration out of the user's. Must not know: processes, sockets, clocks.
Invariants: percents, limits, keys, routes, fallback and the guardrails' action are the user's; only times and the volumes
that go with them are less, and each such change is named; nothing of the user's that is outside is in the copy: no URL, no
secret, no state.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from splitter.config import Config, Stage, leaves
from splitter.config.document import read_document

LONGEST_HOLD_S: Final = 4.0
SHORTEST_HOLD_S: Final = 2.0
WINDOW_S: Final = 2.0
EVERY_S: Final = 0.2
MIN_REQUESTS: Final = 30
LATENCY_MIN_REQUESTS: Final = 60
EJECTED_FOR_S: Final = 1.0
PROBE_S: Final = 0.5

BASE_LATENCY_S: Final = 0.008
"""How long both copies of the service take for an answer, at least; up to half as long again."""

_DOMAIN_PER_S: Final = 60.0
"""Requests to domain that 20 failures in a row need to be noticed within half a second."""
_FEWEST_PER_S: Final = 300.0
_MOST_PER_S: Final = 900.0

FULLY_BROKEN_S: Final = 1.0
"""The promise: from the first failing request of a domain that fails everything to rolled back, under load."""

_DEFAULT_PLAN: Final = ({"percent": 10}, {"percent": 25}, {"percent": 50}, {"percent": 100})


class Trouble(StrEnum):
    """What goes wrong with domain."""

    ERRORS = "errors"  # half of its answers are failures
    SLOW = "slow"  # it answers, but late
    DOWN = "down"  # its process is gone
    NONE = "none"  # nothing: the plan has to complete


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the copy's parts are: URLs and ports, all of this machine."""

    port: int
    admin_port: int
    legacy: str
    domain: str
    hook: str


@dataclass(frozen=True, slots=True)
class Script:
    """One rehearsal. Times are the copy's; `pace` is how many times longer they are than at full speed.

    `rescued`: methods that may fall back; `slow_s`: what domain takes when it is slow; `failure`: the status it fails with,
    0 for an answer that breaks off; `notes`: what differs from the user's configuration.
    """

    trouble: Trouble
    pace: float
    plan: tuple[Stage, ...]
    requests_per_s: float
    rescued: frozenset[str]
    failure: int
    slow_s: float
    act_within_s: float
    act_because: str
    quiet_s: float
    notes: tuple[str, ...]
    tree: dict[str, Any] = field(repr=False)

    def configuration(self, addresses: Addresses) -> str:
        """The copy's file. JSON is YAML, and has one reading."""
        tree = self.tree | {
            "listen": {"host": "127.0.0.1", "port": addresses.port, "workers": 2},
            "admin": {"host": "127.0.0.1", "port": addresses.admin_port},
            "hooks": [{"url": addresses.hook}],
        }
        backends = tree["backends"]
        tree["backends"] = {
            "legacy": backends["legacy"] | {"urls": [addresses.legacy]},
            "domain": backends["domain"] | {"urls": [addresses.domain]},
        }
        for stage in tree["rollout"]["plan"]:
            if "confirm" in stage:
                stage["confirm"] = f"{addresses.hook}/may-go-on"
        return json.dumps(tree, indent=2)


def write_script(config: Config, trouble: Trouble, speed: float) -> Script:
    """A rehearsal of this configuration. `speed` 1 is as fast as can be judged, 0.5 takes twice as long."""
    pace = 1.0 / speed
    stages = tuple(stage for stage in config.rollout.plan if stage.percent > 0)
    holds = _holds(stages, pace) if stages else [LONGEST_HOLD_S * 0.75 * pace] * (len(_DEFAULT_PLAN) - 1) + [None]
    tree = _tree(config, holds, pace)
    plan = tuple(Stage.model_validate(stage) for stage in tree["rollout"]["plan"])
    guardrails, fallback = config.guardrails, config.fallback
    window_s = min(guardrails.window_s, round(WINDOW_S * pace, 1))
    failure = next(
        (int(on) for on in ("503", "502", "504", "500") if on in fallback.on), 0 if "reset" in fallback.on else 503
    )
    per_s = min(_MOST_PER_S, max(_FEWEST_PER_S, _DOMAIN_PER_S * 100 / plan[0].percent))
    within_s, because = _allowed(config, trouble, window_s, per_s * plan[0].percent / 100)
    ratio = guardrails.latency_p95_ratio_max or 2.0
    return Script(
        trouble=trouble,
        pace=pace,
        plan=plan,
        requests_per_s=per_s,
        rescued=frozenset(fallback.methods) if fallback.on else frozenset(),
        failure=failure,
        slow_s=BASE_LATENCY_S * 1.5 * max(4.0, 3 * ratio) + guardrails.latency_margin_s,
        act_within_s=within_s,
        act_because=because,
        quiet_s=max(round(2.0 * pace, 1), window_s),
        notes=tuple(_notes(config, stages, holds, window_s)),
        tree=tree,
    )


def _allowed(config: Config, trouble: Trouble, window_s: float, per_s: float) -> tuple[float, str]:
    """How soon the guardrails have to act when domain gets so many requests a second, and why then."""
    guardrails = config.guardrails
    in_a_row = guardrails.consecutive_failures
    if trouble is Trouble.DOWN and in_a_row is not None:
        return max(FULLY_BROKEN_S, 0.5 + 1.5 * in_a_row / per_s), f"{in_a_row} failures in a row act at once"
    windows, needed = guardrails.bad_windows + 1, LATENCY_MIN_REQUESTS if trouble is Trouble.SLOW else MIN_REQUESTS
    within_s = FULLY_BROKEN_S + windows * max(window_s, needed / per_s)
    return within_s, f"{guardrails.bad_windows} bad windows of {window_s:g} s, and one more"


def _holds(stages: tuple[Stage, ...], pace: float) -> list[float | None]:
    """The user's holds, the longest of them a few seconds long."""
    longest = max((stage.hold_s or 0.0 for stage in stages), default=0.0) or 1.0
    most_s = LONGEST_HOLD_S if len(stages) <= 6 else SHORTEST_HOLD_S
    return [
        None
        if stage.hold_s is None
        else round(pace * max(SHORTEST_HOLD_S, most_s * stage.hold_s / longest), 1)
        for stage in stages
    ]  # fmt: skip


def _tree(config: Config, holds: list[float | None], pace: float) -> dict[str, Any]:
    """The copy's configuration without addresses: what the user has set of these sections, and what time makes of it."""
    effective = _nested(config)
    rollout, guardrails = effective["rollout"], effective["guardrails"]
    stages = [stage for stage in rollout.get("plan") or [] if stage["percent"] > 0] or [dict(s) for s in _DEFAULT_PLAN]
    for stage, hold_s in zip(stages, holds, strict=True):
        stage.pop("hold", None)
        if hold_s is not None:
            stage["hold"] = _seconds(hold_s)
        if stage.get("confirm") is None:
            stage.pop("confirm", None)
        limits = stage.get("limits") or {}
        stage["limits"] = {key: value for key, value in _less(limits).items() if value is not None}
    rollout |= {"plan": stages, "percent": 0, "use_domain_service": True, "force": "off"}
    rollout.pop("confirm_secret_env", None)
    window_s = min(config.guardrails.window_s, round(WINDOW_S * pace, 1))
    guardrails |= {"window": _seconds(window_s), "every": _seconds(min(config.guardrails.every_s, EVERY_S * pace))}
    backends = {}
    for name in ("legacy", "domain"):
        backend = effective["backends"][name]
        health = {"interval": _seconds(PROBE_S), "healthy_after": 2, "unhealthy_after": 3}
        eject = backend["eject"] | {"for": _seconds(EJECTED_FOR_S)}
        backends[name] = {"response_timeout": backend["response_timeout"], "health": health, "eject": eject}
    return {
        "backends": backends,
        "rollout": rollout,
        "guardrails": _less(guardrails),
        "fallback": effective["fallback"],
        "limits": {"drain_timeout": "1s"},
        "access_log": {"sample": 0},
        "state": {"url": "file:state.json"},
    }


def _less(limits: dict[str, Any]) -> dict[str, Any]:
    """Limits with the volumes that go with the shorter windows."""
    most = {"min_requests": MIN_REQUESTS, "latency_min_requests": LATENCY_MIN_REQUESTS}
    return {key: min(value, most[key]) if key in most and value is not None else value for key, value in limits.items()}


def _notes(config: Config, stages: tuple[Stage, ...], holds: list[float | None], window_s: float) -> Iterator[str]:
    if not stages:
        yield "there is no plan in the configuration: rehearsed with 10, 25, 50 and 100 %"
    told = [f"{hold_s:g} s" for hold_s in holds if hold_s is not None]
    yield f"holds of {', '.join(told)} instead of yours" if told else "no stage has a hold"
    guardrails = config.guardrails
    yield f"windows of {window_s:g} s instead of {guardrails.window_s:g} s, at least {MIN_REQUESTS} requests in them"
    if not config.rollout.use_domain_service:
        yield "use_domain_service is false in the configuration: on here, or nothing would go to domain"


def _nested(config: Config) -> dict[str, Any]:
    """Every value in force as the file would hold it, by section; empty lists of sections left out."""
    tree: dict[str, Any] = {}
    for leaf in leaves(config):
        text = leaf.show()
        if text in ("(all)", "(secret)"):
            continue
        place: Any = tree
        *path, key = _steps(leaf.path)
        for step in path:
            place = place.setdefault(step, {})
        place[key] = read_document(f"value: {text}", "value").tree.get("value")
    listed: dict[str, Any] = _lists(tree)
    return listed


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    for piece in path.split("."):
        name, *indexes = piece.split("[")
        steps += [name, *(int(index.rstrip("]")) for index in indexes)]
    return steps


def _lists(tree: Any) -> Any:
    """Mappings whose keys are 0, 1, ... as lists."""
    if not isinstance(tree, dict):
        return tree
    if tree and all(isinstance(key, int) for key in tree):
        return [_lists(tree[key]) for key in sorted(tree)]
    return {key: _lists(value) for key, value in tree.items()}


def _seconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
