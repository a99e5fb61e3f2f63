"""The certificate of the public side: from files to an `SSLContext`, again and again.

Owns: reading the files, the policy of TLS (versions, ALPN, client certificates), a trial of what was read.
Must not know: connections; who says that the files have changed.
Invariants: `Certificates.context` has always passed a whole handshake with itself; a pair that does not work changes
nothing; a private key is never in a message.
"""

from __future__ import annotations

import contextlib
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from splitter.config import Tls
from splitter.errors import SplitterError

TlsKey = Literal["cert", "key", "client_ca"]
"""The key of `listen.tls` that is to blame."""

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_NO_CHECK_TIME: Final = 0x20_0000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h: an expired certificate is reported, not refused."""
_FILE_BYTES: Final = 1 << 20


class CertificateError(SplitterError):
    """The files can't be used. `key` is the one of `listen.tls` to blame, `message` a sentence without it."""

    def __init__(self, key: TlsKey, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key
        self.message = message


class Certificates:
    """The context in force. Raises CertificateError when the first one can't be made."""

    __slots__ = ("context", "not_after", "settings")

    not_after: datetime | None
    """When the certificate expires; None when that can't be told."""

    def __init__(self, settings: Tls) -> None:
        self.settings = settings
        self.reload()

    @property
    def files(self) -> tuple[Path, ...]:
        settings = self.settings
        return (settings.cert, settings.key, *([settings.client_ca] if settings.client_ca else []))

    def reload(self) -> None:
        """Read the files again; new connections get what is in them. Raises CertificateError, and then nothing changed."""
        context = _context_of(self.settings)
        self.not_after = _try(context, self.settings.cert)
        self.context = context


def _context_of(settings: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION  # it costs a server more than a client, and nobody needs it
    context.set_alpn_protocols(["http/1.1"])
    _check_pem("cert", settings.cert, b"CERTIFICATE-----")
    _check_pem("key", settings.key, b"PRIVATE KEY-----")
    try:
        context.load_cert_chain(settings.cert, settings.key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CertificateError("key", f"{settings.key} is not the key of the certificate in {settings.cert}") from None
        raise CertificateError("cert", f"can't be used with {settings.key}: {_reason(error)}") from None
    except OSError as error:  # replaced by something unreadable since it was looked at
        raise CertificateError("cert", f"can't be read: {error.strerror or error}") from None
    if settings.client_ca is not None:
        _check_pem("client_ca", settings.client_ca, b"CERTIFICATE-----")
        try:
            context.load_verify_locations(cafile=settings.client_ca)
        except (ssl.SSLError, OSError) as error:
            raise CertificateError("client_ca", f"{settings.client_ca} can't be used: {error}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _check_pem(key: TlsKey, path: Path, wanted: bytes) -> None:
    """What OpenSSL would say of a wrong file is `PEM lib`: look for what people get wrong, and name the file."""
    try:
        with path.open("rb") as file:
            text = file.read(_FILE_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CertificateError(key, f"{path} can't be read: {reason}") from None
    what = "private key" if key == "key" else "certificate"
    if wanted not in text:
        raise CertificateError(key, f"{path} holds no {what} in PEM form")
    if key == "key" and b"ENCRYPTED" in text:
        raise CertificateError(key, f"{path} is locked with a passphrase, and nobody is there to type it: store it without")


def _no_password() -> str:
    """OpenSSL would ask the terminal."""
    return ""


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()


def _try(context: ssl.SSLContext, cert: Path) -> datetime | None:
    """Shake hands with a client made for it: until when the certificate is valid, if that can be told.

    Raises CertificateError when they don't come together.
    """
    try:
        _shake_hands(context, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    except ssl.SSLError as error:
        raise CertificateError("cert", f"{cert} does not work in a handshake: {_reason(error)}") from None
    # The ssl module tells dates only of certificates it has verified; what can't be verified even against itself may
    # still be what this service's clients expect.
    verifying = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    verifying.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_CHECK_TIME)
    with contextlib.suppress(ssl.SSLError, OSError, KeyError):
        verifying.load_verify_locations(cafile=cert)
        told = _shake_hands(context, verifying, ssl.CERT_REQUIRED).getpeercert() or {}
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(told["notAfter"])), UTC)
    return None


def _shake_hands(context: ssl.SSLContext, trial: ssl.SSLContext, mode: ssl.VerifyMode = ssl.CERT_NONE) -> ssl.SSLObject:
    """The client's side after a handshake in memory. Raises SSLError."""
    trial.check_hostname = False
    trial.verify_mode = mode
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = trial.wrap_bio(to_client, to_server)
    for side in (client, server):  # hello; certificate and finished (RFC 8446 section 2)
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    client.do_handshake()
    return client
