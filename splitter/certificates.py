"""The certificate of the public side: from files to an `SSLContext`, again and again.

Owns: the policy of servers (versions, ALPN, client certificates), a trial of what was read.
Must not know: connections; who says that the files have changed.
Invariant: `Certificates.context` has always passed a whole handshake with itself; a pair that does not work changes nothing.
"""

from __future__ import annotations

import contextlib
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from splitter.config import Tls
from splitter.pem import TlsFileError, load_authorities, load_pair, reason_of

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_NO_CHECK_TIME: Final = 0x20_0000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h: an expired certificate is reported, not refused."""


class Certificates:
    """The context in force. Raises TlsFileError when the first one can't be made."""

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
        """Read the files again; new connections get what is in them. Raises TlsFileError, and then nothing changed."""
        context = _context_of(self.settings)
        self.not_after = _try(context, self.settings.cert)
        self.context = context


def _context_of(settings: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION  # it costs a server more than a client, and nobody needs it
    context.set_alpn_protocols(["http/1.1"])
    load_pair(context, settings.cert, settings.key)
    if settings.client_ca is not None:
        load_authorities(context, settings.client_ca, "client_ca")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _try(context: ssl.SSLContext, cert: Path) -> datetime | None:
    """Shake hands with a client made for it: until when the certificate is valid, if that can be told.

    Raises TlsFileError when they don't come together.
    """
    try:
        _shake_hands(context, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    except ssl.SSLError as error:
        raise TlsFileError("cert", f"does not work in a handshake: {cert} ({reason_of(error)})") from None
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
