"""The header a proxy in front puts before a connection's first byte to say whose it is: PROXY protocol, versions 1 and 2.

Owns: the syntax, as HAProxy's specification (proxy-protocol.txt) has it. Must not know: sockets, TLS, who is trusted.
Invariants: a header is read exactly to its end, so that what follows is untouched; bytes that can't become a header are
refused as soon as that is certain; no header is longer than `MAX_BYTES`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

SIGNATURE_1: Final = b"PROXY "
SIGNATURE_2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED_BYTES: Final = 16
MAX_BYTES: Final = _FIXED_BYTES + 0xFFFF

_LINE_BYTES: Final = 107
"""The longest line of version 1, with its CRLF (section 2.1)."""
_UNKNOWN: Final = re.compile(rb"UNKNOWN(?: [^\r\n]*)?")
_KNOWN: Final = re.compile(rb"(TCP[46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})")

_LOCAL: Final = 0
_PROXY: Final = 1
_STREAM_4: Final = 0x11
_STREAM_6: Final = 0x21
_ADDRESS_BYTES: Final = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}
"""Family and protocol to the length of the addresses: unspecified, then TCP and UDP over IPv4, IPv6 and unix."""


class ProxyHeaderError(ValueError):
    """The bytes are no PROXY header; the message says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """`peer` is the client's address; None when the header names none and the connection's own counts (health checks of the
    proxy itself, clients without an IP address). `size_bytes`: where what the client sent begins."""

    peer: str | None
    size_bytes: int


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """The header `data` begins with; None while it is not complete. Raises ProxyHeaderError."""
    if data.startswith(SIGNATURE_1):
        return _read_line(data)
    if data.startswith(SIGNATURE_2):
        return _read_binary(data)
    if SIGNATURE_1.startswith(data) or SIGNATURE_2.startswith(data):
        return None
    raise ProxyHeaderError("no PROXY header")


def _read_line(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _LINE_BYTES)
    if end < 0:
        if len(data) >= _LINE_BYTES:
            raise ProxyHeaderError(f"the PROXY line is longer than {_LINE_BYTES} bytes")
        return None
    line = data[len(SIGNATURE_1) : end]
    if _UNKNOWN.fullmatch(line):
        return ProxyHeader(None, end + 2)
    found = _KNOWN.fullmatch(line)
    if found is None or int(found[4]) > 0xFFFF or int(found[5]) > 0xFFFF:
        raise ProxyHeaderError("the PROXY line is malformed")
    kind = IPv4Address if found[1] == b"TCP4" else IPv6Address
    try:
        source = kind(found[2].decode())
        kind(found[3].decode())
    except AddressValueError:
        raise ProxyHeaderError("the PROXY line has an address that is none") from None
    return ProxyHeader(str(source), end + 2)


def _read_binary(data: bytes) -> ProxyHeader | None:
    if len(data) < _FIXED_BYTES:
        if len(data) > len(SIGNATURE_2):
            _check_command(data[12])
        return None
    command, family, length = _check_command(data[12]), data[13], int.from_bytes(data[14:16], "big")
    size_bytes = _FIXED_BYTES + length
    if command == _PROXY:  # with LOCAL everything behind the length is skipped, whatever it is (section 2.2)
        if family not in _ADDRESS_BYTES:
            raise ProxyHeaderError(f"the PROXY header has the unknown address family 0x{family:02x}")
        if length < _ADDRESS_BYTES[family]:
            raise ProxyHeaderError("the PROXY header is too short for its addresses")
    if len(data) < size_bytes:
        return None
    if command == _PROXY and family == _STREAM_4:
        return ProxyHeader(str(IPv4Address(data[16:20])), size_bytes)
    if command == _PROXY and family == _STREAM_6:
        return ProxyHeader(str(IPv6Address(data[16:32])), size_bytes)
    return ProxyHeader(None, size_bytes)


def _check_command(byte: int) -> int:
    version, command = byte >> 4, byte & 0xF
    if version != 2:
        raise ProxyHeaderError(f"the PROXY header has version {version}")
    if command not in (_LOCAL, _PROXY):
        raise ProxyHeaderError(f"the PROXY header has the unknown command {command}")
    return command
