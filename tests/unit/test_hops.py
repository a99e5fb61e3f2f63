"""Whose address a request came from, and the syntax of `Forwarded`."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitter.hops import Style, Trust, client_address, read_forwarded, write_node, write_value

TRUSTED = Trust((ip_network("10.0.0.0/8"), ip_network("fd00::/8")))
UNIX = Trust(("unix:", ip_network("10.0.0.0/8")))


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", b"198.51.100.7", "192.0.2.1"),
        ("10.0.0.1", b"198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", b"6.6.6.6, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", b"198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", b"10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", b"198.51.100.7, nonsense", "10.0.0.1"),
        ("10.0.0.1", b"198.51.100.7, nonsense, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", b"198.51.100.7:1234", "198.51.100.7"),
        ("10.0.0.1", b"[2001:db8::1]:1234", "2001:db8::1"),
        ("10.0.0.1", b"", "10.0.0.1"),
        ("::ffff:192.0.2.1", None, "192.0.2.1"),
        ("::ffff:10.0.0.1", b"198.51.100.7", "198.51.100.7"),
        ("fd00::1", b"2001:DB8:0::1", "2001:db8::1"),
        ("fe80::1%eth0", None, "fe80::1"),
        ("", b"198.51.100.7", None),
        ("nonsense", b"198.51.100.7", None),
    ],
)
def test_the_clients_address(peer: str, forwarded_for: bytes | None, address: str | None) -> None:
    fields = {} if forwarded_for is None else {b"x-forwarded-for": forwarded_for}
    assert client_address(peer, fields, TRUSTED) == address
    assert client_address(peer, fields, TRUSTED, Style.BOTH) == address


def test_a_unix_sockets_peer_is_trusted_only_when_it_is_named() -> None:
    fields = {b"x-forwarded-for": b"6.6.6.6, 198.51.100.7, 10.0.0.2"}
    assert client_address("", fields, UNIX) == "198.51.100.7"
    assert client_address("", {}, UNIX) is None
    assert client_address("", fields, TRUSTED) is None
    assert (bool(Trust()), bool(Trust(("unix:",)))) == (False, True)


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        (b"for=198.51.100.7", "198.51.100.7"),
        (b"For=6.6.6.6, for=198.51.100.7;proto=https, for=10.0.0.2", "198.51.100.7"),
        (b'for="[2001:db8::1]:47011";by=10.0.0.9', "2001:db8::1"),
        (b'for="198.51.100.7:80"', "198.51.100.7"),
        (b"for=198.51.100.7, for=_hidden, for=10.0.0.2", "10.0.0.2"),
        (b"for=198.51.100.7, for=unknown", "10.0.0.1"),
        (b"for=198.51.100.7, proto=https", "10.0.0.1"),
        (b'for=198.51.100.7, for="', "10.0.0.1"),
        (b"198.51.100.7", "10.0.0.1"),
        (b"", "10.0.0.1"),
    ],
)
def test_the_clients_address_by_forwarded(forwarded: bytes, address: str) -> None:
    fields = {b"forwarded": forwarded, b"x-forwarded-for": b"203.0.113.9"}
    assert client_address("10.0.0.1", fields, TRUSTED, Style.RFC7239) == address
    assert client_address("192.0.2.1", fields, TRUSTED, Style.RFC7239) == "192.0.2.1"
    assert client_address("10.0.0.1", fields, TRUSTED) == "203.0.113.9"


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        (b'for="_gazonk"', ({"for": "_gazonk"},)),
        (b'For="[2001:db8:cafe::17]:4711"', ({"for": "[2001:db8:cafe::17]:4711"},)),
        (b"for=192.0.2.60;proto=http;by=203.0.113.43", ({"for": "192.0.2.60", "proto": "http", "by": "203.0.113.43"},)),
        (b"for=192.0.2.43, for=198.51.100.17", ({"for": "192.0.2.43"}, {"for": "198.51.100.17"})),
        (b'for=a;host="a, b;c=\\"d\\"", for=b', ({"for": "a", "host": 'a, b;c="d"'}, {"for": "b"})),
        (b" ,for=a;;proto=b ;,, ", ({"for": "a", "proto": "b"},)),
        (b"for=a ; proto=b", ({"for": "a", "proto": "b"},)),
        (b"", ()),
        (b";,", ()),
    ],
)
def test_what_is_read_of_forwarded(value: bytes, elements: tuple[dict[str, str], ...]) -> None:
    assert read_forwarded(value.strip()) == elements


@pytest.mark.parametrize(
    "value",
    [b"for", b"for=", b"=a", b"for=a for=b", b"for=[::1]", b"for=a:80", b'for="a', b'for="a"b', b"for=a;For=b", b"for =a",
     b'for="a\x00"', b'for="a\\', b"for=a/b"],
)  # fmt: skip
def test_what_is_no_forwarded(value: bytes) -> None:
    assert read_forwarded(value) is None


@given(st.ip_addresses() | st.just(""), st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_what_is_written_is_read(address: object, host: str) -> None:
    value = b"for=" + write_node(str(address)) + b";host=" + write_value(host.encode())
    (element,) = read_forwarded(value) or ()
    assert element["host"] == host
    assert element["for"].strip("[]") == (str(address) or "unknown")


@given(st.binary(max_size=60))
def test_nothing_raises(value: bytes) -> None:
    read_forwarded(value)
    client_address("10.0.0.1", {b"forwarded": value, b"x-forwarded-for": value}, TRUSTED, Style.RFC7239)
    client_address("10.0.0.1", {b"x-forwarded-for": value}, TRUSTED)
