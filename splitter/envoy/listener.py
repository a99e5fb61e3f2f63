"""The public side as a listener.

Owns: what Envoy does with a connection and a request before it is given a route: addresses, limits, the forwarding fields,
the access log, answers of its own.
Must not know: which request goes where.
Invariants: every byte of path and query but `force_domain` goes on as it came; of a peer that is not trusted no claim about
hops before it passes.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Final

from splitter.config import Config, UnixAddress
from splitter.envoy.clusters import KEEP_AS_IT_CAME
from splitter.envoy.routes import routes
from splitter.envoy.tls import downstream_tls
from splitter.envoy.words import BACKEND_FIELD, REASON_FIELD, Json, extension, if_absent, overwrite, seconds
from splitter.routing import FORCE_PARAMETER, TOKEN_FIELD, Table

_VIA: Final = "1.1 splitter"
_MIRROR_FIELD: Final = "x-splitter-mirror"
_ENVOYS_OWN: Final = ("x-envoy-external-address", "x-envoy-internal")

_WITHOUT_FORCE: Final = f"""
function envoy_on_request(handle)
  local target = handle:headers():get(":path")
  if not target or not target:find("{FORCE_PARAMETER.decode()}", 1, true) then return end
  local path, query = target:match("^([^?]*)%?(.*)$")
  if not path then return end
  local kept, found = {{}}, false
  for part in (query .. "&"):gmatch("([^&]*)&") do
    if part:match("^[^=]*") == "{FORCE_PARAMETER.decode()}" then found = true else kept[#kept + 1] = part end
  end
  if not found then return end
  if #kept > 0 then path = path .. "?" .. table.concat(kept, "&") end
  handle:headers():replace(":path", path)
end
"""
"""`routing.without_force` in Lua: Envoy's own way to remove a parameter writes the others anew."""


def listener(config: Config, table: Table) -> Json:
    """The listener with its routes."""
    address = config.listen.address
    if isinstance(address, UnixAddress):
        where: Json = {"pipe": {"path": address.path, "mode": config.listen.socket_mode}}
    else:
        where = {"socket_address": {"address": address.host, "port_value": address.port}}
        if address.host == "::":
            where["socket_address"]["ipv4_compat"] = True
    return {"name": "public", "address": where, "filter_chains": _chains(config, table)}


def _chains(config: Config, table: Table) -> list[Json]:
    """One for clients, and before it one for the proxies that are believed."""
    trusted = [network for network in config.listen.trusted_proxies if isinstance(network, IPv4Network | IPv6Network)]
    chains: list[Json] = [{"name": "clients", "filters": [_manager(config, table, ())]}]
    if trusted:
        ranges = [_range(network) for network in trusted]
        match = {"direct_source_prefix_ranges": ranges}
        chains.insert(0, {"name": "proxies", "filter_chain_match": match, "filters": [_manager(config, table, trusted)]})
    if config.listen.tls is not None:
        for chain in chains:
            chain["transport_socket"] = downstream_tls(config.listen.tls)
    return chains


def _range(network: IPv4Network | IPv6Network) -> Json:
    return {"address_prefix": str(network.network_address), "prefix_len": network.prefixlen}


def _manager(config: Config, table: Table, trusted: list[IPv4Network | IPv6Network] | tuple[()]) -> Json:
    limits = config.limits
    virtual_host: Json = {
        "name": "all",
        "domains": ["*"],
        "routes": routes(config, table),
        "request_headers_to_remove": [TOKEN_FIELD.decode(), _MIRROR_FIELD, *_ENVOYS_OWN],
        "request_headers_to_add": _forwarding_fields(is_trusted=bool(trusted), is_tcp=not _is_unix(config)),
    }
    fields: Json = {
        "stat_prefix": "public",
        "codec_type": "HTTP1",
        "route_config": {"name": "rollout", "virtual_hosts": [virtual_host]},
        "http_filters": [
            _lua(),
            extension("envoy.filters.http.router", "filters.http.router.v3.Router", suppress_envoy_headers=True),
        ],
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_protocol_options": KEEP_AS_IT_CAME | {"accept_http_10": True},
        "common_http_protocol_options": {
            "idle_timeout": seconds(limits.keepalive_timeout_s),
            "max_headers_count": limits.headers,
            "headers_with_underscores_action": "ALLOW",
        },
        "max_request_headers_kb": -(-limits.header_bytes // 1024),
        "request_headers_timeout": seconds(limits.header_timeout_s),
        "via": _VIA,
        "server_header_transformation": "PASS_THROUGH",
        "normalize_path": False,
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "generate_request_id": True,
        "preserve_external_request_id": True,
        "request_id_extension": {
            "typed_config": extension("", "request_id.uuid.v3.UuidRequestIdConfig", pack_trace_reason=False)["typed_config"]
        },
        "local_reply_config": {"body_format": _error_format()},
        "access_log": _access_log(config),
    }
    if trusted:
        cidrs = [_range(network) for network in trusted]
        fields["original_ip_detection_extensions"] = [
            extension(
                "envoy.http.original_ip_detection.xff", "http.original_ip_detection.xff.v3.XffConfig",
                xff_trusted_cidrs={"cidrs": cidrs}, skip_xff_append=True,
            )
        ]  # fmt: skip
    else:
        fields["use_remote_address"] = True
    of = "filters.network.http_connection_manager.v3.HttpConnectionManager"
    return extension("envoy.filters.network.http_connection_manager", of, **fields)


def _is_unix(config: Config) -> bool:
    return isinstance(config.listen.address, UnixAddress)


def _lua() -> Json:
    of = "filters.http.lua.v3.Lua"
    # The route is chosen by then, by the query as it came.
    return extension(
        "envoy.filters.http.lua", of, default_source_code={"inline_string": _WITHOUT_FORCE}, clear_route_cache=False
    )


def _forwarding_fields(*, is_trusted: bool, is_tcp: bool) -> list[Json]:
    peer, host = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", "%REQ(:AUTHORITY)%"
    if is_trusted:
        return [if_absent("X-Forwarded-Host", host), {"header": {"key": "X-Forwarded-For", "value": peer}}]
    return [overwrite("X-Forwarded-Host", host), *([overwrite("X-Forwarded-For", peer)] if is_tcp else [])]


def _error_format() -> Json:
    error = {"code": "%RESPONSE_CODE_DETAILS%", "message": "%LOCAL_REPLY_BODY%", "request_id": "%REQ(X-REQUEST-ID)%"}
    return {"json_format": {"error": error}}


def _access_log(config: Config) -> list[Json]:
    share = config.access_log.sample
    if not share:
        return []
    line = {
        "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
        "level": "info",
        "event": "request",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ)%",
        "status": "%RESPONSE_CODE%",
        "backend": f"%RESP({BACKEND_FIELD})%",
        "reason": f"%RESP({REASON_FIELD})%",
        "route": "%ROUTE_NAME%",
        "upstream": "%UPSTREAM_HOST%",
        "head_ms": "%RESPONSE_DURATION%",
        "duration_ms": "%DURATION%",
        "request_bytes": "%BYTES_RECEIVED%",
        "response_bytes": "%BYTES_SENT%",
        "error": "%RESPONSE_FLAGS%",
    }
    log = extension(
        "envoy.access_loggers.stdout", "access_loggers.stream.v3.StdoutAccessLog", log_format={"json_format": line}
    )
    if share < 1:
        numerator = {"numerator": round(share * 1_000_000), "denominator": "MILLION"}
        sampled = {
            "runtime_key": "splitter.access_log.sample",
            "percent_sampled": numerator,
            "use_independent_randomness": True,
        }
        log["filter"] = {"runtime_filter": sampled}
    return [log]
