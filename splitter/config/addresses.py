"""Where things are: what to listen on, backends' URLs, trusted networks, the state store.

Owns: reading these from text and writing them as text. Must not know: the schema, sockets, name resolution.
Invariants: nothing is resolved or opened here; what is read prints as text that reads as the same value.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import ClassVar, Final, Literal
from urllib.parse import parse_qsl, urlsplit

from splitter.config.kinds import Kind, shown

IpNetwork = IPv4Network | IPv6Network
Sender = IpNetwork | Literal["unix:"]
"""Who a connection comes from: an address of a network, or somebody of this machine over the unix socket."""

UNIX_PREFIX: Final = "unix:"
UNIX_SENDERS: Final = "unix:"
MAX_PORT: Final = 65_535
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_SUN_PATH_BYTES: Final = 107
"""Linux keeps a socket's path in 108 bytes with a NUL at the end (unix(7))."""

_HOST_NAME: Final = re.compile(r"(?=.{1,253}\.?$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?")
_LOOKS_LIKE_IPV4: Final = re.compile(r"[0-9.]+")


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """`host` without brackets; port 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than `localhost` could mean anything, so it does not."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    @property
    def is_any(self) -> bool:
        """Whether it means every address of the machine."""
        try:
            return ip_address(self.host).is_unspecified
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A unix socket; `path` is absolute."""

    path: str

    def __str__(self) -> str:
        return UNIX_PREFIX + self.path

    @property
    def is_loopback(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class BackendUrl:
    """One endpoint of a backend. `host` without brackets, in small letters."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{TcpAddress(self.host, self.port)}"


def read_host(text: str) -> str:
    """A host name or address, without brackets. Raises ValueError saying what is wrong."""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
        if ":" not in text:
            raise ValueError(f"has brackets around {shown(text)}, which is no IPv6 address")
    if text == "*":
        raise ValueError('must name an address: for all of them write "0.0.0.0" or "::"')
    if ":" in text:
        try:
            IPv6Address(text)
        except AddressValueError:
            raise ValueError(f"must be a host name or an address, not {shown(text)}") from None
        return text
    if _LOOKS_LIKE_IPV4.fullmatch(text):
        try:
            IPv4Address(text)
        except AddressValueError:
            raise ValueError(f"must be a host name or an address, not {shown(text)}") from None
        return text
    if not _HOST_NAME.fullmatch(text):
        raise ValueError(f"must be a host name or an address, not {shown(text)}")
    return text


def read_unix_path(text: str) -> str:
    """The path behind `unix:`. Raises ValueError saying what is wrong."""
    if not text.startswith("/"):
        raise ValueError(f"a unix socket needs an absolute path, such as unix:/run/splitter.sock, not {shown(text)}")
    if "\0" in text or text.endswith("/"):
        raise ValueError(f"is no path of a socket: {shown(text)}")
    if len(text.encode()) > _SUN_PATH_BYTES:
        raise ValueError(f"the path of a unix socket has at most {_SUN_PATH_BYTES} bytes, this one {len(text.encode())}")
    return text


def split_host_port(text: str) -> tuple[str, int | None]:
    """`host:port` or `[::1]:port` as host and port; `unix:/path` as itself and None. Raises ValueError."""
    if text.startswith(UNIX_PREFIX):
        return UNIX_PREFIX + read_unix_path(text.removeprefix(UNIX_PREFIX)), None
    host, separator, port = text.rpartition(":")
    if separator and ":" in host and not host.startswith("["):
        raise ValueError(f"an IPv6 address needs brackets: [{host}]:{port}, not {shown(text)}")
    if not separator or not host or not port.isascii() or not port.isdigit():
        raise ValueError(f"must be host:port, [IPv6]:port or unix:/path, not {shown(text)}")
    if len(port) > len(str(MAX_PORT)) or int(port) > MAX_PORT:
        raise ValueError(f"has port {port}; ports end at {MAX_PORT}")
    return read_host(host), int(port)


class Host(Kind[str]):
    """What to listen on: a host, or `unix:/path`."""

    words = "host, address or `unix:/path`"

    def read(self, given: object) -> str:
        text = self.text(given, "must be a host name, an address or unix:/path")
        if text.startswith(UNIX_PREFIX):
            return UNIX_PREFIX + read_unix_path(text.removeprefix(UNIX_PREFIX))
        host, separator, port = text.rpartition(":")
        if separator and port.isdigit() and (":" not in host or host.startswith("[")):
            raise ValueError(f"must be the host alone; give the port as `port: {port}`")
        return read_host(text)

    def show(self, value: str) -> str:
        return value


class ServerName(Kind[str]):
    """A name or an address that a server's certificate is to be for."""

    words = "host name or address"

    def read(self, given: object) -> str:
        return read_host(self.text(given, "must be a host name or an address").lower())

    def show(self, value: str) -> str:
        return value


class HostName(Kind[str]):
    """A name by which a host is called, without a port."""

    words = "host name"

    def read(self, given: object) -> str:
        text = self.text(given, "must be a host name")
        if ":" in text or "/" in text:
            raise ValueError(f"must be a host name alone, without scheme, port or path, not {shown(text)}")
        return read_host(text).lower()

    def show(self, value: str) -> str:
        return value


class Url(Kind[BackendUrl]):
    """The URL of one endpoint of a backend."""

    words = "URL such as `http://10.0.0.5:8001`"

    def read(self, given: object) -> BackendUrl:
        text = self.text(given, 'must be a URL such as "http://127.0.0.1:8001"')
        if not text.isascii():
            raise ValueError("has letters that no URL has: write the host in its ASCII form (xn--...)")
        if any(character <= " " or character == "\x7f" for character in text):
            raise ValueError(f"has blanks or control characters in it: {shown(text)}")
        scheme, separator, _ = text.partition("://")
        if not separator:
            raise ValueError(f"must begin with http:// or https://, as in http://{text.lstrip('/')}")
        default_port = _DEFAULT_PORTS.get(scheme.lower())
        if default_port is None:
            raise ValueError(f"must begin with http:// or https://, not {scheme}://")
        if "@" in text:  # not repeated: it may be a password
            raise ValueError("must not hold a user or password, nor any other @")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise ValueError(f"has no usable host or port: {shown(text)}") from None
        if parts.query or parts.fragment or text.endswith(("?", "#")):
            raise ValueError(f"must end after host and port, without query or fragment: {shown(text)}")
        if parts.path not in ("", "/"):
            raise ValueError(f"must have no path: requests keep theirs, so {shown(parts.path)} would have no effect")
        if port == 0 or parts.netloc.endswith(":"):
            raise ValueError(f"has no usable port: {shown(text)}")
        host = parts.netloc if port is None else parts.netloc.rpartition(":")[0]
        return BackendUrl(scheme.lower(), read_host(host.lower()), default_port if port is None else port)

    def show(self, value: BackendUrl) -> str:
        return str(value)


class HookUrl(Kind[str]):
    """The URL of something outside that is asked or told: http or https, with a path and a query if need be."""

    words = "URL such as `http://10.0.0.5:9000/may-go-on`"

    def read(self, given: object) -> str:
        text = self.text(given, 'must be a URL such as "http://127.0.0.1:9000/may-go-on"')
        if any(character <= " " or character >= "\x7f" for character in text):
            raise ValueError("must be printable ASCII without blanks")
        if "@" in text.partition("?")[0]:  # not repeated: it may be a password
            raise ValueError("must not hold a user or password, nor any other @")
        known = text.partition("?")[0]  # a query may be a secret
        scheme, separator, _ = known.partition("://")
        if not separator or scheme.lower() not in ("http", "https"):
            raise ValueError(f"must begin with http:// or https://, not {shown(known)}")
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise ValueError(f"has no usable host or port: {shown(known)}") from None
        if not host or port == 0 or parts.netloc.endswith(":"):
            raise ValueError(f"has no usable host or port: {shown(known)}")
        if parts.fragment or text.endswith("#"):
            raise ValueError(f"must have no fragment, since none is sent: {shown(known)}")
        read_host(host)
        return text

    def show(self, value: str) -> str:
        """Without the query."""
        path, separator, _ = value.partition("?")
        return f"{path}?***" if separator else path


class Network(Kind[IpNetwork]):
    """An address or a network in CIDR notation."""

    words = "address or network such as `10.0.0.0/8`"

    def read(self, given: object) -> IpNetwork:
        text = self.text(given, 'must be an address or a network such as "10.0.0.0/8"')
        try:
            return ip_network(text)
        except ValueError:
            pass
        try:
            whole = ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"must be an address or a network such as 10.0.0.0/8, not {shown(text)}") from None
        raise ValueError(f"names one host of a network: {text}; the network is {whole}")

    def show(self, value: IpNetwork) -> str:
        return str(value.network_address) if value.num_addresses == 1 else str(value)


