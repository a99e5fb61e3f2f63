"""What must hold between a configuration and what it names of this machine: files, variables that hold secrets.

Owns: these rules. Must not know: what a value may look like (kinds do), what is done with files and secrets.
Invariants: only reading happens here, and only when a configuration is loaded, never when a text is parsed; secrets stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from splitter.client_tls import client_context
from splitter.config.checks import Clash
from splitter.config.schema import Config
from splitter.pem import TlsFileError


def file_clashes(config: Config) -> Iterator[Clash]:
    """All of them; of each backend's files the first that can't be used."""
    for name, backend in (("legacy", config.backends.legacy), ("domain", config.backends.domain)):
        if not any(url.scheme == "https" for url in backend.urls):
            continue
        try:
            client_context(backend.tls.client())
        except TlsFileError as error:
            yield Clash(str(error), (("backends", name, "tls", error.role),))


def unset_secrets(config: Config, environ: Mapping[str, str]) -> Iterator[Clash]:
    """Variables that are to hold a secret, and hold nothing: what should be signed would go out unsigned."""
    for path, name in config.secret_variables().items():
        if not environ.get(name, "").strip():
            yield Clash(f"the environment variable {name} is not set", (path,))
