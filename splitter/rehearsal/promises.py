"""What was promised to clients, and whether what they saw says that it was kept.

Owns: what a promise is, and those that only clients can tell of. Must not know: how anybody asked, clocks, the story.
Invariant: each is kept or broken by figures that are told with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from splitter.rehearsal.clients import Answer

IN_FLIGHT_S: Final = 0.05
"""What was decided just before a change may be asked and answered just after it."""

SHARE_TOLERANCE: Final = 0.015


@dataclass(frozen=True, slots=True)
class Promise:
    """What was promised, whether it was kept, and the figures that say so."""

    name: str
    kept: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Span:
    """A stage as long as it was in force, in seconds since 1970."""

    percent: float
    from_s: float
    until_s: float


def seen_by_clients(answers: Sequence[Answer], spans: Sequence[Span]) -> Iterator[Promise]:
    """`spans`: the stages of the last way up, in order."""
    if any(answer.shape.rescued for answer in answers):
        yield _no_errors(answers)
    yield _shares(answers, spans)
    yield _stayed(answers, spans)


def _no_errors(answers: Sequence[Answer]) -> Promise:
    rescuable = [answer for answer in answers if answer.shape.rescued]
    errors = [answer for answer in rescuable if answer.is_error]
    others = sum(answer.is_error and not answer.shape.rescued for answer in answers)
    rescued = sum(answer.reason in ("fallback", "unhealthy") for answer in answers)
    methods = ", ".join(sorted({answer.shape.method for answer in rescuable}))
    detail = f"{len(errors)} of {len(rescuable):,} requests ({methods}); legacy answered {rescued:,} for domain"
    if others:
        detail += f"; besides, {others} that may not be sent twice failed"
    if errors:
        detail += f"; the first: {errors[0].status or errors[0].reason}"
    return Promise("no client sees an error where legacy may answer", not errors, detail)


def _shares(answers: Sequence[Answer], spans: Sequence[Span]) -> Promise:
    told, kept = [], bool(spans)
    for span in spans:
        on_domain = {
            answer.client: answer.backend == "domain"
            for answer in answers
            if answer.shape.name == "default" and span.from_s + IN_FLIGHT_S < answer.at_s < span.until_s - 2 * IN_FLIGHT_S
        }
        share = sum(on_domain.values()) / len(on_domain) if on_domain else 0.0
        kept = kept and abs(share - span.percent / 100) <= SHARE_TOLERANCE
        told.append(f"{share * 100:.1f} % at {span.percent:g} %")
    detail = ", ".join(told) or "no stage was seen whole"
    return Promise("each stage has as many clients on domain as it says", kept, detail)


def _stayed(answers: Sequence[Answer], spans: Sequence[Span]) -> Promise:
    """Whether nobody who had been sent to domain was sent to legacy again, from the first of the stages on."""
    since_s = spans[0].from_s if spans else 0.0
    on_domain: set[tuple[int, str]] = set()
    moved: set[int] = set()
    for answer in answers:
        who = answer.client, answer.shape.name
        if answer.at_s < since_s or answer.reason != "bucket":
            continue
        if answer.backend == "domain":
            on_domain.add(who)
        elif who in on_domain:
            moved.add(answer.client)
    detail = f"{len(moved)} of {len({client for client, _ in on_domain})} clients went back"
    return Promise("nobody changes sides while the percent grows", not moved, detail)
