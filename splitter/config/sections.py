"""The sections about addresses, backends, limits, logs and state.

Owns: their keys, defaults and descriptions; the description of a field is its documentation (`docs/configuration.md` is made
of it). Must not know: files, lines, the environment, what depends on another section (`checks` does).
Invariants: immutable; every field has a default, so every section may be left out; names here carry units, `alias` is the
name in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from splitter.client_tls import ClientTls
from splitter.config.addresses import (
    MAX_PORT,
    UNIX_PREFIX,
    BackendUrl,
    Host,
    HostName,
    Sender,
    Senders,
    ServerName,
    StateUrl,
    TcpAddress,
    UnixAddress,
    Url,
)
from splitter.config.files import FileMode, FilePath, TlsVersion
from splitter.config.kinds import Flag, Kind, Listing, Nullable, Word, shown
from splitter.config.numbers import SHARE, Count, Duration, Size
from splitter.config.traffic import ProbePath

MAX_WORKERS: Final = 256


class Section(BaseModel):
    """A mapping of the file. Unknown keys are refused; `null`, as when every key is commented out, means defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment_only: ClassVar[dict[str, str]] = {}
    """Keys a file must not hold -> the variable that sets them."""

    @model_validator(mode="before")
    @classmethod
    def _null_means_defaults(cls, given: object) -> object:
        return {} if given is None else given


class Workers(Kind[int | Literal["auto"]]):
    """How many processes carry traffic."""

    words = f"`auto` or a whole number from 0 to {MAX_WORKERS}"

    def read(self, given: object) -> int | Literal["auto"]:
        if given == "auto":
            return "auto"
        if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= MAX_WORKERS:
            raise ValueError(f"must be auto or a whole number from 0 to {MAX_WORKERS}, not {shown(given)}")
        return given

    def show(self, value: int | Literal["auto"]) -> str:
        return str(value)


class Token(Kind[SecretStr | None]):
    """A secret that travels in a header; it is never repeated, not even in a fault."""

    words = "visible ASCII without blanks"

    def read(self, given: object) -> SecretStr | None:
        if given is None:
            return None
        if not isinstance(given, str) or not all("!" <= character <= "~" for character in given):
            raise ValueError("must be visible ASCII characters without blanks, since it travels in a header")
        return SecretStr(given)

    def show(self, value: SecretStr | None) -> str:
        return "null" if value is None else "(secret)"


class Listener(Section):
    """Where connections are accepted."""

    host: Annotated[str, Host()] = Field(
        default="0.0.0.0",
        description=(
            "Address to listen on. `0.0.0.0` is every IPv4 address, `::` every IPv6 and IPv4 address; `unix:/path` is a "
            "socket file, without port."
        ),
    )
    port: Annotated[int, Count(0, MAX_PORT)] = Field(
        default=8000, description="Port to listen on; 0 lets the system choose."
    )
    socket_mode: Annotated[int, FileMode()] = Field(
        default=0o666, description="Who may connect to a socket file: its mode, as for chmod."
    )

    @property
    def address(self) -> TcpAddress | UnixAddress:
        if self.host.startswith(UNIX_PREFIX):
            return UnixAddress(self.host.removeprefix(UNIX_PREFIX))
        return TcpAddress(self.host, self.port)


class Tls(Section):
    """TLS on the public side. The files are read again when they change and on SIGHUP; connections go on."""

    cert: Annotated[Path, FilePath()] = Field(description="The certificate and, behind it, those it rests on. PEM.")
    key: Annotated[Path, FilePath()] = Field(description="Its private key, without a passphrase. PEM.")
    min_version: Annotated[Literal["1.2", "1.3"], TlsVersion()] = Field(
        default="1.2", description="Older clients can't connect."
    )
    client_ca: Annotated[Path | None, Nullable(FilePath())] = Field(
        default=None,
        description="Only clients with a certificate of one of these authorities can connect. PEM; `null`: all clients can.",
    )


