"""Files of certificates and keys: reading and judging them, with a sentence about the one that is wrong.

Owns: what PEM files must be. Must not know: which side of a connection they are for, who reads them when.
Invariants: a key protected by a passphrase is refused, never asked for at a terminal; a private key is never in a message.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final, Literal

from splitter.errors import SplitterError

_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_KEY: Final = b"PRIVATE KEY-----"
_LOCKED: Final = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")

Role = Literal["ca", "client_ca", "cert", "key"]
"""The key of a `tls` section that names a file."""


class TlsFileError(SplitterError):
    """A file can't be used; `role` says which."""

    def __init__(self, role: Role, message: str) -> None:
        super().__init__(message)
        self.role = role


def load_authorities(context: ssl.SSLContext, ca: Path, role: Role) -> None:
    """Let `context` accept certificates of the authorities in a file. Raises TlsFileError."""
    if _CERTIFICATE not in _read(role, ca):
        raise TlsFileError(role, f"holds no certificate in PEM form: {ca}")
    try:
        context.load_verify_locations(ca)
    except OSError as error:  # ssl.SSLError is one
        raise TlsFileError(role, f"holds a certificate that can't be used: {ca} ({reason_of(error)})") from None


def load_pair(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    """Give `context` a certificate and its key, which may be in the same file. Raises TlsFileError."""
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
    except OSError as error:  # ssl.SSLError is one
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            raise TlsFileError(role, f"is not the key of the certificate in {cert}: {key or cert}") from None
        raise TlsFileError("cert", f"can't be used with its key: {cert} ({reason_of(error)})") from None


def _read(role: Role, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise TlsFileError(role, f"there is no such file: {path}") from None
    except OSError as error:
        raise TlsFileError(role, f"can't be read: {path} ({error.strerror or error})") from None


def reason_of(error: OSError) -> str:
    """OpenSSL's word for what went wrong, in small letters, or the system's."""
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return reason.replace("_", " ").lower() if reason else error.strerror or str(error)
