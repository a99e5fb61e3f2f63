"""`splitter watch`: what is in force and how both sides fare, live.

Owns: how that is laid out, on a terminal and in a pipe. Must not know: how it comes over the wire.
Invariant: a splitter that goes away is waited for; what is shown meanwhile is marked as old.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from splitter.cli import words
from splitter.cli.client import ROLLOUT, RefusedError, Terminal, UnreachableError, ask
from splitter.cli.follow import Message, follow
from splitter.cli.status import lines
from splitter.cli.target import Target, admin_options, find_target
from splitter.cli.words import Json

_EVENTS: Final = 8
_AGAIN_S: Final = 1.0
_NUMBERS: Final = (
    ("requests/s", "requests_per_s", 1, "{:.1f}"),
    ("errors", "error_rate", 100, "{:.2f} %"),
    ("p50", "p50_s", 1000, "{:.1f} ms"),
    ("p95", "p95_s", 1000, "{:.1f} ms"),
    ("p99", "p99_s", 1000, "{:.1f} ms"),
)
"""Heading, field of `stats`, factor, form."""


@dataclass(slots=True)
class View:
    """All that is known. `trouble`: why nothing new comes; empty while it does."""

    target: Target
    status: Json | None = None
    stats: Json | None = None
    events: deque[Json] = field(default_factory=lambda: deque(maxlen=_EVENTS))
    trouble: str = ""

    def take(self, message: Message) -> None:
        self.trouble = ""
        if message.name == "status":
            self.status = message.body
        elif message.name == "stats":
            self.stats = message.body
        elif message.name == "event":
            self.events.append(message.body)

    def __rich__(self) -> Group:
        style = "dim" if self.trouble else ""
        parts: list[Text | Table] = [Text(f"splitter at {self.target}", style="bold")]
        if self.status is not None:
            parts += [Text(line, style=style or _style(line)) for line in lines(self.status)]
        if self.stats is not None:
            parts += [Text(), self._sides(style)]
        if self.events:
            parts += [Text(), *(Text(words.event(line), style=style) for line in self.events)]
        if self.trouble:
            parts += [Text(), Text(f"{self.trouble}; trying again", style="yellow")]
        return Group(*parts)

    def _sides(self, style: str) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), style=style)
        table.add_column("")
        for heading, *_ in _NUMBERS:
            table.add_column(heading, justify="right")
        for side in ("legacy", "domain"):
            numbers = (self.stats or {})[side]
            table.add_row(side, *(_number(numbers[name], factor, form) for _, name, factor, form in _NUMBERS))
        return table


def _style(line: str) -> str:
    if line.startswith("problem: "):
        return "yellow"
    return "bold red" if line.startswith("domain") and not line.endswith(" on") else ""


def _number(value: float | None, factor: float, form: str) -> str:
    return "-" if value is None else form.format(value * factor)


@click.command("watch")
@admin_options
def watch(admin: str | None, token: str | None, as_json: bool) -> None:
    """Show what is in force and how both sides fare, live, until Ctrl-C.

    In a pipe: a line for each change. With --json: each message of the stream on a line.
    """
    target, terminal = find_target(admin, token), Terminal(as_json)
    view = View(target)
    console = Console(highlight=False)
    try:
        view.events.extend(reversed(ask(target, "GET", f"{ROLLOUT}/events?limit={_EVENTS}")["events"]))
        if as_json or not console.is_terminal:
            for message in _messages(view):
                _print(message, as_json=as_json)
            return
        with Live(view, console=console, auto_refresh=False) as live:
            for message in _messages(view):
                if message is not None:
                    view.take(message)
                live.update(view, refresh=True)
    except (UnreachableError, RefusedError) as error:
        raise terminal.fail(target, error) from None
    except KeyboardInterrupt:
        return


def _messages(view: View) -> Iterator[Message | None]:
    """What the splitter tells, for ever; None when it has gone away. Raises RefusedError."""
    while True:
        try:
            yield from follow(view.target)
        except UnreachableError as error:
            view.trouble = f"can't reach the splitter: {error}"
            yield None
        time.sleep(_AGAIN_S)


def _print(message: Message | None, *, as_json: bool) -> None:
    """One line, at once: whoever reads the pipe is waiting for it."""
    if message is None:
        click.echo("the splitter is away; trying again", err=True)
    elif as_json:
        click.echo(json.dumps({"message": message.name, **message.body}, ensure_ascii=False))
    elif message.name == "event":
        click.echo(words.event(message.body))
    elif message.name == "status":
        click.echo(words.clean(message.body["summary"]))
