"""`tools/rollback_verification.sh`: a rehearsal of every way to roll back, on a private copy, with all that must hold.

Owns: what is checked, in which order, how it is told. Must not know: how a switch is thrown or measured.
Invariants: the running splitter, its state, its ports and its files are not touched; each check is one line; what was not
checked is not said to be well. Exit status: 0 everything holds, 1 something does not.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape

from splitter.cli.client import RefusedError, UnreachableError
from splitter.cli.target import DEFAULT_FILE
from splitter.config import load as load_config
from splitter.errors import ConfigError
from tools.rollback.load import Load, LoadError, load
from tools.rollback.measure import settle, throw
from tools.rollback.rig import Rig, RigError, rig, says_off
from tools.rollback.ways import WAYS, Way, save_switch

RATE: Final = 500
FORCED: Final = 20


@dataclass(slots=True)
class Report:
    """What was checked so far, told as it goes."""

    console: Console
    failed: list[str] = field(default_factory=list)
    passed: int = 0

    def check(self, what: str, holds: bool, otherwise: str = "") -> None:
        """Note one thing that must hold; `otherwise` is what was found instead."""
        if holds:
            self.passed += 1
            self.console.print(f"[green]ok[/green]      {escape(what)}")
        else:
            self.failed.append(f"{what}: {otherwise}" if otherwise else what)
            self.console.print(f"[red]FAILED[/red]  {escape(self.failed[-1])}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tools/rollback_verification.sh", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", type=Path, help="rehearse this configuration (default: the one `splitter run` reads)")
    options = parser.parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    report = Report(console)
    source = options.config or _configuration()
    console.print(f"a private copy with {source or 'no configuration file'}, 50 % on domain, {RATE} requests/s", style="dim")
    try:
        rehearse(source, report)
    except KeyboardInterrupt:
        return 1
    if report.failed:
        console.print(f"{len(report.failed)} of the checks failed", style="red")
        return 1
    console.print("a rollback works, by every way", style="green")
    return 0


def _configuration() -> Path | None:
    named = os.environ.get("SPLITTER_CONFIG", "").strip()
    if named:
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def rehearse(source: Path | None, report: Report) -> None:
    """Everything, on a copy with this configuration. What goes wrong is a line of the report."""
    try:
        load_config(source, os.environ)  # as it is: the copy is given a percent of its own
        with tempfile.TemporaryDirectory(prefix="rehearsal-") as name:
            folder = Path(name)
            with rig(folder, source, {"ROLLOUT_PERCENT": "50"}) as copy:
                _every_way(copy, folder, report)
    except ConfigError as error:
        report.check("the configuration can be used", holds=False, otherwise=str(error))
    except (RigError, LoadError, UnreachableError, RefusedError) as error:
        report.check("the rehearsal comes to its end", holds=False, otherwise=str(error))


def _every_way(copy: Rig, folder: Path, report: Report) -> None:
    for way in WAYS:
        if not way.closes:
            with load(copy.port, RATE, folder) as running:
                _throw_and_look(copy, way, report)
                _check_clients(running, way.name, report)
    with load(copy.port, RATE, folder) as running:
        _latch(copy, report)
        _check_clients(running, "a latch under edits", report)
    with load(copy.port, RATE, folder):  # while it restarts nobody listens: what is refused then is no finding
        _restart(copy, report)
        for way in WAYS:
            if way.closes:
                _throw_and_look(copy, way, report)


def _throw_and_look(copy: Rig, way: Way, report: Report) -> None:
    def look() -> None:
        report.check(f"{way.name}: {way.typed}: the splitter says that it is off", says_off(copy))
        _check_forced(copy, way.name, report)

    thrown = throw(copy, way, look)
    late = f"{thrown.late} arrived"
    report.check(
        f"{way.name}: answered after {thrown.answer_ms:.1f} ms, nothing reached domain later", thrown.late == 0, late
    )
    settle(copy)
    report.check(f"{way.name}: undone, domain has traffic again", not says_off(copy))


def _check_forced(copy: Rig, name: str, report: Report) -> None:
    before = copy.recorded("domain").count
    answers = [copy.get(copy.port, "/rehearsal?force_domain=true") for _ in range(FORCED)]
    reasons = {headers.get("x-splitter-reason", "") for _, headers, _ in answers}
    well = all(status == 200 for status, _, _ in answers) and reasons <= {"rollback", "disabled"}
    arrived = copy.recorded("domain").count - before
    report.check(
        f"{name}: forced requests go to legacy", well and arrived == 0, f"{sorted(reasons)}, {arrived} arrived at domain"
    )


def _check_clients(running: Load, name: str, report: Report) -> None:
    met = running.end()
    report.check(f"{name}: none of {met.requests:,} requests failed", met.failures == 0, str(dict(met.failed)))


def _latch(copy: Rig, report: Report) -> None:
    """Only `resume` lets anybody back."""
    settle(copy)
    copy.api("POST", "/rollback", {"reason": "rehearsal"})
    again = copy.api("POST", "/rollback")
    report.check("rolled back twice: well, and nothing changed", not again["changed"] and says_off(copy))
    before = copy.recorded("domain").count
    version = copy.api("PUT", "/percent", {"percent": 80})["version"]
    report.check("percent set to 80 %: still off", says_off(copy))
    save_switch(copy, on=False)
    copy.wait(lambda: not _switch(copy), "the edited configuration to be taken up")
    save_switch(copy, on=True)
    copy.wait(lambda: _switch(copy), "the edited configuration to be taken up")
    report.check("configuration edited and saved: still off", says_off(copy))
    arrived = copy.recorded("domain").count - before
    report.check("nothing reached domain meanwhile", arrived == 0, f"{arrived} arrived")
    done = copy.api("POST", "/resume")
    report.check("resumed", done["changed"] and done["version"] > version and not says_off(copy))
    settle(copy)


def _switch(copy: Rig) -> bool:
    return bool(copy.api("GET", "")["use_domain_service"]["value"])


def _restart(copy: Rig, report: Report) -> None:
    command = [sys.executable, "-m", "splitter", "rollback", "--admin", str(copy.target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(copy.environment))
    report.check("splitter rollback: exit status 0", done.returncode == 0, done.stderr.strip())
    before = copy.recorded("domain").count
    copy.stop()
    copy.start()
    report.check("restarted: still off", says_off(copy))
    _check_forced(copy, "restarted", report)
    arrived = copy.recorded("domain").count - before
    report.check("nothing reached domain meanwhile", arrived == 0, f"{arrived} arrived")
    command[-3] = "resume"
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(copy.environment))
    report.check("splitter resume: exit status 0", done.returncode == 0, done.stderr.strip())


if __name__ == "__main__":
    sys.exit(main())
