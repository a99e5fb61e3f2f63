"""Takes up a renewed certificate: when its files change, and when told to.

Owns: noticing, the fault of the last attempt, the log. Must not know: what is in the files, what a connection is.
Invariant: files that can't be used change nothing; the fault is logged, and shown in health until good ones are read.

Why the files are also looked at every few seconds: a path may lead through symlinks to folders nobody watches, and network
file systems tell nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from watchfiles import awatch

from splitter.certificates import Certificates
from splitter.pem import TlsFileError

_LOOK_EVERY_MS: Final = 2000


class CertificateWatch:
    """Reloads the certificates; `fault` says why the last attempt failed, empty when it did not.

    `on_reload` is called after each attempt that did not: whoever serves with them is to read them too.
    """

    def __init__(self, certificates: Certificates, on_reload: Callable[[], None] = lambda: None) -> None:
        self._certificates = certificates
        self._on_reload = on_reload
        self._seen = self._looks()
        self.fault = ""

    def reload(self) -> None:
        """Read the files now, changed or not."""
        log = structlog.get_logger()
        self._seen = self._looks()
        try:
            self._certificates.reload()
        except TlsFileError as error:
            self.fault = f"{error.role}: {error}"
            log.error("certificate_reload_failed", fault=self.fault)
            return
        self.fault = ""
        self._on_reload()
        log.info("certificate_reloaded", not_after=_text(self._certificates.not_after))

    async def follow(self) -> None:
        """Reload whenever a file changes, until cancelled."""
        # Renewals replace files: it is their folders that stay.
        folders = {Path.cwd() / path.parent for path in self._certificates.files}
        changes = awatch(
            *folders, recursive=False, step=50, debounce=200, rust_timeout=_LOOK_EVERY_MS, yield_on_timeout=True
        )
        async for _ in changes:
            if self._looks() != self._seen:
                self.reload()

    def problems(self, *, in_full: bool) -> Iterator[str]:
        """What people should know, a sentence each; `in_full` with paths and causes."""
        if self.fault:
            yield "the last reload of the certificate failed" + (f": {self.fault}" if in_full else "")
        not_after = self._certificates.not_after
        if not_after is not None and not_after <= datetime.now(UTC):
            yield f"the certificate has expired on {_text(not_after)}"

    def _looks(self) -> tuple[tuple[int, ...], ...]:
        """What would be different of other files: a renewal that keeps name, size and second still has another inode."""
        return tuple(_look(path) for path in self._certificates.files)


def _look(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _text(not_after: datetime | None) -> str | None:
    return None if not_after is None else not_after.isoformat()
