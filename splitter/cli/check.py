"""`splitter check-config`: is it usable, and what would be in force, from where.

Owns: how values and faults are laid out, for people and as JSON. Must not know: what makes a configuration usable.
Invariant: a secret is never printed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.text import Text

from splitter.certificates import Certificates
from splitter.cli.source import USAGE_STATUS, config_path, tell_faults
from splitter.config import Config, leaves, load
from splitter.errors import ConfigError, Fault
from splitter.pem import TlsFileError

_WIDEST_VALUE: Final = 48


@click.command("check-config")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check_config(file: Path | None, as_json: bool) -> None:
    """Check a configuration FILE as a whole, under this environment, and show what would be in force and why.

    Without FILE: the one `run` would read. Exit status 0 if it is usable, 2 if not.
    """
    path = config_path(file, os.environ)
    try:
        config = load(path, os.environ)
        _try_files(config, path)
    except ConfigError as error:
        if as_json:
            click.echo(json.dumps({"ok": False, "file": _name(path), "faults": [_fault(fault) for fault in error.faults]}))
        else:
            tell_faults(error.faults)
        raise SystemExit(USAGE_STATUS) from None
    if as_json:
        click.echo(json.dumps(_as_json(config, path), ensure_ascii=False))
    else:
        _print(config, path)


def _try_files(config: Config, path: Path | None) -> None:
    """Read what the configuration names and `run` would not start without. Raises ConfigError."""
    if config.listen.tls is None:
        return
    try:
        Certificates(config.listen.tls)
    except TlsFileError as error:
        place = f"listen.tls.{error.role}"
        line = config.origins[place].removeprefix("file:")
        raise ConfigError((Fault(place, str(error), str(path), int(line) if line.isdigit() else 0),)) from None


def _name(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _fault(fault: Fault) -> dict[str, object]:
    return {"path": fault.path, "message": fault.message, "source": fault.source, "line": fault.line or None}


def _as_json(config: Config, path: Path | None) -> dict[str, object]:
    return {
        "ok": True,
        "file": _name(path),
        "values": {leaf.path: {"value": leaf.show(), "origin": config.origins[leaf.path]} for leaf in leaves(config)},
        "not_in_force": config.not_in_force(),
    }


def _print(config: Config, path: Path | None) -> None:
    """A line for each value: path, value, origin; those somebody has set stand out."""
    console = Console(highlight=False, soft_wrap=True)
    rows = [(leaf.path, leaf.show(), config.origins[leaf.path]) for leaf in leaves(config)]
    widest_path = max(len(row[0]) for row in rows)
    widest_value = min(_WIDEST_VALUE, max(len(row[1]) for row in rows))
    for place, value, origin in rows:
        style = "dim" if origin == "default" else "bold"
        console.print(Text(f"{place:<{widest_path}}  {value:<{widest_value}}  {origin}", style=style))
    for sentence in config.not_in_force():
        console.print(Text(f"no effect: {sentence}", style="yellow"))
    console.print(Text(f"{path or 'no file; defaults and environment'}: usable", style="green"))
