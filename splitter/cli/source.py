"""Which configuration a command is about, and how its faults are told.

Owns: option, variable and default place of the file. Must not know: what is in it.
Invariant: every command finds the same file in the same way.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from splitter.cli.target import DEFAULT_FILE
from splitter.config import CONFIG_VARIABLE, Config, load
from splitter.errors import ConfigError, Fault

USAGE_STATUS: Final = 2

config_option = click.option(
    "--config",
    "-c",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"Configuration file (default: {CONFIG_VARIABLE}, else {DEFAULT_FILE} if there is one, else defaults).",
)


def config_path(given: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read: the one given, else the one the environment names, else the default one; None without any."""
    if given is not None:
        return given
    named = environ.get(CONFIG_VARIABLE, "").strip()
    if named:
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def read_config(given: Path | None) -> tuple[Config, Path | None]:
    """The configuration and its file. Tells all faults and ends the program with status 2 if it can't be used."""
    path = config_path(given, os.environ)
    try:
        return load(path, os.environ), path
    except ConfigError as error:
        tell_faults(error.faults)
        raise SystemExit(USAGE_STATUS) from None


def tell_faults(faults: tuple[Fault, ...]) -> None:
    """One line for each, and how many."""
    for fault in faults:
        click.echo(fault, err=True)
    click.secho(f"{len(faults)} fault{'s'[: len(faults) != 1]}: not usable", fg="red", err=True)
