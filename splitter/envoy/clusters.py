"""Backends as clusters: endpoints, probes, ejection, and who answers for domain.

Owns: what Envoy knows of `backends` and `fallback`. Must not know: which request goes where.
Invariants: legacy never stands in for anybody but domain, and domain for nobody; as long as one endpoint of domain is fit,
none of its requests is given to legacy unasked.
"""

from __future__ import annotations

from typing import Final

from splitter.config import Config
from splitter.config.addresses import BackendUrl, TcpAddress
from splitter.config.sections import BackendConfig
from splitter.envoy.tls import upstream_tls
from splitter.envoy.words import (
    DOMAIN,
    DOMAIN_ONCE,
    DOMAIN_REPEATABLE,
    LEGACY,
    METADATA,
    OWN,
    Json,
    extension,
    is_address,
    seconds,
)
from splitter.fallback import ALWAYS_ALLOWED
from splitter.outlier import MAX_FACTOR

_UNSENT: Final = "connect-failure,reset-before-request"
"""What Envoy calls a failure by which the backend can't have seen the request."""
_QUEUED_PER_CONNECTION: Final = 4
_EVENTS: Final = frozenset({"connect", "timeout", "reset"})
_ALL_UNLESS_NONE: Final = 100_000
"""Overprovisioning, in percent: one fit endpoint of a thousand is enough for a backend to keep all its requests. With
Envoy's 140, legacy would get a share as soon as a third of domain's endpoints are out."""
_ONLY_THE_FIT: Final[Json] = {"healthy_panic_threshold": {"value": 1}}
"""In percent: with every endpoint out one is tried all the same; with one fit, none that is out."""
_TO_LEGACY: Final[Json] = {
    "retry_priority": extension(
        "envoy.retry_priorities.previous_priorities",
        "retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
        update_frequency=1,
    )
}
KEEP_AS_IT_CAME: Final[Json] = {
    "header_key_format": {
        "stateful_formatter": extension(
            "preserve_case",
            "http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig",
            forward_reason_phrase=True,
            formatter_type_on_envoy_headers="PROPER_CASE",
        )
    }
}
"""Names of fields in their case, and reason phrases; what Envoy adds is written as usual."""


def clusters(config: Config, own: TcpAddress) -> list[Json]:
    """All of them. `own` is where Envoy's admin endpoint listens."""
    legacy, domain = config.backends.legacy, config.backends.domain
    return [
        _backend(LEGACY, legacy) | _protocol(_retry(_UNSENT)),
        _backend(DOMAIN, domain) | _protocol(None),
        _rescued(DOMAIN_REPEATABLE, config, repeatable=True),
        _rescued(DOMAIN_ONCE, config, repeatable=False),
        {
            "name": OWN,
            "connect_timeout": "1s",
            "type": "STATIC",
            "load_assignment": {"cluster_name": OWN, "endpoints": [{"lb_endpoints": [_endpoint(own)]}]},
        },
    ]


def _backend(name: str, backend: BackendConfig) -> Json:
    endpoints = [_endpoint(url) | _told(name) for url in backend.urls]
    secure = {"transport_socket": upstream_tls(backend)} if backend.urls[0].scheme == "https" else {}
    return {
        "name": name,
        "connect_timeout": seconds(backend.connect_timeout_s),
        "type": "STATIC" if all(is_address(url.host) for url in backend.urls) else "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": endpoints}],
            "policy": {"overprovisioning_factor": _ALL_UNLESS_NONE},
        },
        "common_lb_config": _ONLY_THE_FIT,
        "health_checks": [_probe(backend)],
        "outlier_detection": {
            "consecutive_gateway_failure": backend.eject.consecutive_failures,
            "enforcing_consecutive_gateway_failure": 100,
            "enforcing_consecutive_5xx": 0,
            "enforcing_success_rate": 0,
            "interval": seconds(min(1.0, backend.eject.for_s)),
            "base_ejection_time": seconds(backend.eject.for_s),
            "max_ejection_time": seconds(backend.eject.for_s * MAX_FACTOR),
            "max_ejection_time_jitter": "0s",
            "max_ejection_percent": 100,
            "successful_active_health_check_uneject_host": False,
        },
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": backend.max_connections * len(endpoints),
                    "max_pending_requests": backend.max_connections * _QUEUED_PER_CONNECTION * len(endpoints),
                    "max_requests": 1_000_000,
                    "max_retries": 1_000_000,
                }
            ]
        },
        **secure,
    }


def _probe(backend: BackendConfig) -> Json:
    health = backend.health
    return {
        "timeout": seconds(health.timeout_s),
        "interval": seconds(health.interval_s),
        # Envoy asks once a minute where there is no traffic, but a backend at 0 % is to be known as well.
        "no_traffic_interval": seconds(health.interval_s),
        "healthy_threshold": health.healthy_after,
        "unhealthy_threshold": health.unhealthy_after,
        "http_health_check": {
            "path": health.path,
            "expected_statuses": [{"start": 100, "end": 500}],
            # Envoy would take an endpoint out at the first of any other.
            "retriable_statuses": [{"start": 500, "end": 600}],
        },
    }


def _rescued(name: str, config: Config, *, repeatable: bool) -> Json:
    """Domain, with legacy behind it: when all of domain is out, and for the second try of a request."""
    events = frozenset(config.fallback.on) & _EVENTS
    statuses = sorted(int(word) for word in config.fallback.on if word.isdigit())
    words = [_UNSENT] if "connect" in events else []
    if repeatable:
        words += ["reset"] if "reset" in events else []
        words += ["retriable-status-codes"] if statuses else []
    retry = _retry(",".join(words)) | _TO_LEGACY
    if repeatable and statuses:
        retry["retriable_status_codes"] = statuses
    budget = {"budget_percent": {"value": config.fallback.budget * 100}, "min_retry_concurrency": ALWAYS_ALLOWED}
    return {
        "name": name,
        "connect_timeout": seconds(config.backends.domain.connect_timeout_s),
        "lb_policy": "CLUSTER_PROVIDED",
        "common_lb_config": _ONLY_THE_FIT,
        "cluster_type": extension(
            "envoy.clusters.aggregate", "clusters.aggregate.v3.ClusterConfig", clusters=[DOMAIN, LEGACY]
        ),
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": 1_000_000,
                    "max_pending_requests": 1_000_000,
                    "max_requests": 1_000_000,
                    "retry_budget": budget,
                }
            ]
        },
    } | _protocol(retry)


def _retry(retry_on: str) -> Json:
    """At the cluster, where it goes before what a route says: a route is for both sides, and an answer of legacy's is never
    asked for again."""
    backoff = {"base_interval": "0.001s", "max_interval": "0.001s"}
    return {"retry_on": retry_on, "num_retries": 1, "retry_back_off": backoff}


def _protocol(retry: Json | None) -> Json:
    options: Json = {"explicit_http_config": {"http_protocol_options": KEEP_AS_IT_CAME}}
    if retry is not None:
        options["retry_policy"] = retry
    of = "upstreams.http.v3.HttpProtocolOptions"
    return {"typed_extension_protocol_options": {f"envoy.extensions.{of}": extension("", of, **options)["typed_config"]}}


def _endpoint(where: BackendUrl | TcpAddress) -> Json:
    address = {"socket_address": {"address": where.host, "port_value": where.port}}
    # The name is what a certificate has to be for.
    return {"endpoint": {"address": address, "hostname": where.host}}


def _told(name: str) -> Json:
    return {"metadata": {"filter_metadata": {METADATA: {"backend": name}}}}
