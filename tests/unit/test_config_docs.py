"""docs/configuration.md says what is true: its reference is the schema's, its examples give what they show."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from splitter.cli import main
from splitter.config import VARIABLES, parse
from tools import config_docs
from tools.made_part import END, NoPlaceError

PAGE = config_docs.PAGE.read_text("utf-8")


def test_the_reference_is_up_to_date() -> None:
    assert config_docs.main(["--check"]) == 0


def test_a_page_that_is_not_up_to_date_is_seen_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "configuration.md"
    page.write_text(PAGE.replace("| `percent` |", "| `per cent` |"), "utf-8")
    monkeypatch.setattr(config_docs, "PAGE", page)
    assert config_docs.main(["--check"]) == 1
    assert "run python -m tools.config_docs" in capsys.readouterr().err
    assert config_docs.main([]) == 0
    assert page.read_text("utf-8") == PAGE


@pytest.mark.parametrize("page", ["", config_docs.PART.begin, END, f"{END}{config_docs.PART.begin}"])
def test_a_page_without_a_place_is_left_alone(page: str) -> None:
    with pytest.raises(NoPlaceError):
        config_docs.PART.page_with("text", page)


def test_every_variable_is_there() -> None:
    for variable in VARIABLES:
        assert f"| `{variable.name}` |" in PAGE


def test_the_example_of_faults_is_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = PAGE.partition("## What a fault looks like")[2]
    yaml, console = re.findall(r"```(?:yaml|console)\n(.*?)```", example, re.DOTALL)[:2]
    command, _, printed = console.partition("\n")
    assert command == "$ ROLLOUT_PERCENT=101 splitter check-config faulty.yaml"
    monkeypatch.chdir(tmp_path)
    Path("faulty.yaml").write_text(yaml, "utf-8")
    for variable in VARIABLES:
        monkeypatch.delenv(variable.name, raising=False)
    monkeypatch.setenv("ROLLOUT_PERCENT", "101")
    result = CliRunner().invoke(main, ["check-config", "faulty.yaml"])
    assert (result.exit_code, result.stderr) == (2, printed)


def test_the_commands_of_the_page_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config_docs.PAGE.parents[1])
    for name in ("SPLITTER_CONFIG", *(variable.name for variable in VARIABLES)):
        monkeypatch.delenv(name, raising=False)
    commands = re.findall(r"^\$ splitter (.*)$", PAGE, re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        result = CliRunner().invoke(main, shlex.split(command))
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("value", ["500ms", "10s", "5m", "1h", "1d"])
def test_the_forms_of_durations_it_names_are_read(value: str) -> None:
    assert f"`{value}`" in PAGE
    assert parse(f"limits: {{drain_timeout: {value}}}", "a", {}).limits.drain_timeout_s > 0


@pytest.mark.parametrize("value", ["512B", "64KiB", "1MiB"])
def test_the_forms_of_sizes_it_names_are_read(value: str) -> None:
    assert f"`{value}`" in PAGE
    assert parse(f"mirror: {{max_body: {value}}}", "a", {}).mirror.max_body_bytes >= 512
