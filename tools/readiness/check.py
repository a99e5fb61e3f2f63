"""`tools/rollout_preparation_check.sh`: every item of the document's checklist, measured, and how complete it all is.

Owns: options, the groups of the document's table and what belongs to each. Must not know: how an item is measured.
Invariants: the running splitter is asked, never changed: what would disturb clients is done on a private copy; a check that
breaks is a failure of that check, and the others are carried out.
Exit status: 0 nothing failed, 1 something did, 2 bad usage.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from splitter.cli.source import config_path
from splitter.cli.target import Target, find_listener, find_target, read_target
from splitter.config import Config, load
from splitter.errors import ConfigError
from tools.readiness import live, papers, rehearsal, watching
from tools.readiness.compared import (
    CAMERA_OPERATIONS,
    ROOT,
    RULE_WRITES,
    THIRTEEN,
    Compared,
    NotComparedError,
    compare,
    url_of,
)
from tools.readiness.findings import Finding, Report, failed, not_checked, ok, terminal
from tools.readiness.live import Running

UNIT_TESTS: Final = "the unit tests pass"
INTEGRATED: Final = f"the {len(THIRTEEN)} endpoints answer on both sides"
STATUSES: Final = "old and new answer with the same statuses"
ANSWERS: Final = "old and new answer with the same headers and bodies"
_QUICK: Final = (
    "--quick leaves out what needs a private copy",
    "without --quick: it takes a minute, and touches nothing that runs",
)
_TESTS_MOST_S: Final = 1200


@dataclass(frozen=True, slots=True)
class Asked:
    """What the check is about."""

    running: Running
    config: Config
    source: Path | None
    cameras: Path
    prometheus: str | None
    grafana: str | None
    tests: bool
    quick: bool
    root: Path = ROOT


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="tools/rollout_preparation_check.sh",
        description="Measures every item of the rollout's checklist: a line each, and how complete it is in the end. "
        "The running splitter is asked, and never changed; what would disturb clients is tried on a private copy.",
        epilog="Exit status: 0 nothing failed; 1 something did; 2 bad usage. What was not checked is not complete.",
    )
    add_options(made)
    made.add_argument("--tests", action="store_true", help="run the unit tests too, which takes some minutes")
    made.add_argument("--json", action="store_true", help="print JSON instead of lines")
    return made


def add_options(made: argparse.ArgumentParser) -> None:
    """The options that say what is checked; `rollout_start.sh` has them too."""
    made.add_argument("--url", help="where clients find the splitter (default: SPLITTER_LISTEN, else the configuration)")
    made.add_argument("--admin", metavar="URL", help="its admin API (default: SPLITTER_ADMIN, else the configuration)")
    made.add_argument("--token", help="the admin token (better: SPLITTER_ADMIN_TOKEN)")
    made.add_argument(
        "--config", "-c", type=Path, metavar="FILE", help="its configuration (default: the one `splitter run` reads)"
    )
    made.add_argument("--cameras", type=Path, metavar="FILE", help="the services' cameras (default: config/cameras.yaml)")
    made.add_argument(
        "--prometheus", metavar="URL", help="look whether this Prometheus has the rules and scrapes the splitter"
    )
    made.add_argument("--grafana", metavar="URL", help="look whether this Grafana has the dashboards (GRAFANA_TOKEN)")
    made.add_argument("--quick", action="store_true", help="leave out what needs a private copy")


def asked(options: argparse.Namespace) -> Asked:
    """Raises click.UsageError for an address of no use, ConfigError for a configuration of none."""
    source = config_path(options.config, os.environ)
    config = load(source, os.environ)
    for name, given in (("SPLITTER_CONFIG", source), ("SPLITTER_ADMIN_TOKEN", options.token)):
        if given is not None:
            os.environ[name] = str(given)  # so that whatever is called is about the same one
    public: Target = read_target(options.url, "") if options.url else find_listener()
    return Asked(
        running=Running(find_target(options.admin, options.token), public),
        config=config,
        source=source,
        cameras=options.cameras or ROOT / "config" / "cameras.yaml",
        prometheus=options.prometheus,
        grafana=options.grafana,
        tests=getattr(options, "tests", False),
        quick=options.quick,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        about = asked(options)
    except (click.UsageError, ConfigError, ValueError) as error:
        print(getattr(error, "message", error), file=sys.stderr)
        return 2
    report = Report(terminal(quiet=options.json))
    try:
        check(about, report)
    except KeyboardInterrupt:
        return 1
    if options.json:
        print(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
    report.tell_sums()
    return 1 if report.failures else 0


def check(about: Asked, report: Report) -> None:
    """Everything, group by group, as the document's table has them."""
    where = about.source or "no configuration file"
    report.console.print(f"clients at {about.running.public}, operators at {about.running.admin}, {where}", style="dim")
    compared = _Comparison(about)
    with tempfile.TemporaryDirectory(prefix="readiness-") as name:
        copy = rehearsal.Rehearsal(about.source, Path(name))

        def on_a_copy(made: Callable[[], Iterator[Finding]], *left_out: str) -> Iterator[Finding]:
            return (not_checked(what, *_QUICK) for what in left_out) if about.quick else made()

        def add(title: str, *parts: Iterable[Finding]) -> None:
            report.add(title, (finding for part in parts for finding in part))

        add(
            "Code integration",
            live.in_force(about.running),
            compared.integrated(),
            on_a_copy(copy.fallback, rehearsal.FALLBACK),
        )
        add("Unit tests", unit_tests(about))
        add("Integration tests", papers.cameras(about.cameras), live.cameras(about.running), compared.endpoints())
        add("Functional comparison", compared.alike())
        add(
            "Switches",
            live.forced(about.running),
            on_a_copy(copy.switches, rehearsal.SHARE, rehearsal.FORCED),
        )
        add(
            "Rollback",
            on_a_copy(copy.rollback, rehearsal.MECHANISM, rehearsal.SPEED, rehearsal.SCRIPT),
            [papers.document(about.root, "docs/rollback.md")],
        )
        add("Monitoring endpoints", live.monitoring(about.running))
        add(
            "Monitoring configuration",
            watching.alerts(about.root, about.prometheus),
            watching.dashboards(about.root, about.grafana),
        )
        add(
            "Rollout configuration",
            [papers.document(about.root, "docs/configuration.md"), papers.script(about.root, "tools/rollout_start.sh")],
            papers.plan(about.config, about.source),
            [papers.document(about.root, "docs/immediate_next_steps.md")],
        )


