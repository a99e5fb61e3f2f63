"""The sections about who goes where: rollout, fallback, mirror.

Owns: their keys, defaults and descriptions; the description of a field is its documentation (`docs/configuration.md` is made
of it). Must not know: files, lines, the environment, what depends on another section (`checks` does).
Invariants: immutable; a percent is given as buckets too (`percent_threshold`), exactly; names here carry units, `alias` is
the name in the file.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from splitter.config.addresses import HookUrl
from splitter.config.comparison import Comparison
from splitter.config.guardrails import StageLimits
from splitter.config.hooks import VariableName
from splitter.config.kinds import Flag, Listing, Named, Nullable, PartsError, Text, Word
from splitter.config.numbers import SHARE, Count, Duration, Percent, Size, threshold_of
from splitter.config.sections import Section
from splitter.config.traffic import Key, KeySource, Method, PathTemplate, RouteName, Trigger, template_parameters

DEFAULT_KEY: Final = (
    KeySource("header", "X-User-Id"),
    KeySource("cookie", "session_id"),
    KeySource("client_ip", ""),
)
_KEY_EXAMPLE: Final = '["header:X-User-Id", client_ip]'
_YEAR_S: Final = 366 * 86_400.0


def null_is_empty(given: object) -> object:
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
    confirm: Annotated[str | None, Nullable(HookUrl())] = Field(
        default=None, description="Wait, before the next stage, until this URL answers a POST with 200."
    )
    limits: StageLimits = Field(default=StageLimits(), description="Limits of this stage's own.")
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
    routes: Annotated[tuple[Route, ...], BeforeValidator(null_is_empty)] = Field(
        default=(), description="Requests with a percent or key of their own, in order; the first match wins."
    )
    plan: Annotated[tuple[Stage, ...], BeforeValidator(null_is_empty)] = Field(
        default=(), description="The stages of an automatic rollout, in order. Percents must not fall."
    )
    confirm_secret_env: Annotated[str | None, Nullable(VariableName())] = Field(
        default=None,
        description=(
            "Environment variable that holds the secret questions to `confirm` are signed with; `null`: they are not signed."
        ),
    )
    count_time_away: Annotated[bool, Flag()] = Field(
        default=False,
        description=(
            "Whether the time in which the splitter was down or asleep counts as time a stage was held. Danger: nobody "
            "was watching then."
        ),
    )
    tunnel_grace_s: Annotated[float | None, Nullable(Duration(0, 86_400))] = Field(
        default=None,
        alias="tunnel_grace",
        description="After a rollback, how long WebSockets and other tunnels to domain may go on; `null`: until they end.",
    )

    @property
    def percent_threshold(self) -> int:
        return threshold_of(self.percent)


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


class _Copies(Section):
    """Which requests are copied, and what that may cost."""

    percent: Annotated[float, Percent()] = Field(default=0.0, description="Share of requests that are copied.")
    to: Annotated[str, Word(("domain", "legacy"))] = Field(
        default="domain", description="Which side gets the copies: of requests that the other one served."
    )
    methods: Annotated[tuple[str, ...], Listing(Method(), example="[GET, HEAD]")] = Field(
        default=("GET", "HEAD"),
        description="Methods that are copied. Danger: a method that changes something changes it twice.",
    )
    max_body_bytes: Annotated[int, Size(0, 64 << 20)] = Field(
        default=256 << 10, alias="max_body", description="Requests with a body above this size, of either, are not compared."
    )
    max_in_flight: Annotated[int, Count(1, 100_000)] = Field(
        default=64, description="Copies under way at once, per worker; what comes on top is dropped and counted."
    )
    timeout_s: Annotated[float, Duration(0.01, 3600)] = Field(
        default=5.0, alias="timeout", description="How long a copy may take, from connecting to the last byte."
    )
    noise: Annotated[float, SHARE] = Field(
        default=0.1,
        description=(
            "Share of copied requests that legacy is asked once more, to learn what differs between legacy and itself. "
            "0: nothing is taken for noise."
        ),
    )

    @property
    def percent_threshold(self) -> int:
        return threshold_of(self.percent)


class Mirror(Comparison, _Copies):
    """Copies of requests for comparing both sides; nobody waits for them."""
