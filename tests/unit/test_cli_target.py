"""Where a command asks: options, environment, file, default; and what the way there costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from splitter.cli.target import AddressError, find_target, read_target
from splitter.config import VARIABLES

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SPLITTER_CONFIG", "SPLITTER_ADMIN", *(variable.name for variable in VARIABLES)):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "shown", "authority"),
    [
        ("http://127.0.0.1:8090", "http://127.0.0.1:8090", "127.0.0.1:8090"),
        ("127.0.0.1:8090", "http://127.0.0.1:8090", "127.0.0.1:8090"),
        ("0.0.0.0:8090", "http://127.0.0.1:8090", "127.0.0.1:8090"),
        ("[::]:8090", "http://[::1]:8090", "[::1]:8090"),
        ("[::1]:8090", "http://[::1]:8090", "[::1]:8090"),
        ("ops.example", "http://ops.example:8090", "ops.example:8090"),
        ("http://ops.example", "http://ops.example:80", "ops.example:80"),
        ("https://ops.example/splitter/", "https://ops.example:443/splitter", "ops.example:443"),
        ("unix:/run/s.sock", "unix:/run/s.sock", "localhost"),
    ],
)
def test_addresses(text: str, shown: str, authority: str) -> None:
    target = read_target(text, "")
    assert (str(target), target.authority) == (shown, authority)


@pytest.mark.parametrize(
    "text",
    [
        "ftp://x",
        "http://",
        "http://:80",
        "x:port",
        "x:0",
        "x:70000",
        "http://x?y",
        "http://u@x",
        "http://u:p@x",
        "unix:x",
        " ",
    ],
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(AddressError, match=r"admin address|absolute path"):
        read_target(text, "")


def test_the_first_that_says_something_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    def where(admin: str | None = None) -> str:
        return str(find_target(admin, None))

    assert where() == "http://127.0.0.1:8090"
    Path("config").mkdir()
    Path("config/splitter.yaml").write_text("admin: {port: 8091}\n")
    assert where() == "http://127.0.0.1:8091"
    Path("mine.yaml").write_text("admin: {host: '::', port: 8092}\n")
    monkeypatch.setenv("SPLITTER_CONFIG", "mine.yaml")
    assert where() == "http://[::1]:8092"
    monkeypatch.setenv("SPLITTER_ADMIN_LISTEN", "0.0.0.0:8093")
    assert where() == "http://127.0.0.1:8093"
    monkeypatch.setenv("SPLITTER_ADMIN", "http://far:8094")
    assert where() == "http://far:8094"
    assert where("unix:/run/s.sock") == "unix:/run/s.sock"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "http://127.0.0.1:8090"),
        ("admin:\n", "http://127.0.0.1:8090"),
        ("admin: 7\n", "http://127.0.0.1:8090"),
        ("- a\n", "http://127.0.0.1:8090"),
        ("admin: {host: 10.0.0.7}\nrollout: {percent: 900, oops: 1}\n", "http://10.0.0.7:8090"),
        ("admin: {host: 'unix:/run/s.sock'}\n", "unix:/run/s.sock"),
        ("admin: {port: 8091\n", "http://127.0.0.1:8090"),
        ("\0", "http://127.0.0.1:8090"),
    ],
)
def test_a_broken_file_stops_nobody(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("config").mkdir()
    Path("config/splitter.yaml").write_text(text)
    assert str(find_target(None, None)) == shown
    broken = text in ("admin: {port: 8091\n", "\0")
    assert ("can't be read as YAML" in capsys.readouterr().err) == broken


def test_a_bad_address_is_bad_usage_and_says_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITTER_ADMIN", "ftp://x")
    with pytest.raises(click.UsageError, match="SPLITTER_ADMIN: 'ftp://x' is no admin address"):
        find_target(None, None)


def test_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_target(None, None).token == ""
    monkeypatch.setenv("SPLITTER_ADMIN_TOKEN", " from-environment ")
    assert find_target(None, None).token == "from-environment"
    assert find_target(None, "given").token == "given"
    assert "given" not in str(find_target(None, "given"))


def test_a_rollback_imports_nothing_slow() -> None:
    """Half a second of imports is long when everything is on fire. (json, http.client and click are what it needs.)"""
    program = (
        "import sys; sys.argv = ['splitter', 'rollback', '--help']\n"
        "from splitter.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(sorted(name for name in sys.modules if '.' not in name))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = done.stdout.splitlines()[-1]
    slow = ("aiohttp", "asyncio", "pydantic", "rich", "structlog", "prometheus_client", "uvloop", "yaml", "watchfiles")
    assert [name for name in slow if f"'{name}'" in loaded] == []
    assert "'click'" in loaded
