"""What the command is told: its options, and the check of what they say together.

Owns: names and forms of the options. Must not know: what is done with them.
Invariant: what an option can't be is said in the words of the configuration.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import click

from splitter.cli.compare.side import Side
from splitter.cli.compare.steps import Format
from splitter.config.kinds import Kind
from splitter.config.numbers import Duration, Size

STANDARD_OUTPUT: Final = "-"
_FILE: Final = click.Path(dir_okay=False, writable=True, path_type=Path)
_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Typed(click.ParamType[Any]):
    """An option written as the same kind is written in a configuration."""

    def __init__(self, kind: Kind[Any], name: str) -> None:
        self.kind = kind
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self.kind.read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the options of one call say."""

    control: str | None
    candidate: str | None
    via: str | None
    token: str | None
    kind: str | None
    config_file: Path | None
    headers: tuple[str, ...]
    values: tuple[str, ...]
    noise: bool
    unsafe: bool
    repeat: int | None
    rounds: int
    limit: int
    concurrency: int
    timeout_s: float
    max_body_bytes: int
    warm_up: int
    max_slower: float | None
    json_file: str | None
    junit_file: Path | None
    html_file: Path | None

    @property
    def format(self) -> Format | None:
        """What the source is, if it was said."""
        return None if self.kind is None else Format(self.kind)

    def sides(self) -> tuple[Side, Side]:
        """Control and candidate. Raises UsageError."""
        if self.via is not None:
            if self.control or self.candidate:
                raise click.UsageError("give either --via, or --control and --candidate")
            url = _base_url("--via", self.via)
            return Side("legacy", url, "false"), Side("domain", url, "true")
        if not self.control or not self.candidate:
            raise click.UsageError("give --control URL and --candidate URL, or --via URL of a splitter")
        return (
            Side("control", _base_url("--control", self.control)),
            Side("candidate", _base_url("--candidate", self.candidate)),
        )

    def check_files(self, source: Path) -> None:
        """Raises UsageError when a result could not be written in the end, or would be written over the source."""
        json_file = None if self.json_file in {None, STANDARD_OUTPUT} else Path(self.json_file or "")
        for option, file in (("--json", json_file), ("--junit", self.junit_file), ("--html", self.html_file)):
            if file is None:
                continue
            if file == source:
                raise click.UsageError(f"{option} would write over {source}")
            if file.is_dir() or not file.parent.is_dir() or not os.access(file.parent, os.W_OK):
                raise click.UsageError(f"{option} can't write {file}: no such directory, or no right to write there")

    def pairs(self, option: str, texts: tuple[str, ...], separator: str) -> tuple[tuple[str, str], ...]:
        """`NAME: VALUE` or `NAME=VALUE`, several of them. Raises UsageError."""
        found = []
        for text in texts:
            name, middle, value = text.partition(separator)
            if not middle or not name.strip() or not text.isprintable():
                raise click.UsageError(f"{option} must look like NAME{separator}VALUE: {text!r}")
            found.append((name.strip(), value.strip()))
        return tuple(found)

    def sent_headers(self) -> tuple[tuple[str, str], ...]:
        """Headers of every request."""
        token = (("X-Splitter-Token", self.token),) if self.token and self.via else ()
        return (*self.pairs("--header", self.headers, ":"), *token)


def _base_url(option: str, url: str) -> str:
    """A URL without the slash at its end. Raises UsageError."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and parts.hostname and not parts.query and not parts.fragment
        _ = parts.port
    except ValueError:
        good = False
    if not good:
        raise click.UsageError(f"{option} must be a URL such as http://127.0.0.1:8001, not {url!r}")
    return url.rstrip("/")


_OPTIONS: Final = (
    click.option("--control", metavar="URL", help="Base URL of the side that is right: the old service."),
    click.option("--candidate", metavar="URL", help="Base URL of the side that is tested: the new service."),
    click.option("--via", metavar="URL", help="A splitter instead: both sides are reached through it with force_domain."),
    click.option("--token", envvar="SPLITTER_ADMIN_TOKEN", help="With --via, when rollout.force is token."),
    click.option(
        "--format", "kind", type=click.Choice([kind.value for kind in Format]), help="What SOURCE is (default: found out)."
    ),
    click.option(
        "--config",
        "-c",
        "config_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Take the rules of this configuration's mirror section, for sources without rules of their own.",
    ),
    click.option(
        "--header", "-H", "headers", multiple=True, metavar="'NAME: VALUE'", help="Sent with every request; repeatable."
    ),
    click.option(
        "--set", "values", multiple=True, metavar="NAME=VALUE", help="A parameter of an OpenAPI document; repeatable."
    ),
    click.option("--noise/--no-noise", default=True, help="Ask control twice, to learn what is noise (default: yes)."),
    click.option("--unsafe", is_flag=True, help="Of recordings and OpenAPI documents, send what changes something too."),
    click.option(
        "--repeat",
        type=click.IntRange(1, 10_000),
        help="How often a safe request is sent (default: as the list says, or 1).",
    ),
    click.option("--rounds", type=click.IntRange(1, 10_000), default=1, help="How often all of it is done (default: 1)."),
    click.option(
        "--limit", type=click.IntRange(1), default=1000, help="How many requests of a recording are taken (default: 1000)."
    ),
    click.option(
        "--concurrency",
        type=click.IntRange(1, 256),
        default=1,
        help="Independent requests at a time; times are truest with 1, the default.",
    ),
    click.option(
        "--timeout",
        "timeout_s",
        type=_Typed(Duration(0.001, 3600), "duration"),
        default="10s",
        metavar="DURATION",
        help="For one answer (default: 10s).",
    ),
    click.option(
        "--max-body",
        "max_body_bytes",
        type=_Typed(Size(0, 1 << 30), "size"),
        default="16MiB",
        metavar="SIZE",
        help="Larger bodies are compared by digest (default: 16MiB).",
    ),
    click.option("--warm-up", type=click.IntRange(0), default=1, help="Times left out at first, per endpoint (default: 1)."),
    click.option(
        "--max-slower",
        type=click.FloatRange(1),
        metavar="RATIO",
        help="Fail when candidate surely takes more than RATIO times as long.",
    ),
    click.option(
        "--json",
        "json_file",
        is_flag=False,
        flag_value=STANDARD_OUTPUT,
        metavar="[FILE]",
        help="Write JSON to FILE, or print it instead of the table.",
    ),
    click.option("--junit", "junit_file", type=_FILE, metavar="FILE", help="Write JUnit XML for a CI server."),
    click.option("--html", "html_file", type=_FILE, metavar="FILE", help="Write a page for people."),
)


def compare_options(command: _Command) -> _Command:
    """A command with all of them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
