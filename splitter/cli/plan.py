"""`splitter plan`: the timetable of the configured plan.

Owns: what is asked about a plan on the command line, and how it is told. Must not know: how a plan runs.
Invariant: the timetable needs nothing but the configuration; no splitter is contacted for it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from splitter.cli.source import config_option, read_config

_FAILED_STATUS: Final = 1


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
@click.option("--timetable", "wants_timetable", is_flag=True, help="Print when each stage starts and ends.")
@click.option("--start", callback=_when, default="now", metavar="WHEN", help="When the first stage starts (default: now).")
@click.option("--format", "form", type=click.Choice(["text", "json", "ics"]), default="text", help="Of the timetable.")
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@config_option
@click.pass_context
def plan(context: click.Context, wants_timetable: bool, start: datetime, form: str, config_file: Path | None) -> None:
    """The plan of stages of the configuration."""
    if context.invoked_subcommand is not None:
        return
    if not wants_timetable:
        click.echo(context.get_help())
        return
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
