"""The one writer of what is in force.

Owns: turning the configuration and the backends' health into snapshots, and publishing them.
Must not know: how a data plane works, how health is found out.
Invariants: every snapshot a plane gets was made here; domain is taken out for being down only while legacy is up, because
a request that can go nowhere else is worth a try.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog

from splitter.config import Config, KeySource
from splitter.routing import DEFAULT_ROUTE, Backend, Force, Rule, Table, seed_of
from splitter.snapshot import Plane, Published, Snapshot


def table_of(config: Config) -> Table:
    """The routing table a configuration asks for."""
    rollout = config.rollout
    sources: tuple[KeySource, ...] = tuple(rollout.key)
    routes = tuple(
        Rule(
            name=route.name,
            threshold=route.percent_threshold,
            sources=sources if route.key is None else tuple(route.key),
            methods=frozenset(method.encode() for method in route.methods or ()),
            template=route.path,
        )
        for route in rollout.routes
    )
    token = config.admin.token.get_secret_value().encode() if config.admin.token is not None else b""
    return Table(
        default=Rule(DEFAULT_ROUTE, rollout.percent_threshold, sources),
        routes=routes,
        domain_enabled=rollout.use_domain_service,
        seed=seed_of(rollout.salt),
        force=Force(rollout.force),
        token=token,
        trusted_proxies=tuple(config.listen.trusted_proxies),
    )


@dataclass(slots=True)
class Controller:
    """Holds the configuration in force and what is known of the backends. `reload_fault`: why the last reload failed."""

    config: Config
    plane: Plane
    backend_up: dict[str, bool] = field(default_factory=dict)
    reload_fault: str = ""

    def snapshot(self) -> Snapshot:
        domain_up = self.backend_up.get(Backend.DOMAIN, True)
        legacy_up = self.backend_up.get(Backend.LEGACY, True)
        return Snapshot(table_of(self.config), domain_ejected=legacy_up and not domain_up)

    async def publish(self) -> Published:
        """Put what is known now in force; returns when every worker decides by it."""
        return await self.plane.publish(self.snapshot())

    async def on_backend(self, name: str, up: bool) -> None:
        """A backend went up or down."""
        log = structlog.get_logger()
        if self.backend_up.get(name) is not up:
            self.backend_up[name] = up
            (log.info if up else log.warning)("backend_up" if up else "backend_down", backend=name)
        await self.publish()

    async def adopt(self, config: Config) -> None:
        """Put the rollout part of a newly read configuration in force."""
        self.config = config
        self.reload_fault = ""
        await self.publish()
