"""`splitter events`: who changed what, when and why.

Owns: how the audit list is laid out. Must not know: who writes it.
"""

from __future__ import annotations

import json

import click

from splitter.cli import words
from splitter.cli.client import ROLLOUT, RefusedError, Terminal, UnreachableError, ask
from splitter.cli.target import admin_options, find_target


@click.command("events")
@click.option("--limit", "-n", type=click.IntRange(1, 200), default=20, show_default=True, help="How many, the newest ones.")
@admin_options
def events(limit: int, admin: str | None, token: str | None, as_json: bool) -> None:
    """Show the audit list, the newest line last."""
    target, terminal = find_target(admin, token), Terminal(as_json)
    try:
        found = ask(target, "GET", f"{ROLLOUT}/events?limit={limit}")["events"]
    except (UnreachableError, RefusedError) as error:
        raise terminal.fail(target, error) from None
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    for line in reversed(found):
        click.echo(words.event(line))
    if not found:
        click.echo("nothing has been changed yet")
