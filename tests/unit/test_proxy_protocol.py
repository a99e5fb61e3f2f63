"""PROXY protocol headers: what is read, what is refused and how soon."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitter.proxy_protocol import MAX_BYTES, SIGNATURE_2, ProxyHeader, ProxyHeaderError, read_proxy_header

FOUR = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + (40000).to_bytes(2, "big") + (443).to_bytes(2, "big")
SIX = bytes.fromhex("20010db800000000000000000000000120010db8000000000000000000000002") + b"\x9c\x40\x01\xbb"
UNIX = b"/run/a".ljust(108, b"\0") * 2
TLV = b"\x04\x00\x03abc"


def binary(command: int, family: int, body: bytes, version: int = 2) -> bytes:
    return SIGNATURE_2 + bytes([version << 4 | command, family]) + len(body).to_bytes(2, "big") + body


VALID = {
    "v1 TCP4": (b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n", "192.0.2.1"),
    "v1 TCP6": (b"PROXY TCP6 2001:DB8::1 ::1 65535 0\r\n", "2001:db8::1"),
    "v1 the longest": (b"PROXY TCP6 " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n", "ffff:" * 7 + "ffff"),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", None),
    "v1 UNKNOWN with addresses": (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
    "v2 TCP4": (binary(1, 0x11, FOUR), "192.0.2.1"),
    "v2 TCP4 with TLV": (binary(1, 0x11, FOUR + TLV), "192.0.2.1"),
    "v2 TCP6": (binary(1, 0x21, SIX), "2001:db8::1"),
    "v2 TCP6 with TLVs": (binary(1, 0x21, SIX + TLV * 100), "2001:db8::1"),
    "v2 UNIX": (binary(1, 0x31, UNIX), None),
    "v2 UDP": (binary(1, 0x12, FOUR), None),
    "v2 UNSPEC": (binary(1, 0x00, b""), None),
    "v2 UNSPEC with something": (binary(1, 0x00, b"abc"), None),
    "v2 LOCAL": (binary(0, 0x00, b""), None),
    "v2 LOCAL with addresses": (binary(0, 0x11, FOUR), None),
    "v2 LOCAL of an unknown family": (binary(0, 0xFF, b"a"), None),
    "v2 the longest": (binary(1, 0x11, FOUR.ljust(0xFFFF, b"\0")), "192.0.2.1"),
}

REFUSED = {
    "a request": b"GET / HTTP/1.1\r\n",
    "one wrong byte": b"X",
    "v1 in small letters": b"proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
    "v1 without a kind": b"PROXY \r\n",
    "v1 of an unknown kind": b"PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
    "v1 UNKNOWNX": b"PROXY UNKNOWNX\r\n",
    "v1 two blanks": b"PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n",
    "v1 a blank at the end": b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n",
    "v1 a port missing": b"PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
    "v1 a port too large": b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n",
    "v1 the other port too large": b"PROXY TCP4 192.0.2.1 198.51.100.2 2 65536\r\n",
    "v1 a port with zeros": b"PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
    "v1 a port with a sign": b"PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n",
    "v1 IPv6 under TCP4": b"PROXY TCP4 ::1 ::2 1 2\r\n",
    "v1 IPv4 under TCP6": b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
    "v1 an octet too large": b"PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n",
    "v1 a name": b"PROXY TCP4 localhost 198.51.100.2 1 2\r\n",
    "v1 a bare LF": b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\nGET / HTTP/1.1\r\n",
    "v1 a NUL": b"PROXY TCP4 192.0.2.1\0 198.51.100.2 1 2\r\n",
    "v1 too long": b"PROXY UNKNOWN " + b"x" * 93,
    "v2 version 1": binary(1, 0x11, FOUR, version=1),
    "v2 version 3": binary(1, 0x11, FOUR, version=3),
    "v2 unknown command": binary(2, 0x11, FOUR),
    "v2 unknown family": binary(1, 0x41, FOUR),
    "v2 unknown protocol": binary(1, 0x13, FOUR),
    "v2 TCP4 too short": binary(1, 0x11, FOUR[:-1]),
    "v2 TCP6 too short": binary(1, 0x21, FOUR),
    "v2 UNIX too short": binary(1, 0x31, UNIX[:-1]),
    "v2 a byte of the signature wrong": SIGNATURE_2[:-1] + b"\r" + binary(1, 0x11, FOUR)[12:],
}


@pytest.mark.parametrize("rest", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\r\n"], ids=["alone", "request", "CRLF"])
@pytest.mark.parametrize(("data", "peer"), VALID.values(), ids=VALID)
def test_what_is_read(data: bytes, peer: str | None, rest: bytes) -> None:
    assert read_proxy_header(data + rest) == ProxyHeader(peer, len(data))
    assert len(data) <= MAX_BYTES


@pytest.mark.parametrize("data", [data for data, _ in VALID.values() if len(data) < 1000])
def test_every_part_of_it_waits_for_the_rest(data: bytes) -> None:
    assert [read_proxy_header(data[:size]) for size in range(len(data))] == [None] * len(data)


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_is_refused(data: bytes) -> None:
    with pytest.raises(ProxyHeaderError):
        read_proxy_header(data)
    verdicts = [judged(data[:size]) for size in range(len(data) + 1)]
    refused_from = verdicts.index("refused")
    assert verdicts == [None] * refused_from + ["refused"] * (len(verdicts) - refused_from)


def test_a_wrong_length_is_refused_before_its_bytes_came() -> None:
    with pytest.raises(ProxyHeaderError, match="too short"):
        read_proxy_header(binary(1, 0x21, FOUR)[:16])
    with pytest.raises(ProxyHeaderError, match="version 15"):
        read_proxy_header(SIGNATURE_2 + b"\xf1")


def judged(data: bytes) -> ProxyHeader | str | None:
    try:
        return read_proxy_header(data)
    except ProxyHeaderError:
        return "refused"


_SEEDS = st.sampled_from([*(data for data, _ in VALID.values() if len(data) < 1000), *REFUSED.values()])


@given(_SEEDS, st.integers(0, 300), st.binary(max_size=3), st.integers(0, 2))
def test_more_bytes_never_change_a_verdict(seed: bytes, place: int, put: bytes, cut: int) -> None:
    data = seed[:place] + put + seed[place + cut :]
    first = next((found for size in range(len(data) + 1) if (found := judged(data[:size])) is not None), None)
    assert judged(data) == first
    assert judged(data + b"anything") == first or first is None


@given(st.ip_addresses(), st.ip_addresses(v=4), st.integers(0, 0xFFFF), st.binary(max_size=50))
def test_any_address_comes_back(source: object, other: object, port: int, rest: bytes) -> None:
    ports = port.to_bytes(2, "big") * 2
    version = getattr(source, "version", 0)
    packed = getattr(source, "packed", b"")
    data = binary(1, 0x21 if version == 6 else 0x11, packed * 2 + ports)
    assert read_proxy_header(data + rest) == ProxyHeader(str(source), len(data))
    line = f"PROXY TCP{version} {source} {source if version == 6 else other} {port} {port}\r\n".encode()
    assert read_proxy_header(line + rest) == ProxyHeader(str(source), len(line))
