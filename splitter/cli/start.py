"""`splitter run`: serve until told to stop.

Owns: finding and reading the configuration for it. Must not know: how it is served.
"""

from __future__ import annotations

from pathlib import Path

import click

from splitter.cli.source import config_option, read_config


@click.command("run")
@config_option
def run_command(config_file: Path | None) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Saving the configuration file, or SIGHUP, takes it up again; SIGUSR1 rolls back.
    """
    config, path = read_config(config_file)
    from splitter.run import run  # noqa: PLC0415 - a faulty configuration is told before both planes are imported

    raise SystemExit(run(config, path))
