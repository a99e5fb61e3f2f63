"""The wire cases: one YAML file each, bytes written as double-quoted text in which every character is one byte.

Owns: reading the files. Adding a case is adding a file:
- `requests/invalid/*.yaml`: `why`, `send`, `status`: the client gets that status, no backend gets anything;
- `requests/valid/*.yaml`: `why`, `send`, `forward` (what the backend gets) or `answer` (of the splitter itself); `listen`
  holds settings of that section (`forwarded`, `traceparent`; `trusted_proxies` true or false: is the client one);
- `responses/*.yaml`: `why`, `request` (default a plain GET), `send`, `close` (the backend closes then), and either
  `receive` (what the client gets), `status` (of the splitter's own answer) or `cut` (the client's connection is cut).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import yaml

from splitter.hops import Style
from splitter.http1.forwarding import ForwardPolicy
from tests.protocol.rig import Rig

FOLDER = Path(__file__).parent
_CHUNK = re.compile(rb"([0-9a-f]+)\r\n")


@dataclass(frozen=True)
class Case:
    name: str
    fields: dict[str, Any]

    def wire(self, key: str) -> bytes:
        """The bytes under `key`; a list is joined."""
        value = self.fields[key]
        return "".join(value if isinstance(value, list) else [value]).encode("latin-1")


def rig_for(case: Case) -> Rig:
    """A plane set up as the case wants it."""
    listen = case.fields.get("listen", {})
    return Rig(
        trusted_proxies=(ip_network("192.0.2.1"),) if listen.get("trusted_proxies") else (),
        forward=ForwardPolicy(Style(listen.get("forwarded", "x")), make_trace=listen.get("traceparent") == "make"),
    )


def joined_chunks(data: bytes) -> bytes:
    """The message with its chunks as one: how a body is cut into chunks depends on how it arrived."""
    coding = data.find(b"Transfer-Encoding: chunked\r\n")
    if coding < 0:
        return data
    start = data.find(b"\r\n\r\n", coding) + 4
    payload, position = b"", start
    while (found := _CHUNK.match(data, position)) and (size := int(found[1], 16)):
        payload += data[found.end() : found.end() + size]
        position = found.end() + size + 2
    return data[:start] + b"[%b]" % payload + data[position:]


def load(folder: str) -> list[Case]:
    cases = []
    for path in sorted((FOLDER / folder).glob("*.yaml")):
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert fields.get("why"), f"{path} does not say why"
        cases.append(Case(path.stem, fields))
    assert cases, f"no cases in {folder}"
    return cases