class Listen(Listener):
    """The public side."""

    workers: Annotated[int | Literal["auto"], Workers()] = Field(
        default="auto",
        description=(
            "Processes that carry traffic; `auto`: one per core, or as many as a container's CPU quota pays for; "
            "0: all in one process, for debugging."
        ),
    )
    reuse_port: Annotated[bool, Flag()] = Field(
        default=False,
        description=(
            "Whether several splitters may listen on the same port; the kernel shares new connections out among them, and "
            "one of them may stop without a client noticing."
        ),
    )
    tls: Tls | None = Field(default=None, description="TLS with this certificate; `null`: plain HTTP.")
    proxy_protocol: Annotated[tuple[Sender, ...], Listing(Senders(), example='["10.0.0.0/8"]')] = Field(
        default=(),
        description=(
            "Load balancers that begin each connection with a PROXY header, version 1 or 2, that says whose it is. Danger: "
            "from them nothing works without one; and whoever is in these networks can claim any client address."
        ),
    )
    trusted_proxies: Annotated[tuple[Sender, ...], Listing(Senders(), example='["10.0.0.0/8"]')] = Field(
        default=(),
        description=(
            "Proxies in front whose forwarding fields are believed, those that `forwarded` names. Danger: whoever is in "
            "these networks can claim any client address, and with `client_ip` as key choose a bucket."
        ),
    )
    forwarded: Annotated[str, Word(("x", "rfc7239", "both"))] = Field(
        default="x",
        description=(
            "How backends are told whose a request is: `X-Forwarded-*`, `Forwarded` (RFC 7239), or both. The client's "
            "address is read from `Forwarded` with `rfc7239`, else from `X-Forwarded-For`."
        ),
    )
    traceparent: Annotated[str, Word(("pass", "make"))] = Field(
        default="pass",
        description=(
            "W3C trace context: `pass` leaves it as it came; `make` begins a trace, sampled, where none came or a "
            "malformed one."
        ),
    )


class Admin(Listener):
    """The admin API and the console."""

    environment_only: ClassVar[dict[str, str]] = {"token": "SPLITTER_ADMIN_TOKEN"}

    host: Annotated[str, Host()] = Field(
        default="127.0.0.1",
        description="Address of the admin API. Anything but loopback or `unix:/path` needs `SPLITTER_ADMIN_TOKEN`.",
    )
    port: Annotated[int, Count(0, MAX_PORT)] = Field(
        default=8090, description="Port of the admin API; 0 lets the system choose."
    )
    socket_mode: Annotated[int, FileMode()] = Field(
        default=0o600, description="Who may connect to a socket file, and so may do anything: its mode, as for chmod."
    )
    hosts: Annotated[tuple[str, ...], Listing(HostName(), example='["splitter.example"]')] = Field(
        default=(),
        description=(
            "Names by which operators reach it, besides its address and `localhost`. A request for another name is refused "
            "unless it carries the token: it may come from a web page whose name was made to mean this machine."
        ),
    )
    token: Annotated[SecretStr | None, Token()] = Field(
        default=None,
        description="What changing anything wants as `Authorization: Bearer ...`. Only from the environment.",
    )


class Health(Section):
    """Active probes of each endpoint."""

    path: Annotated[str, ProbePath()] = Field(
        default="/health", description="Asked with GET; any answer below 500 is healthy."
    )
    interval_s: Annotated[float, Duration(0.1, 3600)] = Field(
        default=5.0, alias="interval", description="From one probe to the next."
    )
    timeout_s: Annotated[float, Duration(0.01, 300)] = Field(
        default=2.0, alias="timeout", description="A probe without an answer by then has failed."
    )
    healthy_after: Annotated[int, Count(1, 1000)] = Field(
        default=2, description="Good probes in a row that bring an endpoint back."
    )
    unhealthy_after: Annotated[int, Count(1, 1000)] = Field(
        default=3, description="Failed probes in a row that take an endpoint out."
    )


class Eject(Section):
    """Taking an endpoint out because of what real requests met."""

    consecutive_failures: Annotated[int, Count(1, 100_000)] = Field(
        default=5, description="Failed requests in a row that take an endpoint out."
    )
    for_s: Annotated[float, Duration(0.1, 86_400)] = Field(
        default=10.0, alias="for", description="How long it stays out before one request may try it again."
    )


class BackendTls(Section):
    """How `https://` endpoints are spoken to. Files are read again, for new connections, when they change."""

    ca: Annotated[Path | None, Nullable(FilePath())] = Field(
        default=None, description="The authorities that its certificate must come from. PEM; `null`: the system's."
    )
    cert: Annotated[Path | None, Nullable(FilePath())] = Field(
        default=None, description="The certificate that the splitter shows, if it is asked for one. PEM."
    )
    key: Annotated[Path | None, Nullable(FilePath())] = Field(
        default=None, description="Its private key, without a passphrase. PEM; `null`: it is in the file of `cert`."
    )
    server_name: Annotated[str | None, Nullable(ServerName())] = Field(
        default=None, description="The name asked for (SNI) and looked for in the certificate; `null`: the host of the URL."
    )
    verify: Annotated[bool, Flag()] = Field(
        default=True,
        description=(
            "Whether the certificate is checked. Danger: `false` lets whoever stands in between read and change everything."
        ),
    )

    def client(self) -> ClientTls:
        """The part that is about files."""
        return ClientTls(self.ca, self.cert, self.key, self.verify)


