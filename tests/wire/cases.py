"""The wire cases: one YAML file each, bytes written as double-quoted text in which every character is one byte.

Owns: reading the files. Adding a case is adding a file:
- `requests/invalid/*.yaml`: `why`, `send`, `status`: the client gets that status, no backend gets anything;
- `requests/valid/*.yaml`: `why`, `send`, `forward` (what the backend gets);
- `responses/*.yaml`: `why`, `request` (default a plain GET), `send`, `close` (the backend closes then), and either
  `receive` (what the client gets), `status` (of the splitter's own answer) or `cut` (the client's connection is cut).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    name: str
    fields: dict[str, Any]

    def wire(self, key: str) -> bytes:
        """The bytes under `key`; a list is joined."""
        value = self.fields[key]
        return "".join(value if isinstance(value, list) else [value]).encode("latin-1")


def load(folder: str) -> list[Case]:
    cases = []
    for path in sorted((FOLDER / folder).glob("*.yaml")):
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert fields.get("why"), f"{path} does not say why"
        cases.append(Case(path.stem, fields))
    assert cases, f"no cases in {folder}"
    return cases
