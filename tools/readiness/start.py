"""`tools/rollout_start.sh PERCENT`: readiness first, then what will change, then the change, then a look whether it is so.

Owns: the order of these, the question, what is said. Must not know: how readiness is measured, how a percent is set.
Invariants: nothing is set unless readiness was checked, or --force said that it need not hold; nor unless a person said yes,
or --yes did; it is said to be in force only when the splitter, asked again, says so.
Exit status: 0 in force, 1 refused or failed, 2 bad usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

import click
from rich.console import Console
from rich.markup import escape

from splitter.cli import words
from splitter.cli.client import ROLLOUT, RefusedError, UnreachableError, ask
from splitter.cli.words import Json
from splitter.config import Percent
from splitter.errors import ConfigError
from splitter.progress import IN_FORCE
from tools.readiness.check import Asked, add_options, asked, check
from tools.readiness.findings import Report, terminal

BACK: Final = (
    "everybody back to legacy, at once:  tools/rollback.sh",
    "watch it:                           .venv/bin/splitter watch, or the console",
)
_PROGRAM: Final = "tools/rollout_start.sh"


def _percent(text: str) -> float:
    try:
        return Percent().read(text.strip().removesuffix("%").strip())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Starts the rollout, or takes the next step by hand: checks that everything is ready, shows what is in"
        " force and what will be, asks, sets the percent, and looks whether it is in force. A plan does the steps by itself:"
        " splitter plan start.",
        epilog="Exit status: 0 in force; 1 refused or failed; 2 bad usage.",
    )
    made.add_argument("percent", type=_percent, metavar="PERCENT", help="of clients, to domain")
    made.add_argument("--yes", action="store_true", help="don't ask")
    made.add_argument("--force", action="store_true", help="start although something is not ready")
    made.add_argument("--reason", default="", metavar="TEXT", help="why, for the audit list")
    add_options(made)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if not options.yes and not sys.stdin.isatty():
        print(f"{_PROGRAM}: there is nobody to ask here: --yes goes on without asking", file=sys.stderr)
        return 2
    try:
        about = asked(options)
    except (click.UsageError, ConfigError, ValueError) as error:
        print(getattr(error, "message", error), file=sys.stderr)
        return 2
    report = Report(terminal())
    try:
        check(about, report)
        report.tell_sums()
        if report.failures and not options.force:
            return _refuse("not started: mend what failed, or start all the same with --force")
        return _start(about, options, report.console)
    except (UnreachableError, RefusedError) as error:
        return _refuse(f"NOT DONE: {about.running.admin}: {error}")
    except (KeyboardInterrupt, EOFError):
        return _refuse("\nnot started")


def _refuse(why: str) -> int:
    print(why, file=sys.stderr)
    return 1


def _start(about: Asked, options: argparse.Namespace, console: Console) -> int:
    status = about.running.status()
    console.print()
    for line in prospect(status, options.percent):
        console.print(escape(line))
    if not options.yes and input("go on? [y/N] ").strip().lower() not in {"y", "yes"}:
        return _refuse("not started: nothing was changed")
    body = {"percent": options.percent, "reason": options.reason or _PROGRAM}
    done = ask(about.running.admin, "PUT", f"{ROLLOUT}/percent", body)
    now = about.running.status()
    if now["percent"]["value"] != options.percent:
        return _refuse(f"NOT IN FORCE: the splitter says {words.share(now['percent'])}")
    for line in words.went(done):
        console.print(escape(line))
    why_off = words.off(now)
    if why_off:
        return _refuse(f"the percent is set, but nothing goes to domain: {why_off}; splitter resume lets go of a rollback")
    console.print(f"checked: {escape(words.clean(now['summary']))}", style="green")
    for line in BACK:
        console.print(line)
    return 0


def prospect(status: Json, percent: float) -> list[str]:
    """What is in force and what will be, and what a person may not expect."""
    before = float(status["percent"]["value"])
    lines = [f"in force  {words.share(status['percent'])}", f"then      {percent:g} %: {_moves(before, percent)}"]
    for name, told in status["routes"].items():
        route = words.clean(name)
        lines.append(f"          route {route} stays at {words.percent(told)} (splitter set PERCENT --route {route})")
    plan = status["plan"] or {}
    if plan.get("phase") in IN_FORCE:
        lines.append(f"          the plan is {words.clean(str(plan['phase']))}: a percent set by hand ends it")
    why_off = words.off(status)
    if why_off:
        lines.append(f"          nothing will go to domain: {why_off}")
    return lines


def _moves(before: float, after: float) -> str:
    difference = round(abs(after - before), 2)
    if not difference:
        return "as it is"
    return f"{difference:g} % of clients move to {'domain' if after > before else 'legacy'}, nobody else moves"


if __name__ == "__main__":
    sys.exit(main())
