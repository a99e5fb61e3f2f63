"""The whole configuration, and a walk over its values by dotted path.

Owns: the top level, where each value came from, what it was read from, what has no effect yet.
Must not know: files, lines, the environment.
Invariants: immutable; `origins` has every path that `leaves` gives; a secret is never shown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, BeforeValidator, Field, PrivateAttr
from pydantic.fields import FieldInfo

from splitter.config.addresses import UNIX_PREFIX
from splitter.config.guardrails import Guardrails
from splitter.config.hooks import Hook
from splitter.config.kinds import Kind, Word
from splitter.config.rollout import Fallback, Mirror, Rollout, null_is_empty
from splitter.config.sections import AccessLogConfig, Admin, Backends, Limits, Listen, Listener, Section, StateConfig

DEFAULT: Final = "default"
_NO_ENVOYS: Final = "relay, or an Envoy that nobody steers: `splitter envoy-config` prints its configuration"


@dataclasses.dataclass(frozen=True, slots=True)
class Given:
    """What a configuration was read from: `parse` makes the same of it in another process. `environ`: our variables only."""

    text: str = dataclasses.field(default="", repr=False)
    source: str = "no file"
    environ: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)  # it may hold the token


class Config(Section):
    """All of it. Made by `splitter.config.load` and `splitter.config.parse`; `Config()` has the defaults."""

    environment_only: ClassVar[dict[str, str]] = {"log_level": "SPLITTER_LOG_LEVEL"}

    engine: Annotated[str, Word(("relay",), {"envoy": _NO_ENVOYS, "xds": _NO_ENVOYS})] = Field(
        default="relay", description="What carries the traffic: `relay` is this project's own data plane."
    )
    listen: Listen = Field(default=Listen(), description="The public side: what clients talk to.")
    admin: Admin = Field(default=Admin(), description="The admin API and the console: what operators talk to.")
    backends: Backends = Field(default=Backends(), description="The two implementations.")
    rollout: Rollout = Field(default=Rollout(), description="Who goes to domain.")
    guardrails: Guardrails = Field(default=Guardrails(), description="When domain is too bad, and what happens then.")
    hooks: Annotated[tuple[Hook, ...], BeforeValidator(null_is_empty)] = Field(
        default=(), description="Who outside is told of every change."
    )
    fallback: Fallback = Field(default=Fallback(), description="When legacy answers what domain failed.")
    mirror: Mirror = Field(default=Mirror(), description="Copies of requests for comparing both sides.")
    limits: Limits = Field(default=Limits(), description="What a client may send and how long things may take.")
    access_log: AccessLogConfig = Field(default=AccessLogConfig(), description="The log of requests.")
    state: StateConfig = Field(default=StateConfig(), description="Where the rollout's state survives a restart.")
    log_level: Annotated[str, Word(("debug", "info", "warning", "error"))] = Field(
        default="info", description="Which log lines are written. Only from the environment."
    )

    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _given: Given = PrivateAttr(default_factory=Given)

    def __eq__(self, other: object) -> bool:
        """Whether the values are the same, wherever they came from."""
        return isinstance(other, Config) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment] # as of all values that hold a mapping

    @property
    def origins(self) -> Mapping[str, str]:
        """Dotted path -> `default`, `file:LINE` or `env:NAME`, for every value."""
        return self._origins or {leaf.path: DEFAULT for leaf in leaves(self)}

    @property
    def given(self) -> Given:
        """The text and the variables it was read from."""
        return self._given

    def read_from(self, given: Given, origins: Mapping[str, str]) -> Config:
        """The same values, said to come from there."""
        config = self.model_copy()
        config._given = given
        config._origins = origins
        return config

    def secret_variables(self) -> Mapping[tuple[str | int, ...], str]:
        """Path -> the environment variable that holds a secret for outside: only who sends anything there may know it."""
        named: dict[tuple[str | int, ...], str | None] = {
            ("hooks", index, "secret_env"): hook.secret_env for index, hook in enumerate(self.hooks)
        }
        named["rollout", "confirm_secret_env"] = self.rollout.confirm_secret_env
        return {path: name for path, name in named.items() if name is not None}

    def not_in_force(self) -> tuple[str, ...]:
        """A sentence for each thing somebody has set and that has no effect, in this version or as things stand."""
        given = [path for path, origin in self.origins.items() if origin != DEFAULT]

        def is_given(prefix: str) -> bool:
            return any(path == prefix or path.startswith((f"{prefix}.", f"{prefix}[")) for path in given)

        sentences = []
        for name in ("legacy", "domain"):
            urls = getattr(self.backends, name).urls
            if is_given(f"backends.{name}.tls") and not any(url.scheme == "https" for url in urls):
                sentences.append(f"backends.{name}.tls: none of its URLs is https://")
        if self.rollout.force == "token" and self.admin.token is None:
            sentences.append("rollout.force: nobody can force a side, because SPLITTER_ADMIN_TOKEN is not set")
        return tuple(sentences)


class Leaf:
    """One value: its dotted path, the field it belongs to, the value."""

    __slots__ = ("field", "path", "value")

    def __init__(self, path: str, field: FieldInfo, value: Any) -> None:
        self.path = path
        self.field = field
        self.value = value

    def show(self) -> str:
        """As one would write it in the file; secrets hidden."""
        kind = kind_of(self.field)
        if kind is None:
            return "null" if self.value is None else "[]"
        return kind.show(self.value)


def kind_of(field: FieldInfo) -> Kind[Any] | None:
    """The kind of a field that holds one value; None for sections and lists of sections."""
    return next((item for item in field.metadata if isinstance(item, Kind)), None)


def key_of(name: str, field: FieldInfo) -> str:
    """The name of a field in the file."""
    return field.alias or name


def leaves(section: BaseModel, prefix: str = "") -> Iterator[Leaf]:
    """Every value of a section and of those in it, in the order of the schema. An empty list of sections, and one that is
    left out, is one value."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        path = f"{prefix}{key_of(name, field)}"
        if isinstance(section, Listener) and name == "port" and section.host.startswith(UNIX_PREFIX):
            continue  # a socket file has none
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{path}.")
        elif kind_of(field) is None and value:
            for index, item in enumerate(value):
                yield from leaves(item, f"{path}[{index}].")
        else:
            yield Leaf(path, field, value)
