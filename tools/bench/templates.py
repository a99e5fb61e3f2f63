"""The configurations in configs/: each a proxy's own file with @NAMES@ to fill in.

Owns: filling in, where a proxy works, the certificate for TLS. Must not know: which proxy reads which file.
Invariant: nothing stays unfilled; `@NAME:...@` (to the end of its line) stays when the setup has NAME, else the line goes.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.bench.work import PLAIN, Setup

CONFIGS: Final = Path(__file__).with_name("configs")
_CONDITION: Final = re.compile(r"^(.*?)@(TLS|PLAIN|LOG|QUIET):(.*)$")
_LEFT: Final = re.compile(r"@[A-Z][A-Z_]*@")


class PeerError(Exception):
    """A peer is missing, does not start, or does not do the work; the message says which and how."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one peer works: its directory and port, the admin port if it has one, and the backends' ports."""

    work: Path
    proxy: int
    admin: int
    legacy: int
    domain: int
    setup: Setup = PLAIN

    @property
    def certificate(self) -> Path:
        return self.work / "certificate.pem"

    @property
    def key(self) -> Path:
        return self.work / "key.pem"


def fill(template: str, place: Place) -> Path:
    """Write a file of configs/ with its @NAMES@ filled in; give its path. Raises PeerError if one is left."""
    setup = place.setup
    conditions = {"TLS": setup.tls, "PLAIN": not setup.tls, "LOG": setup.access_log, "QUIET": not setup.access_log}
    text = _decide((CONFIGS / template).read_text(), conditions)
    for name, value in (
        ("WORK", str(place.work)),
        ("PROXY", str(place.proxy)),
        ("ADMIN", str(place.admin)),
        ("LEGACY", str(place.legacy)),
        ("DOMAIN", str(place.domain)),
        ("WORKERS", str(setup.workers)),
        ("CERTIFICATE", str(place.certificate)),
        ("KEY", str(place.key)),
        # nginx's workers would become another user and could not read our directory; only root may name a user.
        ("USER", "user root;" if os.geteuid() == 0 else ""),
    ):
        text = text.replace(f"@{name}@", value)
    left = _LEFT.findall(text)
    if left:
        raise PeerError(f"{template}: nothing to fill in for {', '.join(left)}")
    path = place.work / template
    path.write_text(text)
    return path


def _decide(text: str, conditions: Mapping[str, bool]) -> str:
    lines = []
    for line in text.splitlines():
        found = _CONDITION.match(line)
        if found is None:
            lines.append(line)
        elif conditions[found[2]]:
            lines.append(found[1] + found[3])
    return "\n".join([*lines, ""])


def make_certificate(place: Place) -> None:
    """A certificate for 127.0.0.1, the same kind for everybody (ECDSA P-256), and a file with both parts for HAProxy."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-keyout", str(place.key), "-out", str(place.certificate)]
    subprocess.run(command, check=True, capture_output=True)
    both = place.certificate.read_text() + place.key.read_text()
    (place.work / "both.pem").write_text(both)
