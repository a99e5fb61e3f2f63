"""The sections about addresses, backends, limits, logs and state.

Owns: their keys, defaults and descriptions; the description of a field is its documentation (`docs/configuration.md` is made
of it). Must not know: files, lines, the environment, what depends on another section (`checks` does).
Invariants: immutable; every field has a default, so every section may be left out; names here carry units, `alias` is the
name in the file.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from splitter.config.addresses import (
    MAX_PORT,
    UNIX_PREFIX,
    BackendUrl,
    Host,
    HostName,
    IpNetwork,
    Network,
    StateUrl,
    TcpAddress,
    UnixAddress,
    Url,
)
from splitter.config.kinds import Kind, Listing, Nullable, shown
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


class NoTls(Kind[None]):
    """The place of TLS settings, until there is TLS."""

    words = "`null`"

    def read(self, given: object) -> None:
        if given is not None:
            raise ValueError("TLS is not built yet in this version; take the key out and end TLS in front of the splitter")

    def show(self, value: None) -> str:
        return "null"


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
        description="Address to listen on. `0.0.0.0` or `::` is every address; `unix:/path` is a socket file, without port.",
    )
    port: Annotated[int, Count(0, MAX_PORT)] = Field(
        default=8000, description="Port to listen on; 0 lets the system choose."
    )

    @property
    def address(self) -> TcpAddress | UnixAddress:
        if self.host.startswith(UNIX_PREFIX):
            return UnixAddress(self.host.removeprefix(UNIX_PREFIX))
        return TcpAddress(self.host, self.port)


class Listen(Listener):
    """The public side."""

    workers: Annotated[int | Literal["auto"], Workers()] = Field(
        default="auto",
        description=(
            "Processes that carry traffic; `auto`: one per core, or as many as a container's CPU quota pays for; "
            "0: all in one process, for debugging."
        ),
    )
    tls: Annotated[None, NoTls()] = Field(default=None, description="Not built yet: only `null`.")
    trusted_proxies: Annotated[tuple[IpNetwork, ...], Listing(Network(), example='["10.0.0.0/8"]')] = Field(
        default=(),
        description=(
            "Proxies in front whose `X-Forwarded-*` is believed. Danger: whoever is in these networks can claim any client "
            "address, and with `client_ip` as key choose a bucket."
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
    max_connections: Annotated[int, Count(1, 100_000)] = Field(
        default=256, description="Connections to this backend at once, per worker; further requests wait for one."
    )
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
