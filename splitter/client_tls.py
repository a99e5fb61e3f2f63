"""TLS to a server: what connections are made with, from files, or a sentence about the file that is wrong.

Owns: reading the files, judging them, noticing that they changed. Must not know: which server, who connects.
Invariants: a key protected by a passphrase is refused, never asked for at a terminal; files that changed into something
unusable change nothing; a private key is never in a message.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from splitter.errors import SplitterError

_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_KEY: Final = b"PRIVATE KEY-----"
_LOCKED: Final = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")

Role = Literal["ca", "cert", "key"]
_Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class ClientTls:
    """The authorities a server's certificate must come from (None: the system's), and the certificate shown to it."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    verify: bool = True


class TlsFileError(SplitterError):
    """A file can't be used; `role` says which."""

    def __init__(self, role: Role, message: str) -> None:
        super().__init__(message)
        self.role = role


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
        _load_authorities(context, tls.ca)
    if tls.cert is not None:
        _load_pair(context, tls.cert, tls.key)
    return context


def _load_authorities(context: ssl.SSLContext, ca: Path) -> None:
    if _CERTIFICATE not in _read("ca", ca):
        raise TlsFileError("ca", f"holds no certificate in PEM form: {ca}")
    try:
        context.load_verify_locations(ca)
    except OSError as error:  # ssl.SSLError is one
        raise TlsFileError("ca", f"holds a certificate that can't be used: {ca} ({_reason(error)})") from None


def _load_pair(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    content = _read("cert", cert)
    if _CERTIFICATE not in content:
        raise TlsFileError("cert", f"holds no certificate in PEM form: {cert}")
    role: Role = "cert"
    if key is not None:
        role, content = "key", _read("key", key)
    if _KEY not in content:
        hint = "" if key else "; name the file that has it as `key`"
        raise TlsFileError(role, f"holds no private key in PEM form: {key or cert}{hint}")
    if any(mark in content for mark in _LOCKED):
        raise TlsFileError(role, f"holds a key locked with a passphrase, which nobody is there to type: {key or cert}")
    try:
        context.load_cert_chain(cert, key, password=lambda: "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsFileError(role, f"is not the key of the certificate in {cert}: {key or cert}") from None
        raise TlsFileError("cert", f"can't be used with its key: {cert} ({_reason(error)})") from None


def _read(role: Role, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise TlsFileError(role, f"there is no such file: {path}") from None
    except OSError as error:
        raise TlsFileError(role, f"can't be read: {path} ({error.strerror or error})") from None


def _reason(error: OSError) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return reason.replace("_", " ").lower() if reason else error.strerror or str(error)


def refusal_of(error: BaseException | None) -> str:
    """What went wrong with TLS, in a few words; empty when the error is about something else."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if not isinstance(error, ssl.SSLError):
        return ""
    if error.reason and "ALERT" in error.reason:
        return f"it refused the TLS handshake: {_reason(error)}"
    if error.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST"}:
        return "it does not speak TLS"
    return f"the TLS handshake failed: {_reason(error)}"


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