class BackendConfig(Section):
    """One implementation of the service."""

    urls: Annotated[tuple[BackendUrl, ...], Listing(Url(), at_least=1, example='["http://127.0.0.1:8001"]')] = Field(
        description="Its endpoints: scheme, host and port. Several share the load.",
    )
    connect_timeout_s: Annotated[float, Duration(0.01, 300)] = Field(
        default=2.0,
        alias="connect_timeout",
        description="For opening a connection; then another endpoint or backend is tried.",
    )
    response_timeout_s: Annotated[float, Duration(0.01, 86_400)] = Field(
        default=30.0,
        alias="response_timeout",
        description=(
            "From the end of the request to the head of the response; then 504 or the fallback. Danger: shorter than your "
            "slowest endpoint cuts it off."
        ),
    )
    idle_timeout_s: Annotated[float, Duration(0.1, 86_400)] = Field(
        default=60.0,
        alias="idle_timeout",
        description="Silence in the middle of a response, and how long a connection without work is kept.",
    )
    tunnel_idle_timeout_s: Annotated[float, Duration(0.1, 604_800)] = Field(
        default=3600.0,
        alias="tunnel_idle_timeout",
        description="Silence in a WebSocket or another tunnel, from both sides, after which it is closed.",
    )
    max_connections: Annotated[int, Count(1, 100_000)] = Field(
        default=256,
        description=(
            "Connections to each of its endpoints at once, per worker. Four times as many requests may wait for one; more "
            "are answered with 503."
        ),
    )
    tls: BackendTls = Field(default=BackendTls(), description="How `https://` endpoints are spoken to.")
    health: Health = Field(default=Health(), description="Active probes.")
    eject: Eject = Field(default=Eject(), description="Passive ejection.")


class Legacy(BackendConfig):
    """The old implementation."""

    urls: Annotated[tuple[BackendUrl, ...], Listing(Url(), at_least=1, example='["http://127.0.0.1:8001"]')] = Field(
        default=(BackendUrl("http", "127.0.0.1", 8001),),
        description="Endpoints of the old implementation: scheme, host and port. Several share the load.",
    )


class Domain(BackendConfig):
    """The new implementation."""

    urls: Annotated[tuple[BackendUrl, ...], Listing(Url(), at_least=1, example='["http://127.0.0.1:8002"]')] = Field(
        default=(BackendUrl("http", "127.0.0.1", 8002),),
        description="Endpoints of the new implementation: scheme, host and port. Several share the load.",
    )


class Backends(Section):
    """Both implementations."""

    legacy: Legacy = Field(default=Legacy(), description="The old implementation.")
    domain: Domain = Field(default=Domain(), description="The new implementation.")


class Limits(Section):
    """What a client may send and how long things may take."""

    header_bytes: Annotated[int, Size(1024, 16 << 20)] = Field(
        default=64 << 10, description="Request line and headers together; more is answered with 431."
    )
    target_bytes: Annotated[int, Size(64, 1 << 20)] = Field(
        default=16 << 10, description="Path and query; more is answered with 414."
    )
    headers: Annotated[int, Count(1, 10_000)] = Field(default=200, description="Header fields; more is answered with 431.")
    body_bytes: Annotated[int | None, Nullable(Size(0, 1 << 40))] = Field(
        default=None, description="Request body; more is answered with 413. `null`: no limit, bodies are streamed."
    )
    header_timeout_s: Annotated[float, Duration(0.1, 3600)] = Field(
        default=10.0, alias="header_timeout", description="For all headers of a request to arrive; then 408."
    )
    keepalive_timeout_s: Annotated[float, Duration(0.1, 86_400)] = Field(
        default=75.0, alias="keepalive_timeout", description="How long a client's idle connection is kept open."
    )
    max_connections: Annotated[int, Count(1, 1_000_000)] = Field(
        default=10_000,
        description=(
            "Clients' connections at once, per worker. When they are all taken, those that nobody uses are closed and new "
            "clients wait. Fewer if the process may not open so many files (`ulimit -n`)."
        ),
    )
    drain_timeout_s: Annotated[float, Duration(0, 86_400)] = Field(
        default=30.0,
        alias="drain_timeout",
        description="What running requests get when the splitter stops; 0s cuts them off.",
    )


class AccessLogConfig(Section):
    """The log of requests."""

    sample: Annotated[float, SHARE] = Field(default=1.0, description="Share of requests that get a line: 1 all, 0 none.")


class StateConfig(Section):
    """Where the rollout's state survives a restart."""

    url: Annotated[str, StateUrl()] = Field(
        default="file:state/rollout.json",
        repr=False,  # it may hold a password
        description="A file of this machine, or a Redis that several splitters share.",
    )
