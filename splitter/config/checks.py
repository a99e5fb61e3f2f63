"""What must hold between values: each alone is right, together they are not.

Owns: these rules. Must not know: files, lines, the environment, single values (kinds and schema do).
Invariant: a rule about values that have faults of their own says nothing, so that one mistake is one fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from splitter.config.addresses import TcpAddress
from splitter.config.document import Path
from splitter.config.kinds import did_you_mean
from splitter.config.rollout import Rollout
from splitter.config.schema import Config
from splitter.config.sections import Listener


@dataclass(frozen=True, slots=True)
class Clash:
    """Values that don't go together: where to say so, what to say, and the paths it rests on."""

    path: Path
    message: str
    rests_on: tuple[Path, ...]


def clashes(config: Config, route_names: frozenset[str]) -> Iterator[Clash]:
    """All of them. `route_names`: of all routes of the file, also of those that are not in `config` for having a fault."""
    yield from _addresses(config)
    yield from _routes(config.rollout)
    yield from _plan(config.rollout, route_names)
    guardrails = config.guardrails
    if guardrails.window_s < guardrails.every_s:
        yield Clash(
            ("guardrails", "window"),
            f"is shorter than guardrails.every ({guardrails.every_s:g}s), so some requests would never be judged",
            (("guardrails", "window"), ("guardrails", "every")),
        )
    if config.limits.target_bytes > config.limits.header_bytes:
        yield Clash(
            ("limits", "target_bytes"),
            f"is more than limits.header_bytes ({config.limits.header_bytes}), which include the target",
            (("limits", "target_bytes"), ("limits", "header_bytes")),
        )


def _addresses(config: Config) -> Iterator[Clash]:
    listen, admin = config.listen.address, config.admin.address
    both: tuple[Path, ...] = (("listen", "host"), ("listen", "port"), ("admin", "host"), ("admin", "port"))
    if _meet(config.listen, config.admin):
        yield Clash(("admin", "port"), f"is taken: the public side listens on {listen} already", both)
    if not admin.is_loopback and config.admin.token is None:
        yield Clash(
            ("admin", "host"),
            f"{admin} can be reached from other machines, which needs SPLITTER_ADMIN_TOKEN; or listen on 127.0.0.1",
            (("admin", "host"), ("admin", "token")),
        )
    for name, section in (("listen", config.listen), ("admin", config.admin)):
        if isinstance(section.address, TcpAddress):
            continue
        if "port" in section.model_fields_set:
            yield Clash((name, "port"), "has no meaning: the host is a unix socket", ((name, "host"), (name, "port")))
    if not isinstance(listen, TcpAddress) or not listen.port:
        return
    for name in ("legacy", "domain"):
        for index, url in enumerate(getattr(config.backends, name).urls):
            target = TcpAddress(url.host, url.port)
            here = target.is_loopback and (listen.is_any or listen.is_loopback)
            if url.port == listen.port and (here or url.host == listen.host):
                path = ("backends", name, "urls", index)
                yield Clash(path, f"{url} is the splitter itself: a request would go round for ever", (path, *both[:2]))


def _meet(one: Listener, other: Listener) -> bool:
    """Whether two listeners want the same address."""
    first, second = one.address, other.address
    if not isinstance(first, TcpAddress) or not isinstance(second, TcpAddress):
        return first == second
    same_host = first.host == second.host or first.is_any or second.is_any
    return same_host and first.port == second.port != 0


def _routes(rollout: Rollout) -> Iterator[Clash]:
    seen: set[str] = set()
    for index, route in enumerate(rollout.routes):
        path: Path = ("rollout", "routes", index, "name")
        if route.name in seen:
            yield Clash(path, f"{route.name} is the name of an earlier route too", (path,))
        seen.add(route.name)


def _plan(rollout: Rollout, route_names: frozenset[str]) -> Iterator[Clash]:
    highest = 0.0
    highest_of: dict[str, float] = {}
    for index, stage in enumerate(rollout.plan):
        here: Path = ("rollout", "plan", index)
        if stage.percent < highest:
            path: Path = (*here, "percent")
            yield Clash(
                path, f"falls from {highest:g} to {stage.percent:g}: a plan only goes up, a rollback goes down", (path,)
            )
        highest = max(highest, stage.percent)
        for name, percent in stage.routes.items():
            path = (*here, "routes", name)
            if name not in route_names:
                yield Clash(
                    path, f"there is no route {name} in rollout.routes{did_you_mean(name, sorted(route_names))}", (path,)
                )
            if percent < highest_of.get(name, 0.0):
                yield Clash(path, f"falls from {highest_of[name]:g} to {percent:g}: a plan only goes up", (path,))
            highest_of[name] = max(percent, highest_of.get(name, 0.0))
        is_last = index == len(rollout.plan) - 1
        if stage.hold_s is None and not stage.approve and not is_last:
            path = (*here, "hold")
            yield Clash(
                path, "is needed in every stage but the last, unless the stage has approve: true", (path, (*here, "approve"))
            )
