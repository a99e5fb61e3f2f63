"""`splitter rollback`, `resume` and `set`: the switches, thrown in the running splitter.

Owns: what is asked for each, and what is said when it is done. Must not know: how a change comes into force.
Invariants: it is said that a change is in force only when the splitter has answered so; who can't reach it is told what to
do instead.
"""

from __future__ import annotations

import json
import time
from decimal import Decimal, InvalidOperation
from typing import Final

import click

from splitter.cli import words
from splitter.cli.client import ROLLOUT, RefusedError, Terminal, UnreachableError, ask, ask_until_answered
from splitter.cli.target import Target, admin_options, find_target
from splitter.cli.words import Json

_WITHOUT_API: Final = (
    "the switch that needs no API: kill -USR1 PID, with the PID of `splitter run` (tools/rollback.sh finds it)",
    "the switch that needs no splitter to answer: restart it with USE_DOMAIN_SERVICE=false",
)
SAVED_S: Final = 1.0
_POLL_S: Final = 0.02
reason_option = click.option("--reason", default="", metavar="TEXT", help="Why, for the audit list.")


def _percent(_ctx: click.Context, _argument: click.Parameter, value: str) -> float:
    """Judged by the splitter; here only what can't be a percent at all is bad usage."""
    try:
        percent = Decimal(value.strip().removesuffix("%").strip())
    except InvalidOperation:
        raise click.BadParameter(f"{value!r} is no number") from None
    if not (percent.is_finite() and 0 <= percent <= 100):  # NaN can't be compared
        raise click.BadParameter(f"{value!r} is not from 0 to 100")
    return float(percent)


@click.command("rollback")
@reason_option
@admin_options
def rollback(reason: str, admin: str | None, token: str | None, as_json: bool) -> None:
    """Send everybody to legacy, at once; returns when no new request goes to domain.

    Works in every state, and twice. Only `resume` lets anybody back.
    """
    target, terminal = find_target(admin, token), Terminal(as_json)
    try:
        done = ask_until_answered(target, "POST", f"{ROLLOUT}/rollback", {"reason": reason})
    except (UnreachableError, RefusedError) as error:
        raise terminal.fail(target, error, *_WITHOUT_API) from None
    done = once_saved(target, done)
    latch = done["status"]["rolled_back"]
    if done["changed"]:
        said = "rolled back: nothing goes to domain any more"
    else:
        said = f"nothing goes to domain: it was {words.latch(latch)}"
    tell(done, said, as_json=as_json)


@click.command("resume")
@click.option("--from-stage", type=click.IntRange(min=1), metavar="N", help="The stage of the plan to start again with.")
@reason_option
@admin_options
def resume(from_stage: int | None, reason: str, admin: str | None, token: str | None, as_json: bool) -> None:
    """Let go of a rollback: what is configured or set is in force again."""
    target, terminal = find_target(admin, token), Terminal(as_json)
    body: Json = {"reason": reason} | ({} if from_stage is None else {"from_stage": from_stage})
    try:
        done = ask(target, "POST", f"{ROLLOUT}/resume", body)
    except (UnreachableError, RefusedError) as error:
        raise terminal.fail(target, error) from None
    summary = words.clean(done["status"]["summary"])
    tell(
        done, f"resumed: {summary}" if done["changed"] else f"not rolled back, nothing to resume: {summary}", as_json=as_json
    )


@click.command("set")
@click.argument("percent", callback=_percent)
@click.option("--route", metavar="NAME", help="The route whose percent this is (default: the global one).")
@reason_option
@admin_options
def set_percent(percent: float, route: str | None, reason: str, admin: str | None, token: str | None, as_json: bool) -> None:
    """Set the PERCENT of clients that go to domain.

    It beats the environment and the file, and survives a restart, until somebody edits the percent there. Without --route
    it ends a plan.
    """
    target, terminal = find_target(admin, token), Terminal(as_json)
    body: Json = {"percent": percent, "reason": reason} | ({} if route is None else {"route": route})
    try:
        done = ask(target, "PUT", f"{ROLLOUT}/percent", body)
    except (UnreachableError, RefusedError) as error:
        raise terminal.fail(target, error) from None
    status = done["status"]
    told = status["percent"] if route is None else status["routes"][route]
    said = f"{'percent' if route is None else f'percent of {words.clean(route)}'} is {words.percent(told)}"
    if not done["changed"]:
        said += " already"
    why_off = words.off(status)
    tell(done, said, *([f"but nothing goes to domain: {why_off}"] if why_off else []), as_json=as_json)


def once_saved(target: Target, done: Json) -> Json:
    """The answer to a rollback, with what has become of saving it: that may take longer than the answer."""
    until_s = time.monotonic() + SAVED_S
    while not done["saved"] and not done["status"]["store"]["fault"] and time.monotonic() < until_s:
        time.sleep(_POLL_S)
        try:
            status = ask(target, "GET", ROLLOUT)
        except (UnreachableError, RefusedError):
            break
        done = {**done, "saved": status["store"]["saved"], "status": status}
    return done


def tell(done: Json, *lines: str, as_json: bool) -> None:
    """Say what became of a change: `lines`, then how it came into force."""
    if as_json:
        click.echo(json.dumps({"ok": True, **done}, ensure_ascii=False))
        return
    for line in (*lines, *words.went(done)):
        click.echo(line)
