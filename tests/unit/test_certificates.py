"""Certificates: what can be used, what is said of what can't, and that nothing changes then."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from splitter.certificates import Certificates
from splitter.config import Tls
from splitter.pem import TlsFileError

CA = trustme.CA()
NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A folder with `cert.pem` and `key.pem`."""
    put(tmp_path, CA.issue_cert("localhost"))
    CA.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path


def put(folder: Path, cert: trustme.LeafCert) -> None:
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in cert.cert_chain_pems))
    (folder / "key.pem").write_bytes(cert.private_key_pem.bytes())


def tls(folder: Path, **changed: object) -> Tls:
    return Tls.model_validate({"cert": f"{folder}/cert.pem", "key": f"{folder}/key.pem", **changed})


def test_the_policy(pair: Path) -> None:
    context = Certificates(tls(pair)).context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE
    assert context.options & ssl.OP_NO_RENEGOTIATION
    strict = Certificates(tls(pair, min_version="1.3", client_ca=f"{pair}/ca.pem"))
    assert strict.context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert strict.context.verify_mode is ssl.CERT_REQUIRED
    assert strict.files == (pair / "cert.pem", pair / "key.pem", pair / "ca.pem")


@pytest.mark.parametrize("days", [-1, 90])
def test_its_end_is_known_even_when_it_is_past(tmp_path: Path, days: int) -> None:
    end = (NOW + datetime.timedelta(days=days)).replace(microsecond=0)
    put(tmp_path, CA.issue_cert("localhost", not_before=NOW - datetime.timedelta(days=9), not_after=end))
    assert Certificates(tls(tmp_path)).not_after == end


def test_an_intermediate_authority(tmp_path: Path) -> None:
    put(tmp_path, CA.create_child_ca().issue_cert("localhost"))
    assert Certificates(tls(tmp_path)).not_after is not None


def locked(folder: Path, form: PrivateFormat) -> None:
    key = load_pem_private_key((folder / "key.pem").read_bytes(), None)
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret")))


def a_folder_for_the_key(folder: Path) -> None:
    (folder / "key.pem").unlink()
    (folder / "key.pem").mkdir()


def der(folder: Path) -> None:
    key = load_pem_private_key((folder / "key.pem").read_bytes(), None)
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no certificate": (lambda folder: (folder / "cert.pem").unlink(), "cert: there is no such file: {0}/cert.pem"),
    "no key": (lambda folder: (folder / "key.pem").unlink(), "key: there is no such file: {0}/key.pem"),
    "a folder": (
        a_folder_for_the_key,
        "key: can't be read: {0}/key.pem (Is a directory)",
    ),
    "the two mixed up": (
        lambda folder: (folder / "cert.pem").write_bytes((folder / "key.pem").read_bytes()),
        "cert: holds no certificate in PEM form: {0}/cert.pem",
    ),
    "a key in DER": (der, "key: holds no private key in PEM form: {0}/key.pem"),
    "a locked key": (
        lambda folder: locked(folder, PrivateFormat.PKCS8),
        "key: holds a key locked with a passphrase, which nobody is there to type: {0}/key.pem",
    ),
    "an old locked key": (
        lambda folder: locked(folder, PrivateFormat.TraditionalOpenSSL),
        "key: holds a key locked with a passphrase, which nobody is there to type: {0}/key.pem",
    ),
    "another's key": (
        lambda folder: (folder / "key.pem").write_bytes(CA.issue_cert("localhost").private_key_pem.bytes()),
        "key: is not the key of the certificate in {0}/cert.pem: {0}/key.pem",
    ),
    "half a certificate": (
        lambda folder: (folder / "cert.pem").write_bytes((folder / "cert.pem").read_bytes()[:200]),
        "cert: can't be used with its key: {0}/cert.pem (",
    ),
    "half a key": (
        lambda folder: (folder / "key.pem").write_bytes((folder / "key.pem").read_bytes()[:100]),
        "cert: can't be used with its key: {0}/cert.pem (",
    ),
    "no authorities": (
        lambda folder: (folder / "ca.pem").write_text("none"),
        "client_ca: holds no certificate in PEM form: {0}/ca.pem",
    ),
    "half an authority": (
        lambda folder: (folder / "ca.pem").write_bytes((folder / "ca.pem").read_bytes()[:200]),
        "client_ca: holds a certificate that can't be used: {0}/ca.pem (",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_can_not_be_used_is_named_and_changes_nothing(pair: Path, name: str) -> None:
    spoil, told = FAULTS[name]
    certificates = Certificates(tls(pair, client_ca=f"{pair}/ca.pem"))
    before = certificates.context
    secret = (pair / "key.pem").read_text().splitlines()[1]
    spoil(pair)
    with pytest.raises(TlsFileError) as refused:
        certificates.reload()
    assert f"{refused.value.role}: {refused.value}".startswith(told.format(pair))
    assert secret not in str(refused.value)
    assert certificates.context is before
    with pytest.raises(TlsFileError):
        Certificates(tls(pair, client_ca=f"{pair}/ca.pem"))


def test_a_good_pair_is_taken_up(pair: Path) -> None:
    certificates = Certificates(tls(pair))
    before = certificates.context
    put(pair, CA.issue_cert("localhost"))
    certificates.reload()
    assert certificates.context is not before
