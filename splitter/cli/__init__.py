"""The command line: `splitter COMMAND`, or `python -m splitter COMMAND`.

Owns: which commands there are, exit statuses (0 done, 1 refused or failed, 2 bad usage or configuration).
Must not know: how anything is done.
Invariants: what a script reads goes to standard output, what went wrong to standard error; a command waits for the import of
nothing but what it uses, because `splitter rollback` is typed when every tenth of a second is long.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

_COMMANDS: Final = {
    "init": "splitter.cli.init:init",
    "run": "splitter.cli.start:run_command",
    "check-config": "splitter.cli.check:check_config",
    "explain": "splitter.cli.explain:explain",
    "envoy-config": "splitter.cli.envoy_config:envoy_config",
    "status": "splitter.cli.status:status",
    "watch": "splitter.cli.watch:watch",
    "set": "splitter.cli.switches:set_percent",
    "rollback": "splitter.cli.switches:rollback",
    "resume": "splitter.cli.switches:resume",
    "events": "splitter.cli.events:events",
    "plan": "splitter.cli.plan:plan",
    "rehearse": "splitter.cli.rehearse:rehearse",
    "mirror": "splitter.cli.mirror:mirror",
    "compare": "splitter.cli.compare:compare",
}
"""Command -> where it is, in the order of the help."""


class _Commands(click.Group):
    """Imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = _COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


def _show_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from splitter import __version__  # noqa: PLC0415 - see there

        click.echo(f"splitter {__version__}")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version.")
def main() -> None:
    """Move clients from an old service to its rewrite, a percentage at a time, and back in an instant."""
