"""What a configuration asks for, in the words of those who decide by it.

Owns: the routing table and the baseline of a configuration. Must not know: who asks, how either is used.
Invariant: pure; with what is in force the same values that `status` tells, in buckets.
"""

from __future__ import annotations

from splitter.config import Config, KeySource, threshold_of
from splitter.hops import Style
from splitter.routing import DEFAULT_ROUTE, Force, Rule, Table, seed_of
from splitter.state import GLOBAL, Baseline, InForce, Record, in_force


def table_of(config: Config, now: InForce | None = None) -> Table:
    """The routing table a configuration asks for, with what is in force instead of its own percents and switch."""
    rollout = config.rollout
    now = now or in_force(config, Record(), {})
    sources: tuple[KeySource, ...] = tuple(rollout.key)
    thresholds = {name: threshold_of(float(percent.value)) for name, percent in now.percents.items()}
    routes = tuple(
        Rule(
            name=route.name,
            threshold=thresholds[route.name],
            sources=sources if route.key is None else tuple(route.key),
            methods=frozenset(method.encode() for method in route.methods or ()),
            template=route.path,
            fallback_methods=frozenset(method.encode() for method in route.fallback_methods),
        )
        for route in rollout.routes
    )
    token = config.admin.token.get_secret_value().encode() if config.admin.token is not None else b""
    return Table(
        default=Rule(DEFAULT_ROUTE, thresholds[GLOBAL], sources),
        routes=routes,
        domain_enabled=bool(now.use_domain_service.value),
        rolled_back=bool(now.rolled_back.value),
        seed=seed_of(rollout.salt),
        force=Force(rollout.force),
        token=token,
        trusted_proxies=tuple(config.listen.trusted_proxies),
        forwarded=Style(config.listen.forwarded),
    )


def baseline_of(config: Config) -> Baseline:
    """What file and environment ask for."""
    rollout = config.rollout
    routes = {route.name: route.percent for route in rollout.routes}
    return Baseline(rollout.use_domain_service, {GLOBAL: rollout.percent} | routes)
