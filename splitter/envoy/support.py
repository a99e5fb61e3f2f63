"""What Envoy can't do as the splitter does.

Owns: the settings that are refused, each by its name; what differs where nothing had to be refused (`docs/fleet.md` has the
same as a table). Must not know: how a resource is written.
Invariant: a setting that somebody has made is put into Envoy's words, or refused, or told here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from splitter.config import Config, KeySource, UnixAddress
from splitter.config.schema import DEFAULT, leaves
from splitter.envoy.words import is_address
from splitter.errors import Fault

_EVENTS: Final = frozenset({"connect", "timeout", "reset"})
_NO_EQUAL: Final = {
    "limits.body_bytes": "Envoy can only count a body by holding all of it",
    "limits.target_bytes": "Envoy has no limit for the target alone; limits.header_bytes covers it",
    "limits.max_connections": "Envoy closes what comes on top instead of letting it wait",
    "limits.drain_timeout": "it is an option of Envoy's command line: --drain-time-s",
    "listen.workers": "it is an option of Envoy's command line: --concurrency",
    "listen.proxy_protocol": "Envoy would believe a PROXY header of anybody",
    "fallback.idempotency_key": "Envoy's routes would have to know which requests carry one",
    "rollout.tunnel_grace": "Envoy leaves tunnels until they end",
}
"""Settings that are refused when they are not as by default. Their defaults are told as differences where they matter."""

_HTTP_LINES: Final = (
    "errors of Envoy's own have its response code details as code",
    "a request whose target is longer than limits.target_bytes is refused only when all headers exceed limits.header_bytes",
    "clients' connections are not limited in number",
    "a repeated header is hashed over all its values, sorted; the splitter hashes them as one list",
    "a request of HTTP/1.0 without a Host is refused",
    "no Upgrade but websocket is let through",
    "a blank behind a cookie's value is a part of it",
    "answers carry a Via, and a Date where the backend sent none",
)
_FAILURE_LINES: Final = (
    "fallback.budget is a share of the requests under way, not of those of the last ten seconds",
    "response_timeout also ends a response that pauses for so long; idle_timeout then never comes to pass",
    "idle_timeout and tunnel_idle_timeout are the longer one of both backends",
    "max_connections is for all of Envoy, not per worker; with the queue full, domain's clients get 503 and not legacy",
    "with every endpoint of both backends out, a request meant for one may be tried at the other",
    "a request that is forced to domain goes to legacy at once while all of domain is out",
    "an ejected endpoint comes back for all requests at once, not for one to try",
)
_TLS_LINES: Final = (
    "certificates are read once, when Envoy starts",
    "an endpoint may show the certificate of another endpoint of its backend",
)
_NOBODY_STEERS: Final = (
    "nobody steers this Envoy: no plan, no guardrails, no hooks, no rollback but another file",
    "the splitter's own paths are answered by Envoy: health by its /ready, metrics by its /stats/prometheus",
)


def refusals(config: Config) -> tuple[Fault, ...]:
    """What somebody has asked for and Envoy has no equal to, in the order of the configuration."""
    return tuple(_fault(config, path, message) for path, message in _refused(config))


def differences(config: Config) -> tuple[str, ...]:
    """A sentence for each thing that is not as it would be in the splitter."""
    return (*_NOBODY_STEERS, *_FAILURE_LINES, *_HTTP_LINES, *(_TLS_LINES if _speaks_tls(config) else ()))


def _refused(config: Config) -> Iterator[tuple[str, str]]:
    rollout = config.rollout
    yield from _refused_keys("rollout", rollout.key)
    for number, route in enumerate(rollout.routes):
        yield from _refused_keys(f"rollout.routes[{number}]", route.key or ())
    if rollout.salt:
        yield "rollout.salt", "Envoy hashes without a seed: every client would get another bucket"
    if rollout.force == "token":
        yield "rollout.force", "the admin token would stand in Envoy's configuration; open and off can be had"
    if config.mirror.percent:
        yield "mirror.percent", "Envoy copies requests, but nothing would compare the answers"
    yield from _refused_sections(config)
    events = _EVENTS & frozenset(config.fallback.on)
    if events not in (frozenset(), frozenset({"connect"}), _EVENTS):
        yield "fallback.on", "Envoy can't tell timeout and reset apart: give connect alone, or connect, timeout and reset"
    wanted, defaults = ({leaf.path: leaf.value for leaf in leaves(each)} for each in (config, Config()))
    for path, message in _NO_EQUAL.items():
        if wanted[path] != defaults[path]:  # a default that is written out asks for nothing
            yield path, message


def _refused_keys(path: str, keys: Sequence[KeySource]) -> Iterator[tuple[str, str]]:
    for source in keys:
        if source.kind == "jwt":
            yield f"{path}.key", f"Envoy can't hash a claim of a token: {source} would put its clients anywhere"


def _refused_sections(config: Config) -> Iterator[tuple[str, str]]:
    where = config.listen.address
    if not isinstance(where, UnixAddress) and not is_address(where.host):
        yield "listen.host", f"Envoy listens on addresses, not on names such as {where.host}"
    if config.listen.forwarded != "x":
        yield "listen.forwarded", "Envoy writes X-Forwarded-*, not Forwarded"
    if config.listen.traceparent != "pass":
        yield "listen.traceparent", "Envoy begins traces only for a tracing service"
    if "unix:" in config.listen.trusted_proxies:
        yield "listen.trusted_proxies", "Envoy knows its peers by their addresses, and those of a unix socket have none"
    if config.backends.legacy.response_timeout_s != config.backends.domain.response_timeout_s:
        places = [f"backends.{name}.response_timeout" for name in ("domain", "legacy")]
        given = [place for place in places if config.origins.get(place, DEFAULT) != DEFAULT]
        yield given[0], "Envoy has one for each route, whichever backend it ends at: give both the same"
    for name in ("legacy", "domain"):
        schemes = {url.scheme for url in getattr(config.backends, name).urls}
        if len(schemes) > 1:
            yield f"backends.{name}.urls", "Envoy speaks to all endpoints of a cluster alike: all http:// or all https://"


def _fault(config: Config, path: str, message: str) -> Fault:
    origin = config.origins.get(path, DEFAULT)
    layer, _, place = origin.partition(":")
    if layer == "file" and place.isdigit():
        return Fault(path, message, config.given.source, int(place))
    return Fault(path, message, place or config.given.source)


def _speaks_tls(config: Config) -> bool:
    urls = (*config.backends.legacy.urls, *config.backends.domain.urls)
    return config.listen.tls is not None or any(url.scheme == "https" for url in urls)