class Senders(Kind[Sender]):
    """A network, or whoever connects over the unix socket: such a peer has no address to know it by."""

    words = f"{Network.words}, or `{UNIX_SENDERS}` for whoever connects over a unix socket"
    _NETWORK: ClassVar[Network] = Network()

    def read(self, given: object) -> Sender:
        if given == UNIX_SENDERS:
            return "unix:"
        if isinstance(given, str) and given.startswith(UNIX_PREFIX):
            raise ValueError(f'must be "{UNIX_SENDERS}" without a path: it stands for every client of the unix socket')
        return self._NETWORK.read(given)

    def show(self, value: Sender) -> str:
        return json.dumps(value) if value == UNIX_SENDERS else self._NETWORK.show(value)


class StateUrl(Kind[str]):
    """Where the state record is kept."""

    words = "`file:PATH` or `redis://HOST:PORT/DB?name=NAME`"

    def read(self, given: object) -> str:
        text = self.text(given, "must be file:PATH or redis://HOST:PORT/DB?name=NAME")
        scheme, _, rest = text.partition(":")
        if scheme == "file":
            if not rest or rest.endswith("/") or "\0" in rest:
                raise ValueError("must name a file, as in file:state/rollout.json")
            return text
        if scheme != "redis" or not rest.startswith("//"):  # not repeated: it may hold a password
            raise ValueError("must begin with file: or redis://")
        try:
            parts = urlsplit(text)
            port, host = parts.port, parts.hostname or ""
        except ValueError:
            raise ValueError("is no URL, as in redis://127.0.0.1:6379/0") from None
        if not host:
            raise ValueError("must name a host, as in redis://127.0.0.1:6379/0")
        read_host(host)
        if port == 0:
            raise ValueError("has no usable port")
        if parts.path.strip("/") and not re.fullmatch(r"/[0-9]{1,4}", parts.path):
            raise ValueError(f"must name the database by its number, as in /0, not {shown(parts.path)}")
        unknown = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if name != "name"]
        if unknown:
            raise ValueError(f"knows no parameter {shown(unknown[0])}, only name")
        return text

    def show(self, value: str) -> str:
        """Without the password."""
        return re.sub(r"//[^@/]*@", "//***@", value)
