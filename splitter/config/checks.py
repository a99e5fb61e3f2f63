"""What must hold between values: each alone is right, together they are not.

Owns: these rules. Must not know: files, lines, the environment, single values (kinds and schema do).
Invariant: a rule about values that have faults of their own says nothing, so that one mistake is one fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from splitter.config.addresses import TcpAddress
from splitter.config.document import Path
from splitter.config.kinds import did_you_mean, shown
from splitter.config.rollout import Rollout
from splitter.config.schema import Config
from splitter.config.sections import Listener


@dataclass(frozen=True, slots=True)
class Clash:
    """Values that don't go together: what to say, and the paths it rests on, the one to blame first."""

    message: str
    rests_on: tuple[Path, ...]


def clashes(config: Config, route_names: frozenset[str]) -> Iterator[Clash]:
    """All of them. `route_names`: of all routes of the file, also of those that are not in `config` for having a fault."""
    yield from _addresses(config)
    yield from _backends(config)
    yield from _backend_tls(config)
    yield from _routes(config.rollout)
    yield from _plan(config.rollout, route_names)
    guardrails, limits = config.guardrails, config.limits
    if guardrails.window_s < guardrails.every_s:
        message = f"the window ({guardrails.window_s:g}s) is shorter than `every` ({guardrails.every_s:g}s)"
        yield Clash(message, (("guardrails", "window"), ("guardrails", "every")))
    if limits.target_bytes > limits.header_bytes:
        message = f"target_bytes ({limits.target_bytes}) is more than header_bytes ({limits.header_bytes})"
        yield Clash(message, (("limits", "target_bytes"), ("limits", "header_bytes")))


def _address_paths(*names: str) -> tuple[Path, ...]:
    return tuple((name, key) for name in names for key in ("port", "host"))


def _addresses(config: Config) -> Iterator[Clash]:
    listen, admin = config.listen.address, config.admin.address
    if _meet(config.listen, config.admin):
        message = f"the public side ({listen}) and the admin side ({admin}) can't share an address"
        yield Clash(message, _address_paths("admin", "listen"))
    if not admin.is_loopback and config.admin.token is None:
        message = f"other machines can reach {admin}, so set SPLITTER_ADMIN_TOKEN, or listen on 127.0.0.1"
        yield Clash(message, (("admin", "host"), ("admin", "token")))
    for name, section in (("listen", config.listen), ("admin", config.admin)):
        if not isinstance(section.address, TcpAddress) and "port" in section.model_fields_set:
            yield Clash("has no meaning: the host is a unix socket", ((name, "port"), (name, "host")))


def _backend_tls(config: Config) -> Iterator[Clash]:
    for name, backend in (("legacy", config.backends.legacy), ("domain", config.backends.domain)):
        tls, here = backend.tls, ("backends", name, "tls")
        if tls.key is not None and tls.cert is None:
            yield Clash("has no meaning without `cert`", ((*here, "key"), (*here, "cert")))
        if tls.ca is not None and not tls.verify:
            yield Clash("has no meaning while `verify` is false", ((*here, "ca"), (*here, "verify")))


def _backends(config: Config) -> Iterator[Clash]:
    """A backend that is the splitter itself: each request would go round until nothing is left."""
    listen = config.listen.address
    if not isinstance(listen, TcpAddress):
        return
    for name, backend in (("legacy", config.backends.legacy), ("domain", config.backends.domain)):
        for url in backend.urls:
            target = TcpAddress(url.host, url.port)
            is_here = target.is_loopback and (listen.is_any or listen.is_loopback)
            if url.port == listen.port and (is_here or url.host == listen.host.lower()):
                message = f"{url} of backends.{name} is the splitter itself ({listen}): requests would go round for ever"
                yield Clash(message, (("backends", name, "urls"), *_address_paths("listen")))


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
        if route.name in seen:
            yield Clash(f"{route.name} is the name of an earlier route too", (("rollout", "routes", index, "name"),))
        seen.add(route.name)


def _plan(rollout: Rollout, route_names: frozenset[str]) -> Iterator[Clash]:
    highest = 0.0
    own = {route.name: (index, route.percent) for index, route in enumerate(rollout.routes)}
    highest_of: dict[str, float] = {}
    for index, stage in enumerate(rollout.plan):
        here: Path = ("rollout", "plan", index)
        if stage.percent < highest:
            message = f"falls from {highest:g} to {stage.percent:g}: a plan only goes up, a rollback goes down"
            yield Clash(message, ((*here, "percent"),))
        highest = max(highest, stage.percent)
        for name, percent in stage.routes.items():
            path = (*here, "routes", name)
            if name not in route_names:
                hint = did_you_mean(name, sorted(route_names))
                yield Clash(f"there is no route {shown(name)} in rollout.routes{hint}", (path,))
            at_first, before = name not in highest_of, highest_of.get(name, 0.0)
            if at_first and name in own and percent < own[name][1]:
                message = f"is less than {name}'s own percent, {own[name][1]:g}: a plan only goes up, a rollback goes down"
                yield Clash(message, (path, ("rollout", "routes", own[name][0], "percent")))
            if percent < before:
                yield Clash(f"falls from {before:g} to {percent:g}: a plan only goes up, a rollback goes down", (path,))
            highest_of[name] = max(percent, before)
        waits = stage.hold_s is not None or stage.approve or stage.confirm is not None
        if not waits and index < len(rollout.plan) - 1:
            yield Clash("needs a hold, as every stage but the last does, or approve: true", (here,))
