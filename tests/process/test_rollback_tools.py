"""The promise, under load, by the backends' own counters; and the tools that show it to others."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.process.running import ROOT
from tools.rollback import speed, verify


def test_nothing_arrives_at_domain_after_an_answer_and_nothing_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """Every way, two workers. The goal for the time of an answer is for a machine of one's own, not for this one."""
    status = speed.main(["--times", "4", "--restarts", "1", "--rate", "1500", "--goal", "5000"])
    output = capsys.readouterr().out
    assert status == 0, output
    rows = [re.split(r"\s{2,}", line) for line in output.splitlines() if re.match(r"[A-Za-z0-9]+ {2,}\d", line)]
    assert [row[0] for row in rows] == ["API", "CLI", "SIGUSR1", "config", "handover", "restart"], output
    for name, answers, lasts, late, *failed in rows:
        assert late == "0", output
        assert all(float(ms) > 0 for ms in answers.split(" / ")), output
        assert len(lasts.split(" / ")) == 3, output
        assert name == "restart" or re.fullmatch(r"0 of [0-9,]+", failed[0]), output


def test_a_broken_promise_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert speed.main(["--times", "2", "--rate", "300", "--goal", "0.01", "--ways", "api"]) == 1
    assert re.search(
        r"NOT KEPT: API: 99 % of the answers came within [0-9.]+ ms; the goal is 0.01 ms", capsys.readouterr().out
    )


def test_the_rehearsal(capsys: pytest.CaptureFixture[str]) -> None:
    """With the configuration that is shipped."""
    assert verify.main(["--config", str(ROOT / "config" / "splitter.yaml")]) == 0
    output = capsys.readouterr().out
    assert "FAILED" not in output
    assert output.count("ok      ") >= 30
    for way in ("API", "CLI", "SIGUSR1", "config", "handover", "restart"):
        assert re.search(rf"ok      {way}: answered after [0-9.]+ ms, nothing reached domain later", output), output


def test_a_rehearsal_with_a_faulty_configuration_says_so(tmp_path: Path) -> None:
    file = tmp_path / "faulty.yaml"
    file.write_text("rollout: {percent: 900}\n")
    command = [str(ROOT / "tools" / "rollback_verification.sh"), "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"FAILED  the configuration can be used: {file}:1: rollout.percent: must be a percent" in done.stdout


def test_bad_usage() -> None:
    for words in (["--times", "0"], ["--ways", "prayer"], ["--rate", "x"]):
        with pytest.raises(SystemExit) as ended:
            speed.main(words)
        assert ended.value.code == 2
