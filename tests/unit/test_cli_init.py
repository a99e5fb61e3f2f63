"""`splitter init`: what it writes can be used, what it can't use is refused, and nothing is overwritten by accident."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from splitter.cli import main
from splitter.config import KeySource, load

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["init", *arguments])


def test_every_option_is_in_the_file() -> None:
    options = ["--legacy", "http://old:8080,http://old2:8080", "--domain", "http://new", "--key", "jwt:sub, client_ip"]
    result = invoke(*options, "--percent", "2.5", "--listen", "[::1]:9000")
    assert result.exit_code == 0
    assert "splitter run --config config/splitter.yaml" in result.stdout
    config = load(Path("config/splitter.yaml"), {})
    assert [str(url) for url in config.backends.legacy.urls] == ["http://old:8080", "http://old2:8080"]
    assert [str(url) for url in config.backends.domain.urls] == ["http://new:80"]
    assert config.rollout.key == (KeySource("jwt", "sub"), KeySource("client_ip", ""))
    assert (config.rollout.percent, str(config.listen.address)) == (2.5, "[::1]:9000")


def test_a_file_of_eight_lines() -> None:
    assert invoke("--defaults").exit_code == 0
    lines = Path("config/splitter.yaml").read_text().splitlines()
    assert len([line for line in lines if not line.startswith("#")]) <= 8


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--legacy", "old:8080", "must begin with http"),
        ("--domain", "", "must be a URL"),
        ("--key", "head:X", "must begin with one of"),
        ("--key", 'header:X"], salt: "x', "no header can have the name"),
        ("--percent", "10, salt: x", "percent"),
        ("--percent", "100.5", "100"),
        ("--listen", "8000", "must be host:port"),
        ("--domain", "http://127.0.0.1:8000", "is the splitter itself"),
    ],
)
def test_what_cannot_be_used_is_refused(option: str, value: str, complaint: str) -> None:
    result = invoke("--defaults", option, value)
    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in result.stderr
    assert not Path("config").exists()


def test_what_is_there_stays() -> None:
    Path("mine.yaml").write_text("rollout: {percent: 5}\n")
    result = invoke("--defaults", "-o", "mine.yaml")
    assert result.exit_code == 1
    assert "--force" in result.stderr
    assert Path("mine.yaml").read_text() == "rollout: {percent: 5}\n"
    assert invoke("--defaults", "-o", "mine.yaml", "--force").exit_code == 0
    assert load(Path("mine.yaml"), {}).rollout.percent == 0


def test_nobody_to_ask() -> None:
    result = invoke("--legacy", "http://old")
    assert result.exit_code == 2
    assert "--domain is missing" in result.stderr


def test_it_cannot_be_written() -> None:
    Path("config").write_text("not a folder")
    result = invoke("--defaults")
    assert result.exit_code == 1
    assert "can't write config/splitter.yaml" in result.stderr


def test_a_person_answers_on_a_terminal(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    answers = "http://old:1\nnonsense\nhttp://new:2\nheader:X-Account\n7\n\n"  # the second answer is asked for again
    os.write(leader, answers.encode())
    done = subprocess.run(
        [sys.executable, "-m", "splitter", "init", "-o", "a.yaml"],
        stdin=follower, capture_output=True, text=True, timeout=30, cwd=tmp_path, check=False,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    os.close(leader)
    os.close(follower)
    assert done.returncode == 0, done.stderr
    assert "must begin with http://" in done.stderr
    config = load(tmp_path / "a.yaml", {})
    assert (str(config.backends.domain.urls[0]), config.rollout.percent) == ("http://new:2", 7)
    assert str(config.listen.address) == "0.0.0.0:8000"
