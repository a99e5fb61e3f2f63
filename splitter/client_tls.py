"""TLS to a server: what connections are made with, from files.

Owns: the policy of clients, noticing that the files changed. Must not know: which server, who connects.
Invariant: files that changed into something unusable change nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from splitter.pem import TlsFileError, load_authorities, load_pair, reason_of

_Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class ClientTls:
    """The authorities a server's certificate must come from (None: the system's), and the certificate shown to it."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    verify: bool = True


def client_context(tls: ClientTls) -> ssl.SSLContext:
    """What connections are made with. Raises TlsFileError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        load_authorities(context, tls.ca, "ca")
    if tls.cert is not None:
        load_pair(context, tls.cert, tls.key)
    return context


def refusal_of(error: BaseException | None) -> str:
    """What went wrong with TLS, in a few words; empty when the error is about something else."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if not isinstance(error, ssl.SSLError):
        return ""
    if error.reason and "ALERT" in error.reason:
        return f"it refused the TLS handshake: {reason_of(error)}"
    if error.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST"}:
        return "it does not speak TLS"
    return f"the TLS handshake failed: {reason_of(error)}"


class Renewed:
    """A context that is made anew for the next connection when one of its files has changed.

    `on_fault` hears once of each change that can't be used; what was there before stays. Raises TlsFileError when the first
    one can't be made.
    """

    def __init__(self, tls: ClientTls, on_fault: Callable[[str], None]) -> None:
        self._tls = tls
        self._on_fault = on_fault
        self._stamp = self._look()
        self._context = client_context(tls)

    def context(self) -> ssl.SSLContext:
        """For a connection that is opened now: 2 µs a file while nothing has changed."""
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._context = client_context(self._tls)
            except TlsFileError as error:
                self._on_fault(f"{error.role} {error}")
        return self._context

    def _look(self) -> _Stamp:
        return tuple(_stamp(path) for path in (self._tls.ca, self._tls.cert, self._tls.key))


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found is not None else None
