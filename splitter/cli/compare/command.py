"""The command itself: options, the run, where the results go.

Owns: usage, exit statuses (0 alike, 1 different or failed, 2 bad usage). Must not know: how anything is compared or shown.
Invariant: nothing is sent before every option and the whole source was found to be good.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from splitter.cli.compare.options import Invocation, compare_options
from splitter.cli.source import USAGE_STATUS, tell_faults
from splitter.errors import ConfigError

_FAILED_STATUS: Final = 1


@click.command("compare")
@click.argument("source", type=click.Path(path_type=Path), metavar="SOURCE")
@compare_options
def compare(source: Path, **options: Any) -> None:
    """Ask both sides the same, and compare what they answer.

    SOURCE is a list of requests in YAML, an OpenAPI document, a HAR file, or an access log of the splitter. Exit status 0:
    alike; 1: different, or not comparable; 2: bad usage.
    """
    invocation = Invocation(**options)
    sides = invocation.sides()
    invocation.check_files(source)
    invocation.sent_headers()
    # aiohttp takes longer to import than most commands run, and only this one needs it
    from splitter.cli.compare.execution import carry_out, write  # noqa: PLC0415

    try:
        told = carry_out(source, invocation, sides)
    except ConfigError as error:
        tell_faults(error.faults)
        raise SystemExit(USAGE_STATUS) from None
    write(invocation, told)
    slower = invocation.max_slower is not None and told.findings.is_slower_than(invocation.max_slower)
    if slower:
        click.echo(f"slower than --max-slower {invocation.max_slower:g} allows: {told.latency}", err=True)
    raise SystemExit(_FAILED_STATUS if slower or not told.is_good else 0)
