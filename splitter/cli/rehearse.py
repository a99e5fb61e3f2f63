"""`splitter rehearse`: the whole story on a private copy, told as it happens.

Owns: options, the timeline on the terminal, the list of promises. Must not know: how the story goes.
Invariant: exit status 0 only if every promise was kept; a rehearsal that is interrupted leaves nothing either.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.status import Status
from rich.text import Text

from splitter.cli.source import config_option, read_config

if TYPE_CHECKING:
    from splitter.config import Config
    from splitter.rehearsal.clients import Clients
    from splitter.rehearsal.play import Report
    from splitter.rehearsal.private_copy import PrivateCopy
    from splitter.rehearsal.script import Script
    from splitter.rehearsal.story import Moment

_FAILED_STATUS: Final = 1
_INTERRUPTED_STATUS: Final = 130
_TICK_S: Final = 0.25
_SEEN_S: Final = 1.0


@click.command("rehearse")
@click.option(
    "--fault",
    type=click.Choice(["errors", "slow", "down", "none"]),
    default="errors",
    show_default=True,
    help="What goes wrong with domain: half of its answers fail, it is slow, its process is gone, nothing.",
)
@click.option(
    "--speed",
    type=click.FloatRange(0.05, 1.0),
    default=1.0,
    show_default=True,
    help="1 is as fast as can be judged, 0.25 takes four times as long.",
)
@click.option("--step", is_flag=True, help="Wait for Enter before each act, and before the end.")
@click.option("--keep", is_flag=True, help="Keep the copy's files: configuration, logs, state.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, when it is over.")
@config_option
def rehearse(fault: str, speed: float, step: bool, keep: bool, as_json: bool, config_file: Path | None) -> None:
    """Rehearse your rollout: your plan and guardrails on a private copy, with compressed time and real requests.

    The plan starts, domain goes wrong, the guardrails act, an operator resumes, the plan completes. Nothing of what runs
    now is touched. Exit status 0 only if everything went as promised.
    """
    config, _ = read_config(config_file)
    from splitter.rehearsal.private_copy import CopyError  # noqa: PLC0415 - faults of the file are told first
    from splitter.rehearsal.script import Trouble, write_script  # noqa: PLC0415

    script = write_script(config, Trouble(fault), speed)
    stage = _Stage(as_json=as_json)
    try:
        report = asyncio.run(_play(config, script, stage, keep=keep, step=step and sys.stdin.isatty()))
    except CopyError as error:
        click.echo(str(error), err=True)
        raise SystemExit(_FAILED_STATUS) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("interrupted" if keep else "interrupted; nothing of it is left", err=True)
        raise SystemExit(_INTERRUPTED_STATUS) from None
    stage.tell(report)
    raise SystemExit(0 if report.is_good else _FAILED_STATUS)


async def _play(config: Config, script: Script, stage: _Stage, *, keep: bool, step: bool) -> Report:
    from splitter.rehearsal.play import rehearse as play  # noqa: PLC0415

    stage.announce(script)
    before = stage.wait if step else None
    async with _ended_by_sigterm(), stage.open():
        return await play(config, script, keep=keep, on_start=stage.on_start, on_moment=stage.on_moment, before=before)


@contextlib.asynccontextmanager
async def _ended_by_sigterm() -> AsyncIterator[None]:
    """SIGTERM ends it as Ctrl-C does: what was started is ended first."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    if task is not None:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    yield
    loop.remove_signal_handler(signal.SIGTERM)


class _Stage:
    """The terminal: the timeline, and below it what the clients see in this second."""

    def __init__(self, *, as_json: bool) -> None:
        self._console = Console(highlight=False, soft_wrap=True, quiet=as_json)
        self._as_json = as_json
        self._status = Status("starting the copy", console=self._console)
        self._clients: Clients | None = None

    def announce(self, script: Script) -> None:
        for note in script.notes:
            self._console.print(Text(note, style="dim"))

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        if self._as_json or not self._console.is_terminal:
            yield
            return
        ticking = asyncio.get_running_loop().create_task(self._tick())
        try:
            with self._status:
                yield
        finally:
            ticking.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            if self._clients is not None:
                seen = self._clients.last(_SEEN_S)
                domain = sum(answer.backend == "domain" for answer in seen)
                errors = sum(answer.is_error for answer in seen)
                share = f"{100 * domain / len(seen):.0f} %" if seen else "none"
                self._status.update(f"{len(seen) / _SEEN_S:.0f} requests a second, {share} from domain, {errors} errors")

    def on_start(self, copy: PrivateCopy, clients: Clients) -> None:
        self._clients = clients
        self._console.print(Text.assemble("console: ", (copy.admin_url, "cyan"), f"   files: {copy.folder}"), "")

    def on_moment(self, moment: Moment) -> None:
        line = Text.assemble((f"{moment.at_s:6.2f} s  ", "dim"), (moment.what, "bold"))
        self._console.print(line.append(f"  {moment.detail}" if moment.detail else "", style="not bold"))

    async def wait(self, act: str) -> None:
        """For somebody who looks around."""
        self._console.print(Text(f"          Enter: {act}", style="yellow"))
        loop, pressed = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(sys.stdin, pressed.set)
        try:
            await pressed.wait()
        finally:
            loop.remove_reader(sys.stdin)
        sys.stdin.readline()

    def tell(self, report: Report) -> None:
        if self._as_json:
            click.echo(json.dumps(report.to_json(), ensure_ascii=False))
            return
        self._console.print()
        for promise in report.promises:
            mark = ("kept    ", "green") if promise.kept else ("BROKEN  ", "bold red")
            self._console.print(Text.assemble(mark, promise.name, (f": {promise.detail}", "dim")))
        broken = sum(not promise.kept for promise in report.promises)
        result = "as promised" if report.is_good else f"{broken} of {len(report.promises)} promises broken"
        self._console.print(
            Text(
                f"\n{result}: {report.requests:,} requests in {report.took_s:g} s",
                style="green" if report.is_good else "red",
            )
        )
        if report.folder is not None:
            self._console.print(f"its files: {report.folder}")
