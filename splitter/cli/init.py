"""`splitter init`: five questions, or five options, to a configuration file.

Owns: the questions, the file's text. Must not know: which values are good; the configuration's own reading says so.
Invariants: what is written has been read back without a fault; a file that is there is replaced only when asked; with an
answer missing and nobody to ask, nothing is written and the exit status is 2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import yaml

from splitter.cli.source import USAGE_STATUS, tell_faults
from splitter.cli.target import DEFAULT_FILE
from splitter.config import Percent, parse
from splitter.config.addresses import split_host_port
from splitter.errors import ConfigError

_FAILED_STATUS: Final = 1


@dataclass(frozen=True, slots=True)
class Question:
    """One question. `write` turns an answer into YAML below `section`; it raises ValueError with a sentence."""

    name: str
    text: str
    default: str
    section: str
    write: Callable[[str], str]

    def complaint(self, answer: str) -> str:
        """What is wrong with an answer, empty if nothing is."""
        try:
            parse(f"{self.section}: {{{self.write(answer)}}}", "", {})
        except ValueError as error:
            return str(error)
        except ConfigError as error:
            return error.faults[0].message
        return ""


def _quoted(text: str) -> str:
    return yaml.safe_dump(text, default_style='"', width=10_000).strip()


def _urls(side: str) -> Callable[[str], str]:
    return lambda answer: f"{side}: {{urls: [{', '.join(_quoted(url.strip()) for url in answer.split(','))}]}}"


def _keys(answer: str) -> str:
    return f"key: [{', '.join(_quoted(key.strip()) for key in answer.split(','))}]"


def _percent(answer: str) -> str:
    return f"percent: {Percent().show(Percent().read(answer))}"


def _listen(answer: str) -> str:
    host, port = split_host_port(answer)
    return f"host: {_quoted(host)}" + (f", port: {port}" if port is not None else "")


QUESTIONS: Final = (
    Question("legacy", "Where is the old service? (URL)", "http://127.0.0.1:8001", "backends", _urls("legacy")),
    Question("domain", "Where is the new service? (URL)", "http://127.0.0.1:8002", "backends", _urls("domain")),
    Question(
        "key", "What tells one client from another? (header:NAME, cookie:NAME, query:NAME, jwt:CLAIM, client_ip)",
        "header:X-User-Id, cookie:session_id, client_ip", "rollout", _keys,
    ),
    Question("percent", "How many percent of clients begin on the new service?", "0", "rollout", _percent),
    Question("listen", "Where should clients find the splitter? (host:port)", "0.0.0.0:8000", "listen", _listen),
)  # fmt: skip


def render(answers: Mapping[str, str]) -> str:
    """The file: eight lines, comments apart."""
    written = {question.name: question.write(answers[question.name]) for question in QUESTIONS}
    return (
        "# Made by `splitter init`. Every other key has a default: docs/configuration.md\n"
        f"listen: {{{written['listen']}}}\n"
        "backends:\n"
        f"  {written['legacy']}   # the old service: everybody who is not in the rollout\n"
        f"  {written['domain']}   # the new one\n"
        "rollout:\n"
        f"  {written['percent']}\n"
        f"  {written['key']}   # the first that a request has\n"
        "# GET, HEAD, OPTIONS, PUT and DELETE that the new service fails are answered by the old one. None of that:\n"
        "# fallback: {on: []}\n"
    )


def _answer(question: Question, given: str | None, *, ask: bool) -> str:
    if given is not None:
        complaint = question.complaint(given)
        if complaint:
            raise click.UsageError(f"--{question.name} {complaint}")
        return given
    while ask:
        answer = str(click.prompt(question.text, default=question.default, err=True))
        complaint = question.complaint(answer)
        if not complaint:
            return answer
        click.secho(f"  {complaint}", fg="red", err=True)
    raise click.UsageError(
        f"--{question.name} is missing, and there is nobody to ask (--defaults takes {question.default!r})"
    )


@click.command("init")
@click.option("--legacy", metavar="URL", help="The old service; several endpoints separated by commas.")
@click.option("--domain", metavar="URL", help="The new service.")
@click.option("--key", metavar="KEYS", help="What tells clients apart, separated by commas; the first found counts.")
@click.option("--percent", metavar="PERCENT", help="Percent of clients that begin on the new service.")
@click.option("--listen", metavar="HOST:PORT", help="Where clients find the splitter.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), default=DEFAULT_FILE, show_default=True, help="File to write."
)
@click.option("--defaults", is_flag=True, help="Don't ask: take the default of every question without an option.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def init(output: Path, defaults: bool, force: bool, **given: str | None) -> None:
    """Write a configuration for your two services: answer five questions, or give their options."""
    if output.exists() and not force:
        click.echo(f"{output} is there already; --force replaces it, -o FILE writes another", err=True)
        raise SystemExit(_FAILED_STATUS)
    if defaults:
        given = {q.name: q.default if given[q.name] is None else given[q.name] for q in QUESTIONS}
    ask = sys.stdin.isatty()
    answers = {question.name: _answer(question, given[question.name], ask=ask) for question in QUESTIONS}
    text = render(answers)
    try:
        parse(text, str(output), {})  # each answer is right; together they may not be
    except ConfigError as error:
        tell_faults(error.faults)
        raise SystemExit(USAGE_STATUS) from None
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, "utf-8")
    except OSError as error:
        click.echo(f"can't write {output}: {error.strerror or error}", err=True)
        raise SystemExit(_FAILED_STATUS) from None
    click.echo(f"wrote {output}\nnext:  splitter run --config {output}")
