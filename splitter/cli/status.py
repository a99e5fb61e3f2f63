"""`splitter status`: what is in force, who set it, from which layer.

Owns: how the state is laid out. Must not know: how it came about.
"""

from __future__ import annotations

import json

import click

from splitter.cli import words
from splitter.cli.client import ROLLOUT, RefusedError, Terminal, UnreachableError, ask
from splitter.cli.target import admin_options, find_target
from splitter.cli.words import Json


@click.command("status")
@admin_options
def status(admin: str | None, token: str | None, as_json: bool) -> None:
    """Show what is in force in the running splitter, and which layer each value came from."""
    target, terminal = find_target(admin, token), Terminal(as_json)
    try:
        found = ask(target, "GET", ROLLOUT)
    except (UnreachableError, RefusedError) as error:
        raise terminal.fail(target, error) from None
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    for line in lines(found):
        click.echo(line)


def lines(found: Json) -> list[str]:
    """The state, a line for each thing; what is wrong stands last."""
    rows = [("domain", _domain(found))]
    rows += [("percent", words.share(found["percent"]))]
    rows += [(f"route {words.clean(name)}", words.share(told)) for name, told in found["routes"].items()]
    if found["plan"] is not None:
        rows += [("plan", words.plan(found["plan"]))]
    rows += [("guardrails", words.guardrails(found["guardrails"]))]
    switch = found["use_domain_service"]
    rows += [("use_domain_service", f"{str(switch['value']).lower()}, from {words.origin(switch)}")]
    rows += [("key", ", ".join(words.clean(key) for key in found["key"]))]
    backends = [f"{words.clean(name)} {words.clean(backend['status'])}" for name, backend in found["backends"].items()]
    rows += [("backends", ", ".join(backends) or "not asked yet")]
    if found["workers"] is not None:
        rows += [("workers", f"all of this is in force on {found['workers']['in_force_on']}")]
    store = found["store"]
    saved = "everything saved" if store["saved"] else "NOT SAVED"
    rows += [("state", f"version {found['version']} in {words.clean(store['url'])}, {saved}")]
    if found["last_change"] is not None:
        rows += [("last change", words.event(found["last_change"]))]
    width = max(len(name) for name, _ in rows)
    problems = [f"problem: {words.clean(problem)}" for problem in found["problems"]]
    return [f"{name:<{width}}  {text}" for name, text in rows] + problems


def _domain(found: Json) -> str:
    why_off = words.off(found)
    if why_off:
        return f"off: {why_off}"
    return "down: its clients go to legacy" if found["domain_ejected"] else "on"
