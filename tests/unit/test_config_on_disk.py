"""Files that a configuration names: what is wrong with one is a fault of its key, with the line."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from splitter.config import load, parse
from splitter.errors import ConfigError

CONFIG = """
backends:
  domain:
    urls: ["https://127.0.0.1:8443"]
    tls:
      ca: {ca}
      cert: {cert}
      key: {key}
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    authority = trustme.CA()
    found = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key", "other_key")}
    authority.cert_pem.write_to_path(str(found["ca"]))
    issued, other = authority.issue_cert("a"), authority.issue_cert("b")
    issued.cert_chain_pems[0].write_to_path(str(found["cert"]))
    issued.private_key_pem.write_to_path(str(found["key"]))
    other.private_key_pem.write_to_path(str(found["other_key"]))
    return found


def faults(folder: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    path = folder / "splitter.yaml"
    path.write_text(text)
    try:
        load(path, environ or {})
    except ConfigError as error:
        return [str(fault).removeprefix(f"{path}:") for fault in error.faults]
    return []


def test_good_files(tmp_path: Path, files: dict[str, Path]) -> None:
    assert faults(tmp_path, CONFIG.format(**files)) == []


@pytest.mark.parametrize(
    ("changed", "line", "message"),
    [
        ({"ca": "no"}, 6, "ca: there is no such file: no"),
        ({"cert": "no"}, 7, "cert: there is no such file: no"),
        ({"key": "no"}, 8, "key: there is no such file: no"),
    ],
)
def test_a_file_that_is_not_there(
    tmp_path: Path, files: dict[str, Path], changed: dict[str, str], line: int, message: str
) -> None:
    assert faults(tmp_path, CONFIG.format(**files | changed)) == [f"{line}: backends.domain.tls.{message}"]


def test_a_key_of_another_certificate(tmp_path: Path, files: dict[str, Path]) -> None:
    (fault,) = faults(tmp_path, CONFIG.format(**files | {"key": files["other_key"]}))
    assert fault.startswith("8: backends.domain.tls.key: is not the key of the certificate in ")


def test_it_is_told_together_with_other_faults(tmp_path: Path, files: dict[str, Path]) -> None:
    text = CONFIG.format(**files | {"ca": "no"}) + "rollout: {percent: 200}\n"
    assert len(faults(tmp_path, text)) == 2


def test_files_nobody_needs_are_not_looked_at(tmp_path: Path) -> None:
    text = CONFIG.format(ca="no", cert="no", key="no")
    assert faults(tmp_path, text, {"DOMAIN_URL": "http://127.0.0.1:8002"}) == []
    config = parse(text, "f.yaml", {"DOMAIN_URL": "http://127.0.0.1:8002"})
    assert "backends.domain.tls: none of its URLs is https://" in config.not_in_force()


def test_parsing_a_text_reads_no_file() -> None:
    config = parse(CONFIG.format(ca="no", cert="no", key="no"), "f.yaml", {})
    assert str(config.backends.domain.urls[0]) == "https://127.0.0.1:8443"
    assert parse('backends: {domain: {urls: ["https://a"]}}', "f", {}).backends.domain.urls[0].port == 443
