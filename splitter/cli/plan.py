"""`splitter plan`: where the plan stands, its buttons, and its timetable.

Owns: what is asked about a plan on the command line, and how it is told. Must not know: how a plan runs.
Invariant: the timetable needs nothing but the configuration, no splitter is contacted for it; everything else is what the
running splitter answers.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from splitter.cli import words
from splitter.cli.client import ROLLOUT, RefusedError, Terminal, UnreachableError, ask
from splitter.cli.source import config_option, read_config
from splitter.cli.switches import reason_option, tell
from splitter.cli.target import admin_options, find_target
from splitter.cli.words import Json

_FAILED_STATUS: Final = 1
_STAGE = click.IntRange(min=1)


def _when(_ctx: click.Context, _option: click.Parameter, value: str) -> datetime:
    """ISO 8601, in this machine's time zone unless it names one; or `now`."""
    if value.strip().lower() == "now":
        return datetime.now(UTC)
    try:
        return datetime.fromisoformat(value.strip()).astimezone(UTC)
    except (ValueError, OverflowError):
        message = f"{value!r} is no time such as 2026-12-01T09:00, 2026-12-01T09:00+01:00 or now"
        raise click.BadParameter(message) from None


@click.group("plan", invoke_without_command=True)
@click.option("--timetable", "wants_timetable", is_flag=True, help="Print when each stage starts and ends, as configured.")
@click.option("--start", callback=_when, default="now", metavar="WHEN", help="When the first stage starts (default: now).")
@click.option("--format", "form", type=click.Choice(["text", "json", "ics"]), default="text", help="Of the timetable.")
@config_option
@admin_options
@click.pass_context
def plan(
    context: click.Context,
    wants_timetable: bool,
    start: datetime,
    form: str,
    config_file: Path | None,
    admin: str | None,
    token: str | None,
    as_json: bool,
) -> None:
    """Show where the plan stands in the running splitter, and what its guardrails say."""
    if context.invoked_subcommand is not None:
        return
    if wants_timetable:
        _print_timetable(start, "json" if as_json else form, config_file)
    else:
        _print_state(admin, token, as_json=as_json)


def _print_timetable(start: datetime, form: str, config_file: Path | None) -> None:
    config, path = read_config(config_file)
    stages = config.rollout.plan
    if not stages:
        click.echo(f"there is no plan in {path or 'the defaults'}: give rollout.plan some stages", err=True)
        raise SystemExit(_FAILED_STATUS)
    from splitter import timetable  # noqa: PLC0415 - the calendar library takes a tenth of a second to import

    rows = timetable.timetable(stages, start)
    if form == "json":
        click.echo(json.dumps(timetable.as_json(rows), indent=2))
    elif form == "ics":
        click.echo(timetable.as_calendar(rows, datetime.now(UTC)), nl=False)
    else:
        click.echo(timetable.as_text(rows, lambda moment: moment.astimezone()))


def _print_state(admin: str | None, token: str | None, *, as_json: bool) -> None:
    target, terminal = find_target(admin, token), Terminal(as_json)
    try:
        found = ask(target, "GET", f"{ROLLOUT}/plan")
    except (UnreachableError, RefusedError) as error:
        raise terminal.fail(target, error) from None
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    console = Console(highlight=False, soft_wrap=True)
    if found["plan"] is None:
        console.print(Text("there is no plan: give rollout.plan some stages"))
    else:
        console.print(Text(f"plan: {words.plan(found['plan'])}"), _stages(found["plan"]), sep="\n\n")
    console.print(Text(f"\nguardrails: {words.guardrails(found['guardrails'])}"))
    verdict = found["guardrails"]["verdict"]
    for result in verdict["results"] if verdict is not None else ():
        console.print(Text(f"  {result['outcome'].replace('_', ' '):<7}  {words.clean(result['sentence'])}"))


def _stages(found: Json) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("stage", "percent", "hold", "", "ends at the earliest", "then"):
        table.add_column(heading)
    for stage in found["stages"]:
        who = [name for name, wanted in (("a person", stage["approve"]), ("the hook", stage["confirm"])) if wanted]
        table.add_row(
            str(stage["stage"]),
            f"{stage['percent']:g} %",
            _lasting(stage["hold_s"]),
            stage["state"],
            words.local_time(stage["ends_at"]) if stage["ends_at"] else "",
            f"waits for {' and '.join(who)}" if who else "",
        )
    return table


def _lasting(hold_s: float | None) -> str:
    from splitter.rollout import lasting  # noqa: PLC0415 - it brings the whole configuration with it

    return "stays" if hold_s is None else lasting(hold_s)


# --- the buttons ------------------------------------------------------------------------------------------------------


def _press(button: str, body: Json, admin: str | None, token: str | None, *, as_json: bool) -> None:
    target, terminal = find_target(admin, token), Terminal(as_json)
    try:
        done = ask(target, "POST", f"{ROLLOUT}/plan/{button}", body)
    except (UnreachableError, RefusedError) as error:
        raise terminal.fail(target, error) from None
    now = words.plan(done["status"]["plan"]) if done["status"]["plan"] is not None else "there is none"
    why_off = words.off(done["status"])
    tell(
        done,
        f"plan: {now}" if done["changed"] else f"nothing to do, the plan is {now}",
        *([f"but nothing goes to domain: {why_off}"] if why_off and button not in ("abort", "pause") else []),
        as_json=as_json,
    )


@plan.command("start")
@click.option("--from-stage", type=_STAGE, metavar="N", help="The stage to start with (default: the one in force by now).")
@reason_option
@admin_options
def start(from_stage: int | None, reason: str, admin: str | None, token: str | None, as_json: bool) -> None:
    """Start the plan, at the last stage that goes no further than what is in force: nobody moves by that."""
    body: Json = {"reason": reason} | ({} if from_stage is None else {"from_stage": from_stage})
    _press("start", body, admin, token, as_json=as_json)


@plan.command("pause")
@reason_option
@admin_options
def pause(reason: str, admin: str | None, token: str | None, as_json: bool) -> None:
    """Stop the clock. The percent stays, and guardrails go on watching."""
    _press("pause", {"reason": reason}, admin, token, as_json=as_json)


@plan.command("continue")
@reason_option
@admin_options
def go_on(reason: str, admin: str | None, token: str | None, as_json: bool) -> None:
    """Let the clock run again, or approve the stage that waits for a person."""
    _press("continue", {"reason": reason}, admin, token, as_json=as_json)


@plan.command("promote")
@click.option("--full", is_flag=True, help="Go on to the last stage.")
@reason_option
@admin_options
def promote(full: bool, reason: str, admin: str | None, token: str | None, as_json: bool) -> None:
    """End the stage now, whatever is left of its hold and whatever the guardrails say: the next one begins."""
    _press("promote", {"reason": reason, "full": full}, admin, token, as_json=as_json)


@plan.command("abort")
@reason_option
@admin_options
def abort(reason: str, admin: str | None, token: str | None, as_json: bool) -> None:
    """Give the plan up: what it moved is back on legacy. It can be started again."""
    _press("abort", {"reason": reason}, admin, token, as_json=as_json)
