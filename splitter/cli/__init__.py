"""The command line: `splitter COMMAND`, or `python -m splitter COMMAND`.

Owns: which commands there are, exit statuses (0 done, 1 refused or failed, 2 bad usage or configuration).
Must not know: how anything is done.
Invariant: what a script reads goes to standard output, what went wrong to standard error.
"""

from __future__ import annotations

from pathlib import Path

import click

from splitter import __version__
from splitter.cli.check import check_config
from splitter.cli.compare import compare
from splitter.cli.explain import explain
from splitter.cli.init import init
from splitter.cli.plan import plan
from splitter.cli.source import config_option, read_config


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="splitter", message="%(prog)s %(version)s")
def main() -> None:
    """Move clients from an old service to its rewrite, a percentage at a time, and back in an instant."""


@main.command("run")
@config_option
def run_command(config_file: Path | None) -> None:
    """Serve until SIGTERM or Ctrl-C; saving the configuration file, or SIGHUP, takes up its rollout part."""
    config, path = read_config(config_file)
    from splitter.run import run  # noqa: PLC0415 - the other commands need not wait for both planes to be imported

    raise SystemExit(run(config, path))


main.add_command(check_config)
main.add_command(explain)
main.add_command(compare)
main.add_command(init)
main.add_command(plan)
