"""`splitter mirror`: how it reads, its exit statuses, that nothing a backend said can steer a terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from splitter.cli import main
from splitter.cli import mirror as command
from splitter.cli.client import UnreachableError
from splitter.compare import Tally
from splitter.config import Config
from splitter.control.mirror_told import findings_document
from splitter.control.table import table_of
from splitter.snapshot import Snapshot
from tests.integration.test_mirror_api import a_tally

CONFIG = Config.model_validate({"mirror": {"percent": 12.5}})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    paths: list[str] = []

    def ask(_target: object, _method: str, path: str) -> dict[str, Any]:
        paths.append(path)
        return answer[0]

    monkeypatch.setattr(command, "ask", ask)
    answer[0] = document(a_tally())
    return paths


answer: list[dict[str, Any]] = [{}]


def document(tally: Tally) -> dict[str, Any]:
    return findings_document(CONFIG, Snapshot(table_of(CONFIG)), tally, 200)


def invoke(*options: str) -> Result:
    return CliRunner().invoke(main, ["mirror", "--admin", "127.0.0.1:1", *options])


def test_the_table(asked: list[str]) -> None:
    result = invoke("--endpoint", "GET /cameras/{id}", "--limit", "7")
    assert asked == ["/api/v1/rollout/mirror?limit=7&endpoint=GET+%2Fcameras%2F%7Bid%7D"]
    lines = result.stdout.splitlines()
    assert lines[0] == "12.5 % of the requests that legacy serves are copied to domain"
    assert lines[1].endswith(": 1 match, 5 mismatch")
    assert lines[2:] == [
        "  where    what           differed  noise   verdict",
        "GET /cameras",
        "  $.port   another type   4 of 4    0 of 4  mismatch",
        '      554 → "554"',
        "  $.now    another value  4 of 4    4 of 4  noise",
        "      1 → 2",
        "GET /me",
        "  $.token  another value  1 of 1    0 of 0  mismatch",
        "      *** (string) → *** (string)",
        "domain differs in 2 places (6 requests compared)",
    ]


@pytest.mark.parametrize(
    ("tally", "last", "status"),
    [(a_tally(), "domain differs in 2 places (6 requests compared)", 1), (Tally(), "nothing was compared yet", 1)],
)
def test_exit_statuses(asked: list[str], tally: Tally, last: str, status: int) -> None:
    answer[0] = document(tally)
    assert invoke().exit_code == 0
    failed = invoke("--fail")
    assert (failed.stdout.splitlines()[-1], failed.exit_code) == (last, status)
    as_json = invoke("--fail", "--json")
    assert (json.loads(as_json.stdout), as_json.exit_code) == (answer[0], status)
    assert len(asked) == 3


def test_more_than_is_shown(asked: list[str]) -> None:
    answer[0]["places"] = answer[0]["places"][:1]
    assert "... and 2 more: --limit, or --json for all of their samples" in invoke().stdout
    assert "more:" not in invoke("--endpoint", "GET /cameras").stdout
    assert asked


def test_nothing_steers_the_terminal(asked: list[str]) -> None:
    place = answer[0]["places"][0]
    place |= {"endpoint": "GET /\x1b[2J", "path": "$.\x1b]0;x\x07"}
    place["samples"][0]["domain"] = "\x1b[31mred\r\n"
    assert "\x1b" not in invoke().stdout
    assert asked


def test_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object) -> None:
        raise UnreachableError("nothing listens there")

    monkeypatch.setattr(command, "ask", ask)
    result = invoke()
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "can't reach the splitter at http://127.0.0.1:1: nothing listens there\n"
    assert json.loads(invoke("--json").stdout)["error"]["code"] == "unreachable"
    assert invoke("--limit", "0").exit_code == 2
