"""CI's rule about skipped tests, tried on small test files in a pytest of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
ROOT = Path(__file__).parents[2]


def run_pytest(directory: Path, body: str, ci: str) -> subprocess.CompletedProcess[str]:
    (directory / "conftest.py").write_text(CONFTEST.read_text())
    (directory / "pytest.ini").write_text("[pytest]\n")
    (directory / "test_it.py").write_text(f"import pytest\n\ndef test_runs():\n    assert True\n\n{body}\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(directory)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")} | {"CI": ci}
    return subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("body", "ci", "code"),
    [
        ("", "true", 0),
        ("@pytest.mark.skip(reason='no browser')\ndef test_skipped(): ...", "true", 1),
        ("@pytest.mark.skip(reason='no browser')\ndef test_skipped(): ...", "", 0),
        ("def test_skipped():\n    pytest.skip('no browser')", "true", 1),
        ("def test_skipped():\n    pytest.skip('cannot run on CI: it needs a camera')", "true", 0),
        ("@pytest.mark.xfail(reason='known')\ndef test_expected():\n    assert False", "true", 0),
        ("def test_fails():\n    assert False", "true", 1),
    ],
)
def test_a_skip_without_an_allowed_reason_fails_on_ci(tmp_path: Path, body: str, ci: str, code: int) -> None:
    finished = run_pytest(tmp_path, body, ci)
    assert finished.returncode == code, finished.stdout + finished.stderr


def test_the_summary_names_the_test_its_reason_and_what_to_do(tmp_path: Path) -> None:
    finished = run_pytest(tmp_path, "def test_skipped():\n    pytest.skip('no browser')", "true")
    assert "test_it.py::test_skipped: no browser" in finished.stdout
    assert "let it run, or begin its reason with 'cannot run on CI:'" in finished.stdout


def test_a_module_that_is_skipped_as_a_whole_counts_too(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("import pytest\npytest.importorskip('no_such_module_at_all')\n")
    assert run_pytest(tmp_path, "", "true").returncode == 1


def test_the_ci_script_is_executable_and_runs_what_a_person_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text().splitlines() if line.startswith("make ")]
    assert commands == ["make test", "make check"]
