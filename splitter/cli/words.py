"""What commands say about the state of a rollout, in words.

Owns: how the API's answers read on a terminal. Must not know: how they were got, colours.
Invariant: short, exact, and nothing in it can steer a terminal, whoever wrote the reason.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

Json = dict[str, Any]


def clean(text: str) -> str:
    """`text` without what could steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def percent(told: Json) -> str:
    """`12.5 %`."""
    return f"{float(told['value']):g} %"


def share(told: Json) -> str:
    """`25 %, from operator (cli:alice@ops1, ...), instead of 10 % from file:26`."""
    beaten = told.get("instead_of")
    instead = f", instead of {percent(beaten)} from {clean(str(beaten['from']))}" if beaten else ""
    return f"{percent(told)}, from {origin(told)}{instead}"


def local_time(text: str) -> str:
    """A time of the API as `2026-11-24 21:29:00`, by the clock of who reads it."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return clean(text)


def origin(told: Json) -> str:
    """`operator (cli:alice@ops1, 2026-11-24 21:29:00: too slow)`, or just the layer."""
    layer = clean(str(told["from"]))
    if not told.get("who"):
        return layer
    why = f": {clean(told['why'])}" if told.get("why") else ""
    return f"{layer} ({clean(told['who'])}, {local_time(told['when'])}{why})"


def off(status: Json) -> str:
    """Why nothing goes to domain; empty while something does."""
    switch = status["use_domain_service"]
    if not switch["value"]:
        return f"use_domain_service is false ({origin(switch)})"
    return latch(status["rolled_back"]) if status["rolled_back"]["value"] else ""


def latch(told: Json) -> str:
    """`rolled back by cli:alice@ops1, 2026-11-24 21:29:00: too slow`."""
    why = f": {clean(told['why'])}" if told.get("why") else ""
    return f"rolled back by {clean(told['who'])}, {local_time(told['when'])}{why}"


def plan(found: Json) -> str:
    """Where the plan stands: `running, stage 2 of 4, 25 %, waiting for 3 h 2 min of the hold`."""
    parts = [clean(found["phase"]).replace("_", " ")]
    if found["stage"] is not None:
        parts += [f"stage {found['stage']} of {len(found['stages'])}", f"{float(found['percent'] or 0):g} %"]
    if found["waiting_for"]:
        parts.append(f"waiting for {_first_of(found['waiting_for'], 2)}")
    return ", ".join(parts) + (f" ({clean(found['reason'])})" if found["reason"] else "")


def guardrails(found: Json) -> str:
    """What the guardrails say: `pass`, or why not; and how near they are to acting."""
    verdict = found["verdict"]
    if verdict is None:
        return "nothing is judged, since nothing can go to domain"
    bad = f", bad windows in a row: {found['bad_windows']} of {found['bad_windows_max']}" if found["bad_windows"] else ""
    word = clean(verdict["outcome"]).replace("_", " ")
    return word + (f": {_first_of(verdict['sentence'], 1)}" if verdict["outcome"] != "pass" else "") + bad


def _first_of(sentences: str, count: int) -> str:
    """The first of several sentences, and how many more there are: `splitter plan` has each on a line."""
    parts = clean(sentences).split("; ")
    return "; ".join(parts[:count]) + (f", and {len(parts) - count} more" if len(parts) > count else "")


def went(done: Json) -> list[str]:
    """How a change came into force: on how many workers, how fast, and what was not as it should be."""
    workers = int(done["workers"])
    lines = [f"in force on {workers} worker{'s' * (workers != 1)} after {float(done['took_ms']):.1f} ms"]
    replaced = int(done["replaced"])
    if replaced:
        lines.append(f"{replaced} worker{'s' * (replaced != 1)} did not acknowledge in time and had to be replaced")
    if not done["saved"]:
        fault = clean(str(done["status"]["store"]["fault"] or "the state store takes its time"))
        lines.append(f"NOT SAVED YET, a restart now would forget it: {fault}")
    return lines


def event(line: Json) -> str:
    """A line of the audit list."""
    moved = f"{clean(line['from'])} -> {clean(line['to'])}" if line["from"] else clean(line["to"])
    why = f"  ({clean(line['why'])})" if line["why"] else ""
    return f"{local_time(line['when'])}  {clean(line['who'])}  {clean(line['what'])}: {moved}{why}"
