"""Whose address a request came from, when it passed through other proxies on its way here.

Owns: addresses as proxies write them, who is believed, the syntax of `Forwarded` (RFC 7239).
Must not know: connections, what an address is used for.
Invariants: nothing a client sends raises here; what a peer reports counts only if that peer is trusted; of a list that can't
be read nothing is believed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from splitter.config import IpNetwork, Sender

Address = IPv4Address | IPv6Address
Fields = Mapping[bytes, bytes]
"""Values by lower-case name; repeated fields are one list."""


class Style(StrEnum):
    """Which fields tell a backend of the hops before it, and which of them are read of a trusted proxy."""

    X = "x"
    RFC7239 = "rfc7239"
    BOTH = "both"


def parse_address(text: str) -> Address | None:
    """An address as proxies write it: with or without port and brackets; IPv4 inside IPv6 becomes IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


class Trust:
    """Senders whose word is taken for what came before them. None stands for a peer on a unix socket."""

    __slots__ = ("_networks", "_unix")

    def __init__(self, senders: Iterable[Sender] = ()) -> None:
        networks: list[IpNetwork] = []
        self._unix = False
        for sender in senders:
            if isinstance(sender, str):
                self._unix = True
            else:
                networks.append(sender)
        self._networks = tuple(networks)

    def __bool__(self) -> bool:
        return self._unix or bool(self._networks)

    def __contains__(self, address: Address | None) -> bool:
        if address is None:
            return self._unix
        return any(address in network for network in self._networks if network.version == address.version)


def client_address(peer: str, fields: Fields, trust: Trust, style: Style = Style.X) -> str | None:
    """The client's address as text: the peer, or, when the peer is trusted, the last untrusted address it reports.

    None when there is none (a unix socket). An entry that is no address ends the walk: what stands left of it could be
    anything the client wrote.
    """
    address = parse_address(peer) if peer else None
    if address is None and peer:
        return None
    if trust and address in trust:
        for entry in _REPORTED[style](fields):
            reported = parse_address(entry)
            if reported is None:
                break
            address = reported
            if reported not in trust:
                break
    return None if address is None else str(address)


def _by_x_forwarded_for(fields: Fields) -> Iterator[str]:
    return reversed(fields.get(b"x-forwarded-for", b"").decode("latin-1").split(","))


def _by_forwarded(fields: Fields) -> Iterator[str]:
    elements = read_forwarded(fields.get(b"forwarded", b"")) or ()
    return (element.get("for", "") for element in reversed(elements))


_REPORTED: Final[Mapping[Style, Callable[[Fields], Iterator[str]]]] = {
    Style.X: _by_x_forwarded_for,
    Style.RFC7239: _by_forwarded,
    Style.BOTH: _by_x_forwarded_for,
}

# --- RFC 7239 -------------------------------------------------------------------------------------------------------

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PAIR: Final = re.compile(
    rb"(" + _TOKEN.pattern + rb")=(?:(" + _TOKEN.pattern + rb")|\"((?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*)\")"
)
_BETWEEN: Final = re.compile(rb"[ \t]*([;,])[ \t]*")
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)


def read_forwarded(value: bytes) -> tuple[Mapping[str, str], ...] | None:
    """The elements of a `Forwarded` field, each a mapping from lower-case names to values; None when it is malformed.

    Empty elements and pairs are allowed and left out (RFC 9110 section 5.6.1); a name twice in one element is not
    (RFC 7239 section 4).
    """
    elements: list[dict[str, str]] = []
    element: dict[str, str] = {}
    position, end = 0, len(value)
    while position < end:
        pair = _PAIR.match(value, position)
        if pair is not None:
            name = pair[1].lower().decode()
            if name in element:
                return None
            raw = pair[2] if pair[2] is not None else _ESCAPED.sub(rb"\1", pair[3])
            element[name] = raw.decode("latin-1")
            position = pair.end()
            if position == end:
                break
        between = _BETWEEN.match(value, position)
        if between is None:
            return None
        position = between.end()
        if between[1] == b"," and element:
            elements.append(element)
            element = {}
    if element:
        elements.append(element)
    return tuple(elements)


def write_node(address: str) -> bytes:
    """An address as a node of RFC 7239 section 6: IPv6 in brackets and quotes; `unknown` for a unix socket's peer."""
    if not address:
        return b"unknown"
    return b'"[' + address.encode() + b']"' if ":" in address else address.encode()


def write_value(text: bytes) -> bytes:
    """A value as RFC 7239 section 4 wants it: in quotes unless it is a token, as `a:8000` is not."""
    if _TOKEN.fullmatch(text):
        return text
    return b'"' + re.sub(rb'(["\\])', rb"\\\1", text) + b'"'
