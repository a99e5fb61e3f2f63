"""The precedence table as routes.

Owns: which request matches, which cluster it goes to, what its answer says of that.
Must not know: endpoints, listeners, who set the percent.
Invariants: the order of `splitter.routing.Router.decide`; each rule ends in a route that takes whatever is left of it, so no
request falls through to the rule behind; buckets below the threshold, and only those, are domain's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from splitter.config import Config, KeySource, UnixAddress
from splitter.config.traffic import template_parameters
from splitter.envoy.words import (
    BACKEND_FIELD,
    DOMAIN_ONCE,
    DOMAIN_REPEATABLE,
    LEGACY,
    METADATA,
    OWN,
    REASON_FIELD,
    Json,
    if_absent,
    overwrite,
    seconds,
)
from splitter.routing import BUCKETS, FORCE_PARAMETER, OWN_PATHS, Backend, Force, Reason, Rule, Table

_FORCED: Final = {True: "(?i:true|1|yes|on)", False: "(?i:false|0|no|off)"}
_OWN_ANSWERS: Final = {"/api/v1/monitoring/metrics": "/stats/prometheus"}
_OTHER_OWN_ANSWERS: Final = "/ready"
_SOMETHING: Final = {"safe_regex": {"regex": ".+"}}


class Kind(Enum):
    """How a request may be sent a second time."""

    TUNNEL = "tunnel"
    """A WebSocket: only if nothing of it arrived, and it may be silent for long."""
    REPEATABLE = "repeatable"
    ONCE = "once"


@dataclass(frozen=True, slots=True)
class _Choice:
    """One way a rule may end. `source` is the key that is hashed, None: `side` gets all of it."""

    label: str
    headers: tuple[Json, ...] = ()
    query: tuple[Json, ...] = ()
    source: KeySource | None = None
    side: Backend = Backend.LEGACY
    reason: Reason = Reason.BUCKET


def routes(config: Config, table: Table) -> list[Json]:
    """In order; the first that matches wins."""
    return [*_own(), *(route for rule in (*table.routes, table.default) for route in _rule(config, table, rule))]


def _own() -> Iterator[Json]:
    for path in sorted(name.decode() for name in OWN_PATHS):
        rewritten = _OWN_ANSWERS.get(path, _OTHER_OWN_ANSWERS)
        yield {"name": "internal", "match": {"path": path}, "route": {"cluster": OWN, "prefix_rewrite": rewritten}}


def _rule(config: Config, table: Table, rule: Rule) -> Iterator[Json]:
    repeatable = frozenset(method.encode() for method in config.fallback.methods) | rule.fallback_methods
    methods = {
        Kind.TUNNEL: rule.methods,
        Kind.REPEATABLE: repeatable & rule.methods if rule.methods else repeatable,
        Kind.ONCE: rule.methods,
    }
    choices = tuple(_choices(config, table, rule))
    for kind in Kind:
        if kind is Kind.REPEATABLE and not methods[kind]:
            continue
        for choice in choices:
            headers = [*_of_method(methods[kind]), *choice.headers]
            if kind is Kind.TUNNEL:
                is_websocket = {"exact": "websocket", "ignore_case": True}
                headers.insert(0, {"name": "upgrade", "string_match": is_websocket})
            match = _path(rule.template)
            if headers:
                match["headers"] = headers
            if choice.query:
                match["query_parameters"] = list(choice.query)
            route: Json = {
                "name": rule.name,
                "match": match,
                "metadata": {"filter_metadata": {METADATA: {"kind": kind.value, "choice": choice.label}}},
                "route": _action(config, rule, kind, choice),
            }
            if choice.source or choice.side is Backend.DOMAIN:
                # Where domain has no endpoint Envoy answers itself, and nothing tells who it was. Not at the cluster: there
                # it is asked what is absent before anything is set.
                route["response_headers_to_add"] = [
                    if_absent(BACKEND_FIELD, Backend.DOMAIN.value), if_absent(REASON_FIELD, choice.reason.value),
                ]  # fmt: skip
            if kind is Kind.REPEATABLE:  # how much of it is held to be sent again
                route["request_body_buffer_limit"] = config.fallback.max_body_bytes
            yield route


def _of_method(methods: frozenset[bytes]) -> list[Json]:
    names = sorted(method.decode() for method in methods)
    if not names:
        return []
    if len(names) == 1:
        return [{"name": ":method", "string_match": {"exact": names[0]}}]
    return [{"name": ":method", "string_match": {"safe_regex": {"regex": "|".join(map(re.escape, names))}}}]


def _path(template: str | None) -> Json:
    if template is None:
        return {"prefix": "/"}
    if not template_parameters(template):
        return {"prefix": template[:-1]} if template.endswith("*") else {"path": template}
    return {"safe_regex": {"regex": _pattern(template)}}


def _pattern(template: str, captured: str = "") -> str:
    """A template as an RE2 pattern over the path alone, with `captured` as its only group."""
    rest = template.endswith("*")
    pattern = re.escape(template.removesuffix("*"))
    for name in template_parameters(template):
        segment = "([^/?]+)" if name == captured else "[^/?]+"
        pattern = pattern.replace(re.escape(f"{{{name}}}"), segment)
    return pattern + (".*" if rest else "")


# --- who goes where -------------------------------------------------------------------------------------------------


def _choices(config: Config, table: Table, rule: Rule) -> Iterator[_Choice]:
    if not table.domain_enabled or table.rolled_back:
        yield _Choice("off", reason=Reason.ROLLBACK if table.domain_enabled else Reason.DISABLED)
        return
    if table.force is not Force.OFF:
        for wanted, side in ((False, Backend.LEGACY), (True, Backend.DOMAIN)):
            value: Json = {"name": FORCE_PARAMETER.decode(), "string_match": {"safe_regex": {"regex": _FORCED[wanted]}}}
            yield _Choice(f"forced-{side.value}", query=(value,), side=side, reason=Reason.FORCED)
    for source in rule.sources:
        label = str(source)
        match source.kind:
            case "header":
                # A header that is absent counts as empty here, and an empty one is no key.
                filled = {"name": source.name, "string_match": {"exact": ""}, "treat_missing_header_as_empty": True}
                yield _Choice(label, headers=(filled | {"invert_match": True},), source=source)
            case "cookie":
                cookie = {"safe_regex": {"regex": _cookie(source.name)}}
                yield _Choice(label, headers=({"name": "cookie", "string_match": cookie},), source=source)
            case "query":
                yield _Choice(label, query=({"name": source.name, "string_match": _SOMETHING},), source=source)
            case "path":
                yield _Choice(label, source=source)
                return
            case "client_ip" if not isinstance(config.listen.address, UnixAddress):
                yield _Choice(label, source=source)
                return
    yield _Choice("no-key", reason=Reason.NO_KEY)


def _cookie(name: str) -> str:
    return rf'(?:.*;)?[ \t]*{re.escape(name)}=(?:[^;"][^;]*|"[^;"][^;]*)(?:;.*)?'


def _action(config: Config, rule: Rule, kind: Kind, choice: _Choice) -> Json:
    domain = DOMAIN_REPEATABLE if kind is Kind.REPEATABLE else DOMAIN_ONCE
    sides: tuple[tuple[str, int, list[Json]], ...] = (
        (domain, rule.threshold, _told_by_endpoint(choice.reason)),
        (LEGACY, BUCKETS - rule.threshold, _told(Backend.LEGACY, choice.reason)),
    )
    action: Json = {"timeout": "0s"}
    if choice.source is None:
        sides = tuple(
            (name, BUCKETS, told) for name, _, told in sides if (name == LEGACY) == (choice.side is Backend.LEGACY)
        )
    else:
        action["hash_policy"] = [_hashed(rule, choice.source)]
    action["weighted_clusters"] = {
        # Envoy counts off the weights in this order: the buckets below the threshold are the first one's.
        "clusters": [
            {"name": name, "weight": weight, "response_headers_to_remove": [BACKEND_FIELD, REASON_FIELD],
             "response_headers_to_add": told}
            for name, weight, told in sides
        ],
    }  # fmt: skip
    if choice.source is not None:
        action["weighted_clusters"]["use_hash_policy"] = True
    backends = config.backends.domain, config.backends.legacy
    if kind is Kind.TUNNEL:
        action["idle_timeout"] = seconds(max(one.tunnel_idle_timeout_s for one in backends))
        return action
    # Which requests are sent again is said at the cluster; of this only the time counts.
    action["retry_policy"] = {"per_try_idle_timeout": seconds(config.backends.domain.response_timeout_s)}
    action["idle_timeout"] = seconds(max(max(one.idle_timeout_s, one.response_timeout_s) for one in backends))
    return action


def _hashed(rule: Rule, source: KeySource) -> Json:
    match source.kind:
        case "header":
            return {"header": {"header_name": source.name}}
        case "cookie":
            return {"cookie": {"name": source.name}}
        case "query":
            return {"query_parameter": {"name": source.name}}
        case "path":
            whole = f"^{_pattern(rule.template or '', source.name)}(?:\\?.*)?$"
            rewrite = {"pattern": {"regex": whole}, "substitution": r"\1"}
            return {"header": {"header_name": ":path", "regex_rewrite": rewrite}}
        case _:
            return {"connection_properties": {"source_ip": True}}


def _told(backend: Backend, reason: Reason) -> list[Json]:
    return [overwrite(BACKEND_FIELD, backend.value), overwrite(REASON_FIELD, reason.value)]


def _told_by_endpoint(reason: Reason) -> list[Json]:
    """Who answered is known by the endpoint: what was domain's may have been legacy's in the end."""
    answered_by = f"xds.upstream_host_metadata.filter_metadata['{METADATA}']['backend']"
    otherwise = f"'{Reason.FALLBACK}'"
    if reason is Reason.BUCKET:
        otherwise = f"upstream.request_attempt_count > 1u ? {otherwise} : '{Reason.UNHEALTHY}'"
    return [
        overwrite(BACKEND_FIELD, f"%UPSTREAM_METADATA({METADATA}:backend)%"),
        overwrite(REASON_FIELD, f"%CEL({answered_by} == '{Backend.DOMAIN}' ? '{reason}' : {otherwise})%"),
    ]
