"""Names and small values that several resources share.

Owns: cluster names, the header names of decisions, durations, the `@type` of extensions. Must not know: any resource.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, Final

Json = dict[str, Any]
"""A protobuf message in its JSON form, with the field names of the .proto files."""

LEGACY: Final = "legacy"
DOMAIN: Final = "domain"
DOMAIN_REPEATABLE: Final = "domain_repeatable"
"""Domain, then legacy for what domain failed: requests that may be sent twice."""
DOMAIN_ONCE: Final = "domain_once"
"""Domain, then legacy for what never reached domain: all other requests."""
OWN: Final = "own"
"""Envoy's own admin endpoint, for the four paths that the splitter answers itself."""

BACKEND_FIELD: Final = "X-Splitter-Backend"
REASON_FIELD: Final = "X-Splitter-Reason"
METADATA: Final = "splitter"
"""Namespace of what is written at endpoints: `backend`, by which an answer tells who gave it."""

_EXTENSIONS: Final = "type.googleapis.com/envoy.extensions."


def extension(name: str, of: str, **fields: object) -> Json:
    """An extension by its name, with its configuration: `of` is the message below `envoy.extensions`."""
    return {"name": name, "typed_config": {"@type": _EXTENSIONS + of, **fields}}


def seconds(duration_s: float) -> str:
    """A duration in the JSON form of protobuf."""
    return f"{duration_s:.9f}".rstrip("0").rstrip(".") + "s"


def overwrite(name: str, value: str) -> Json:
    """A header that replaces what there is of that name."""
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def if_absent(name: str, value: str) -> Json:
    """A header for messages that have none of that name."""
    return {"header": {"key": name, "value": value}, "append_action": "ADD_IF_ABSENT"}


def is_address(host: str) -> bool:
    """Whether a host is an address and not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