class _Comparison:
    """Old and new compared once, for three groups."""

    def __init__(self, about: Asked) -> None:
        self._about = about
        self._result: Compared | NotComparedError | None = None

    def _get(self) -> Compared | NotComparedError:
        if self._result is None:
            try:
                self._result = compare(url_of(self._about.running.public))
            except (NotComparedError, subprocess.TimeoutExpired) as error:
                self._result = NotComparedError(str(error))
        return self._result

    def integrated(self) -> Iterator[Finding]:
        """That there is an answer from both, whether or not they are alike."""
        result = self._get()
        if isinstance(result, NotComparedError):
            yield failed(INTEGRATED, str(result))
            return
        silent = [name for name in THIRTEEN if not result.was_answered(name)]
        if silent:
            yield failed(INTEGRATED, f"{len(silent)} do not; {result.incomplete or ', '.join(silent)}")
        else:
            yield ok(INTEGRATED)

    def endpoints(self) -> Iterator[Finding]:
        """The two kinds of endpoints the document names."""
        result = self._get()
        for what, names in (("camera operations", CAMERA_OPERATIONS), ("alert rule writes", RULE_WRITES)):
            title = f"{len(names)} {what} work on both sides"
            if isinstance(result, NotComparedError):
                yield failed(title, str(result))
                continue
            bad = [endpoint for endpoint in map(result.endpoint, names) if endpoint.trouble]
            if bad:
                why = f"{len(bad)} don't; {bad[0].name}: {bad[0].trouble}"
                yield failed(title, why, "tools/verify_new_endpoints.sh shows each")
            else:
                yield ok(title, f"{len(names)} of {len(names)}")

    def alike(self) -> Iterator[Finding]:
        """Statuses, and all else."""
        result = self._get()
        for what, of_statuses in ((STATUSES, True), (ANSWERS, False)):
            if isinstance(result, NotComparedError):
                yield failed(what, str(result))
                continue
            found = result.differences(of_statuses=of_statuses)
            if found:
                why = f"{len(found)} places differ; {found[0]}" if len(found) > 1 else found[0]
                yield failed(what, why, "tools/functionality_comparison_test.sh shows each")
            elif result.incomplete:
                yield failed(what, f"not everything could be compared; {result.incomplete}")
            else:
                yield ok(what, f"{result.document['requests']['compared']} requests")


def unit_tests(about: Asked) -> Iterator[Finding]:
    """Run when asked for: they are about this checkout, not about what is running."""
    if not about.tests:
        yield not_checked(UNIT_TESTS, "they take some minutes", "--tests runs them")
        return
    if importlib.util.find_spec("pytest") is None:
        yield not_checked(UNIT_TESTS, "pytest is not installed", "make install")
        return
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPLITTER_")}
    try:
        done = subprocess.run(
            command, cwd=about.root, env=environment, capture_output=True, text=True, check=False, timeout=_TESTS_MOST_S
        )
    except subprocess.TimeoutExpired:
        yield failed(UNIT_TESTS, f"they did not end within {_TESTS_MOST_S} s")
        return
    last = done.stdout.strip().rpartition("\n")[2].strip("= ")
    yield ok(UNIT_TESTS, last) if done.returncode == 0 else failed(UNIT_TESTS, last, "make test ARGS=tests/unit shows more")


if __name__ == "__main__":
    sys.exit(main())
