"""The sections about who goes where: rollout, guardrails, fallback, mirror.

Owns: their keys, defaults and descriptions; the description of a field is its documentation (`docs/configuration.md` is made
of it). Must not know: files, lines, the environment, what depends on another section (`checks` does).
Invariants: immutable; a percent is given as buckets too (`percent_threshold`), exactly; names here carry units, `alias` is
the name in the file.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from splitter.config.kinds import Flag, Listing, Named, Nullable, PartsError, Text, Word
from splitter.config.numbers import SHARE, Count, Duration, Number, Percent, Size, threshold_of
from splitter.config.sections import Section
from splitter.config.traffic import Key, KeySource, Method, PathTemplate, RouteName, Trigger, template_parameters

DEFAULT_KEY: Final = (
    KeySource("header", "X-User-Id"),
    KeySource("cookie", "session_id"),
    KeySource("client_ip", ""),
)
_KEY_EXAMPLE: Final = '["header:X-User-Id", client_ip]'
_YEAR_S: Final = 366 * 86_400.0


def _null_is_empty(given: object) -> object:
    return [] if given is None else given


class Route(Section):
    """A rule for some requests; the first that matches wins."""

    name: Annotated[str, RouteName()] = Field(description="Its name in metrics, logs and commands; unique.")
    methods: Annotated[tuple[str, ...], Listing(Method(), 1, "[GET, POST]", empty="(all)")] = Field(
        default=(), description="Methods it is for; left out: all."
    )
    path: Annotated[str, PathTemplate()] = Field(
        description="`{name}` stands for one segment, `*` at the end for any rest. Compared with the path as it came."
    )
    percent: Annotated[float, Percent()] = Field(
        description="Its own percent, instead of `rollout.percent`: absolute, not a share of it."
    )
    key: Annotated[tuple[KeySource, ...] | None, Nullable(Listing(Key(in_route=True), 1, '["path:camera_id"]'))] = Field(
        default=None, description="Its own key; left out: `rollout.key`. Only here `path:PARAMETER` may be used."
    )

    fallback_methods: Annotated[tuple[str, ...], Listing(Method(), example="[POST]")] = Field(
        default=(),
        description=(
            "Methods that may be sent to legacy after domain failed them, besides `fallback.methods`. Danger: what domain "
            "had done before it failed is done twice."
        ),
    )

    @field_validator("key")
    @classmethod
    def _parameters_exist(cls, key: tuple[KeySource, ...] | None, info: ValidationInfo) -> tuple[KeySource, ...] | None:
        template = info.data.get("path")  # absent when it has a fault of its own
        if template is not None:
            known = template_parameters(template)
            has = f"it has {', '.join(known)}" if known else "it has none"
            faults: list[tuple[int | str, str]] = [
                (index, f"{source} names no parameter of the path {template}: {has}")
                for index, source in enumerate(key or ())
                if source.kind == "path" and source.name not in known
            ]
            if faults:
                raise PartsError(faults)
        return key

    @property
    def percent_threshold(self) -> int:
        return threshold_of(self.percent)


class Stage(Section):
    """One step of the plan."""

    percent: Annotated[float, Percent()] = Field(description="The global percent of this stage.")
    hold_s: Annotated[float | None, Nullable(Duration(1, _YEAR_S))] = Field(
        default=None, alias="hold", description="How long it lasts before the next one; the last stage needs none."
    )
    approve: Annotated[bool, Flag()] = Field(default=False, description="Wait for a person before the next stage.")
    routes: Annotated[dict[str, float], Named(Percent())] = Field(
        default={}, description="Percents of routes that this stage sets, by name; other routes keep theirs."
    )

    @property
    def percent_threshold(self) -> int:
        return threshold_of(self.percent)


class Rollout(Section):
    """Who goes to domain."""

    use_domain_service: Annotated[bool, Flag()] = Field(
        default=True, description="The main switch. `false`: everybody goes to legacy, forced requests too."
    )
    percent: Annotated[float, Percent()] = Field(
        default=10.0,
        description="Share of clients that go to domain. A percent that grows never moves a client back.",
    )
    key: Annotated[tuple[KeySource, ...], Listing(Key(), 1, _KEY_EXAMPLE)] = Field(
        default=DEFAULT_KEY,
        description=(
            "What identifies a client: the first one the request has. Danger: a change gives most clients another "
            "bucket, so some change sides."
        ),
    )
    salt: Annotated[str, Text()] = Field(
        default="",
        description=(
            "Seeds the buckets, so that two rollouts pick different clients. Danger: a change gives every client another "
            "bucket; with a salt the buckets are no longer Envoy's."
        ),
    )
    force: Annotated[str, Word(("open", "token", "off"))] = Field(
        default="open",
        description=(
            "Who may choose a side with `?force_domain=true|false`: anybody, those with the admin token in "
            "`X-Splitter-Token`, or nobody."
        ),
    )
    routes: Annotated[tuple[Route, ...], BeforeValidator(_null_is_empty)] = Field(
        default=(), description="Requests with a percent or key of their own, in order; the first match wins."
    )
    plan: Annotated[tuple[Stage, ...], BeforeValidator(_null_is_empty)] = Field(
        default=(), description="The stages of an automatic rollout, in order. Percents must not fall."
    )
    tunnel_grace_s: Annotated[float | None, Nullable(Duration(0, 86_400))] = Field(
        default=None,
        alias="tunnel_grace",
        description="After a rollback, how long WebSockets and other tunnels to domain may go on; `null`: until they end.",
    )

    @property
    def percent_threshold(self) -> int:
        return threshold_of(self.percent)


class Guardrails(Section):
    """When domain is judged to be too bad, and what happens then."""

    window_s: Annotated[float, Duration(1, 86_400)] = Field(
        default=60.0, alias="window", description="How far back is looked."
    )
    every_s: Annotated[float, Duration(0.1, 3600)] = Field(default=2.0, alias="every", description="How often is looked.")
    min_requests: Annotated[int, Count(1, 10_000_000)] = Field(
        default=100, description="Requests per side below which no verdict is given. Danger: a few requests prove nothing."
    )
    bad_windows: Annotated[int, Count(1, 1000)] = Field(
        default=2, description="Bad verdicts in a row before anything happens; each extra one makes a false alarm rarer."
    )
    error_rate_max: Annotated[float, SHARE] = Field(
        default=0.05, description="Share of domain's requests that may fail (5xx, connect, timeout, reset), rescued or not."
    )
    success_rate_min: Annotated[float, SHARE] = Field(
        default=0.95, description="Share of requests that must succeed for domain's clients."
    )
    latency_p95_ratio_max: Annotated[float, Number(1, 1000)] = Field(
        default=1.5, description="How many times legacy's 95th percentile domain's may be: 1.5 is half as slow again."
    )
    latency_min_requests: Annotated[int, Count(1, 10_000_000)] = Field(
        default=200, description="Requests per side below which latency is not judged."
    )
    consecutive_failures: Annotated[int, Count(1, 1_000_000)] = Field(
        default=20, description="Failures of domain in a row that act at once, without a window."
    )
    action: Annotated[str, Word(("rollback", "freeze", "alert"))] = Field(
        default="rollback", description="Roll back, stop the plan where it is, or only say so."
    )


class Fallback(Section):
    """When legacy answers a request that domain failed."""

    on: Annotated[tuple[str, ...], Listing(Trigger(), example='[connect, timeout, "503"]')] = Field(
        default=("connect", "timeout", "reset", "502", "503", "504"),
        description="What counts as failed: no connection, no answer in time, a broken connection, or a status of domain's.",
    )
    methods: Annotated[tuple[str, ...], Listing(Method(), example="[GET, HEAD]")] = Field(
        default=("GET", "HEAD", "OPTIONS", "PUT", "DELETE"),
        description=(
            "Methods that may be sent a second time once something was sent. Danger: with POST here a request can be "
            "carried out twice."
        ),
    )
    idempotency_key: Annotated[bool, Flag()] = Field(
        default=False,
        description=(
            "Whether a request with an `Idempotency-Key` may be sent a second time whatever its method. Danger: safe only "
            "if legacy knows the keys that domain has seen."
        ),
    )
    max_body_bytes: Annotated[int, Size(0, 64 << 20)] = Field(
        default=64 << 10,
        alias="max_body",
        description="Request bodies up to this size are held so that they can be sent again. Danger: memory, per request.",
    )
    budget: Annotated[float, SHARE] = Field(
        default=0.2,
        description="Share of the last 10 s' requests that may fall back. Danger: more can bring legacy down with domain.",
    )


class Mirror(Section):
    """Copies of requests for comparing both sides; nobody waits for them."""

    percent: Annotated[float, Percent()] = Field(default=0.0, description="Share of requests that are copied.")
    to: Annotated[str, Word(("domain", "legacy"))] = Field(default="domain", description="Which side gets the copies.")
    methods: Annotated[tuple[str, ...], Listing(Method(), example="[GET, HEAD]")] = Field(
        default=("GET", "HEAD"),
        description="Methods that are copied. Danger: a method that changes something changes it twice.",
    )
    max_body_bytes: Annotated[int, Size(0, 64 << 20)] = Field(
        default=256 << 10, alias="max_body", description="Bodies above this size are not copied or compared."
    )
    max_in_flight: Annotated[int, Count(1, 100_000)] = Field(
        default=64, description="Copies under way at once, per worker; what comes on top is dropped and counted."
    )
    ignore: Annotated[tuple[str, ...], Listing(Text(), example='["$.timestamp"]')] = Field(
        default=(), description="JSON paths whose differences don't matter."
    )
