"""What holds for the whole test session: on CI, a test that did not run is a failure.

Owns: that rule. Must not know: any single test. Fixtures belong into the conftest.py of the directory that uses them.
Invariant: with CI=true the session passes only if every collected test ran, except those whose reason says that CI
can't run them; a skip that nobody explained would look green for ever.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# A machine that is busy may take its time for one example; hypothesis would call that a failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

CANNOT_RUN = "cannot run on CI:"

_skips = pytest.StashKey[list[tuple[str, str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_skips] = []
    config.pluginmanager.register(_SkipRecorder(config), "skip-recorder")


class _SkipRecorder:
    """Collects (test, reason) of each skip, of single tests and of whole modules."""

    def __init__(self, config: pytest.Config) -> None:
        self._skips = config.stash[_skips]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):  # an expected failure did run
            self._skips.append((report.nodeid, _reason(report)))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._skips.append((report.nodeid, _reason(report)))


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    return text.removeprefix("Skipped: ")


def _unexplained(config: pytest.Config) -> list[tuple[str, str]]:
    if os.environ.get("CI") != "true":
        return []
    return [(test, reason) for test, reason in config.stash[_skips] if not reason.startswith(CANNOT_RUN)]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _unexplained(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    unexplained = _unexplained(config)
    if unexplained:
        terminalreporter.section("skipped on CI without a reason that allows it", red=True)
        for test, reason in unexplained:
            terminalreporter.line(f"{test}: {reason}")
        terminalreporter.line(f"let it run, or begin its reason with '{CANNOT_RUN}'")
