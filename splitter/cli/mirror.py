"""`splitter mirror`: what copies of live requests have shown, by endpoint and place.

Owns: how it is laid out, what `--fail` means. Must not know: how it was found.
Invariant: all of the table is there without colours too, and nothing in it can steer a terminal, whatever a backend said.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import groupby
from typing import Final
from urllib.parse import urlencode

import click
from rich.console import Console
from rich.text import Text

from splitter.cli.client import FAILED_STATUS, ROLLOUT, RefusedError, Terminal, UnreachableError, ask
from splitter.cli.target import admin_options, find_target
from splitter.cli.words import Json, clean, local_time

_WIDTH_WITHOUT_TERMINAL: Final = 200
_SAMPLE_CHARACTERS: Final = 60
_COLUMN_CHARACTERS: Final = 60
_WHAT: Final = {
    "value": "another value", "type": "another type", "missing": "missing", "extra": "not in legacy's",
    "renamed": "renamed", "order": "another order", "no answer": "no answer",
}  # fmt: skip


@click.command("mirror")
@click.option("--endpoint", metavar="NAME", help='Only this one, as in "GET /cameras/{id}".')
@click.option("--limit", "-n", type=click.IntRange(1, 2000), default=40, show_default=True, help="How many places.")
@click.option("--fail", is_flag=True, help="Exit with 1 unless requests were compared and none really differs.")
@admin_options
def mirror(endpoint: str | None, limit: int, fail: bool, admin: str | None, token: str | None, as_json: bool) -> None:
    """Show where domain's answers differ from legacy's, as copies of live requests have shown.

    What really differs comes first; noise is where legacy differs from itself as often.
    """
    target, terminal = find_target(admin, token), Terminal(as_json)
    query = urlencode({"limit": limit} | ({"endpoint": endpoint} if endpoint is not None else {}))
    try:
        found = ask(target, "GET", f"{ROLLOUT}/mirror?{query}")
    except (UnreachableError, RefusedError) as error:
        raise terminal.fail(target, error) from None
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        _show(found, filtered=endpoint is not None)
    if fail and found["verdict"] != "match":
        raise SystemExit(FAILED_STATUS)


def _show(found: Json, *, filtered: bool) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL)
    console.print(Text(state(found), style="bold" if found["copying"] else "yellow"))
    if found["since"] is not None:
        console.print(Text(f"since {local_time(found['since'])}: {outcomes(found['outcomes'])}", style="dim"))
    for line in _places(found["places"]):
        console.print(line, soft_wrap=True)
    hidden = found["mismatches"] + found["noise"] - len(found["places"])
    if hidden > 0 and not filtered:
        console.print(f"... and {hidden} more: --limit, or --json for all of their samples")
    style = {"match": "bold green", "mismatch": "bold red"}.get(found["verdict"], "bold yellow")
    console.print(Text(verdict(found), style=style))


def state(found: Json) -> str:
    """What is copied, or why nothing is."""
    to = clean(found["to"])
    other = "legacy" if to == "domain" else "domain"
    asked = f"{found['percent']:g} % of the requests that {other} serves are copied to {to}"
    return asked if found["copying"] else f"nothing is copied now: {clean(found['off_because'])}"


def outcomes(counts: Json) -> str:
    """`12 match, 3 mismatch`."""
    return ", ".join(f"{count} {clean(name).replace('_', ' ')}" for name, count in counts.items() if count) or "nothing yet"


def verdict(found: Json) -> str:
    """The last line."""
    compared = f"{found['compared']} request{'s' * (found['compared'] != 1)} compared"
    if found["verdict"] == "no_data":
        return "nothing was compared yet"
    if found["verdict"] == "match":
        return f"domain and legacy answer alike ({compared})"
    places = found["mismatches"]
    lost = found["lost_differences"]
    kept = f"; {lost} differences were in places there was no room for" if lost else ""
    return f"domain differs in {places} place{'s' * (places != 1)} ({compared}{kept})"


def _places(places: list[Json]) -> Iterator[Text]:
    """A line for each endpoint, two for each of its places, in columns: an endpoint's name is as long as a line."""
    rows = [_HEADINGS, *(_cells(place) for place in places)]
    widths = [min(max(len(row[column]) for row in rows), _COLUMN_CHARACTERS) for column in range(len(_HEADINGS))]
    if places:
        yield Text(_in_columns(_HEADINGS, widths), style="dim")
    ranks = {place["endpoint"]: rank for rank, place in reversed(list(enumerate(places)))}
    for endpoint, group in groupby(
        sorted(places, key=lambda place: ranks[place["endpoint"]]), lambda place: place["endpoint"]
    ):
        yield Text(clean(endpoint), style="bold")
        for place in group:
            style = "dim" if place["verdict"] == "noise" else ""
            yield Text(_in_columns(_cells(place), widths), style=style)
            for sample in place["samples"][:1]:
                yield Text(f"      {_short(sample['legacy'])} → {_short(sample['domain'])}", style=style or "cyan")


def _in_columns(cells: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


_HEADINGS: Final = ("  where", "what", "differed", "noise", "verdict")


def _cells(place: Json) -> tuple[str, ...]:
    """How often it differed, and how often legacy from itself of those for which it was asked twice."""
    what = _WHAT.get(place["kind"], clean(place["kind"]))
    differed, noise = (
        f"{place[count]} of {place[of]}" for count, of in (("differed", "compared"), ("noisy", "asked_twice"))
    )
    return f"  {clean(place['path'])}", what, differed, noise, place["verdict"]


def _short(text: str) -> str:
    text = clean(text)
    return text if len(text) <= _SAMPLE_CHARACTERS else text[: _SAMPLE_CHARACTERS - 3] + "..."
