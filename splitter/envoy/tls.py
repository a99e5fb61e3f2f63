"""TLS on both sides, in Envoy's words.

Owns: `listen.tls` and `backends.*.tls`. Must not know: what is in a file, what is spoken within.
Invariant: what the splitter would check of a certificate, Envoy checks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from splitter.config.sections import BackendConfig, Tls
from splitter.envoy.words import Json, extension, is_address

_VERSIONS: Final = {"1.2": "TLSv1_2", "1.3": "TLSv1_3"}
_SPOKEN: Final = ["http/1.1"]
_SOCKET: Final = "envoy.transport_sockets.tls"


def downstream_tls(tls: Tls) -> Json:
    """The public side."""
    common: Json = {
        "tls_params": _params(tls.min_version),
        "tls_certificates": [_certificate(tls.cert, tls.key)],
        "alpn_protocols": _SPOKEN,
    }
    if tls.client_ca is not None:
        common["validation_context"] = {"trusted_ca": _file(tls.client_ca)}
    return extension(
        _SOCKET,
        "transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context=common,
        require_client_certificate=tls.client_ca is not None,
    )


def upstream_tls(backend: BackendConfig) -> Json:
    """The side of a backend whose URLs are https://."""
    tls = backend.tls
    common: Json = {"tls_params": _params("1.2"), "alpn_protocols": _SPOKEN}
    if tls.cert is not None:
        common["tls_certificates"] = [_certificate(tls.cert, tls.key or tls.cert)]
    names = [tls.server_name] if tls.server_name else sorted({url.host for url in backend.urls})
    if tls.verify:
        trusted: Json = {"system_root_certs": {}} if tls.ca is None else {"trusted_ca": _file(tls.ca)}
        common["validation_context"] = trusted | {"match_typed_subject_alt_names": [_alternative(name) for name in names]}
    fields: Json = {}
    if not any(is_address(name) for name in names):  # which is no name to ask for (RFC 6066 section 3)
        fields = {"sni": tls.server_name} if tls.server_name else {"auto_host_sni": True}
    return extension(_SOCKET, "transport_sockets.tls.v3.UpstreamTlsContext", common_tls_context=common, **fields)


def _params(oldest: str) -> Json:
    return {"tls_minimum_protocol_version": _VERSIONS[oldest], "tls_maximum_protocol_version": "TLSv1_3"}


def _certificate(chain: Path, key: Path) -> Json:
    return {"certificate_chain": _file(chain), "private_key": _file(key)}


def _file(path: Path) -> Json:
    return {"filename": str(path)}


def _alternative(name: str) -> Json:
    return {"san_type": "IP_ADDRESS" if is_address(name) else "DNS", "matcher": {"exact": name}}
