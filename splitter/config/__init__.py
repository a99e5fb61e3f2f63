"""The configuration: a file and the environment, read as a whole into frozen objects.

Owns: the keys of `config/splitter.yaml`, their defaults and meaning (`docs/configuration.md` is made from them).
Must not know: anything that uses a value. Invariants: `parse` is pure; what can't be used raises ConfigError with every
fault; nothing of a Config ever changes.
"""

from __future__ import annotations

from splitter.config.addresses import BackendUrl, IpNetwork, Sender, TcpAddress, UnixAddress
from splitter.config.comparison import Comparison
from splitter.config.environment import CONFIG_VARIABLE, VARIABLES
from splitter.config.guardrails import Guardrails, StageLimits
from splitter.config.hooks import HOOK_EVENTS, Hook
from splitter.config.jsonpath import Ignored, JsonPath, Tolerance
from splitter.config.loader import load, parse
from splitter.config.numbers import Percent, threshold_of
from splitter.config.rollout import Fallback, Mirror, Rollout, Route, Stage
from splitter.config.schema import Config, Given, leaves
from splitter.config.sections import Admin, BackendConfig, Backends, Eject, Health, Limits, Listen, Listener, Tls
from splitter.config.traffic import KeySource

__all__ = [
    "CONFIG_VARIABLE",
    "HOOK_EVENTS",
    "VARIABLES",
    "Admin",
    "BackendConfig",
    "BackendUrl",
    "Backends",
    "Comparison",
    "Config",
    "Eject",
    "Fallback",
    "Given",
    "Guardrails",
    "Health",
    "Hook",
    "Ignored",
    "IpNetwork",
    "JsonPath",
    "KeySource",
    "Limits",
    "Listen",
    "Listener",
    "Mirror",
    "Percent",
    "Rollout",
    "Route",
    "Sender",
    "Stage",
    "StageLimits",
    "TcpAddress",
    "Tls",
    "Tolerance",
    "UnixAddress",
    "leaves",
    "load",
    "parse",
    "threshold_of",
]
