"""What was found, as a page for people: the answer first, then what differs, then everything else.

Owns: the page. Must not know: how anything was found.
Invariants: one file that asks no other host for anything and runs no script; whatever the sides answered is text in it,
never markup.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from html import escape
from importlib.resources import files
from typing import Final

from splitter.cli.compare.findings import StepVerdict, Verdict
from splitter.cli.compare.told import Told, count
from splitter.compare.latency import Latency
from splitter.compare.report import Row

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_PLOT_FACTOR: Final = 4.0
"""The plot of a ratio reaches from a quarter to four times."""

_PLACES_SHOWN: Final = 5
_VERDICTS: Final = {Verdict.MATCH: "alike", Verdict.MISMATCH: "differs", Verdict.FAILED: "not compared"}


def page(told: Told) -> bytes:
    """The whole file."""
    style = files(__package__).joinpath("page.css").read_text("utf-8")
    title = f"{told.plan.title}: {told.headline}"
    body = "".join(part for section in (_top, _differences, _endpoints, _left_out, _reading) for part in section(told))
    text = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>\n{style}</style></head>\n<body><main>\n{body}</main></body></html>\n"
    )
    return text.encode("utf-8", "replace")


def _top(told: Told) -> Iterator[str]:
    findings = told.findings
    verdicts = _by_endpoint(told)
    alike = sum(verdict is Verdict.MATCH for verdict in verdicts.values())
    latency = findings.latency()
    yield f"<h1>{escape(told.plan.title)}</h1>\n"
    yield f'<div class="banner {findings.verdict.value}"><strong>{escape(_sentence(told.headline))}</strong>'
    yield f"<p>{escape(_sentence(told.extent))}</p></div>\n"
    yield '<ul class="cards">'
    yield _card(f"{alike} of {len(verdicts)}", "endpoints answer alike")
    differences = len(told.grouped(findings.mismatches()))
    yield _card(str(differences), "difference" if differences == 1 else "differences")
    yield _card(f"{findings.report.compared:,}", "requests compared")
    yield _card(
        "-" if latency is None else f"{latency.ratio:.2f} ×",
        f"time {told.candidate.name} takes, as against {told.control.name}",
    )
    yield "</ul>\n"
    sides = (f"{side.name}: <code>{escape(side.url)}</code>" for side in (told.control, told.candidate))
    yield f'<p class="soft">{", ".join(sides)}. {escape(told.started_at.replace("T", " ").replace("Z", " UTC"))}.</p>\n'


def _card(number: str, what: str) -> str:
    return f"<li><b>{escape(number)}</b>{escape(what)}</li>"


def _differences(told: Told) -> Iterator[str]:
    rows = told.findings.mismatches()
    if rows or told.findings.problems:
        yield "<h2>What differs</h2>\n"
    for problem in told.findings.problems:
        yield f'<article><p class="chip failed">{escape(_sentence(problem))}</p></article>\n'
    for alike in told.grouped(rows):
        yield from _difference(told, alike)


def _difference(told: Told, rows: list[Row]) -> Iterator[str]:
    """Differences of one field, wherever it is, as one: a renamed field is one thing to mend, not seventeen."""
    first = rows[0]
    yield f"<article><h3><code>{escape(told.field(first.path))}</code> {escape(told.what(first.kind))}</h3>"
    sample = next((row.samples[0] for row in rows if row.samples), None)
    if sample is not None:
        yield (
            f'<div class="sides"><div><span>{escape(told.control.name)}</span><code>{escape(sample.control)}</code></div>'
            f"<div><span>{escape(told.candidate.name)}</span><code>{escape(sample.candidate)}</code></div></div>\n"
        )
    for row in rows[:_PLACES_SHOWN]:
        yield f"<p>{_place(row)}</p>"
    if len(rows) > _PLACES_SHOWN:
        yield f"<details><summary>and {count(len(rows) - _PLACES_SHOWN, 'more place')}</summary>"
        yield "".join(f"<p>{_place(row)}</p>" for row in rows[_PLACES_SHOWN:])
        yield "</details>"
    yield f"<details><summary>requests to look at</summary><ul>{''.join(_samples(rows))}</ul></details></article>\n"


def _place(row: Row) -> str:
    return f'<code>{escape(row.endpoint)}</code> at <code>{escape(row.path)}</code>, <span class="soft">{_share(row)}</span>'


def _share(row: Row) -> str:
    if row.differed < row.compared:
        return f"in {row.differed:,} of {row.compared:,} requests"
    return "in the only request" if row.compared == 1 else f"in all {row.compared:,} requests"


def _samples(rows: list[Row]) -> Iterator[str]:
    for row in rows:
        for sample in row.samples:
            yield f"<li><code>{escape(sample.request)}</code>, <code>{escape(sample.where)}</code>: "
            yield f"<code>{escape(sample.control)}</code>, <code>{escape(sample.candidate)}</code> "
            yield f'<span class="soft">(X-Request-Id {escape(sample.request_id)})</span></li>'


def _endpoints(told: Told) -> Iterator[str]:
    latencies = told.findings.latencies()
    yield f'<h2>Endpoints</h2>\n<p>{escape(_sentence(told.latency))}</p>\n<div class="scroll"><table><thead><tr>'
    yield '<th>endpoint</th><th>answers</th><th class="number">requests</th>'
    yield f'<th class="number">{escape(told.control.name)}, ms</th><th class="number">{escape(told.candidate.name)}, ms</th>'
    yield '<th class="number">ratio</th><th>¼ · as fast · 4 ×</th></tr></thead><tbody>\n'
    for endpoint, verdict in _by_endpoint(told).items():
        counts = told.findings.report.endpoints.get(endpoint)
        latency = latencies.get(endpoint)
        yield f"<tr><td><code>{escape(endpoint)}</code></td><td>{_chip(verdict)}</td>"
        yield f'<td class="number">{counts.compared if counts else 0}</td>{_times(latency)}</tr>\n'
    yield "</tbody></table></div>\n"


def _chip(verdict: Verdict) -> str:
    return f'<span class="chip {verdict.value}">{_VERDICTS[verdict]}</span>'


def _by_endpoint(told: Told) -> dict[str, Verdict]:
    """The worst verdict of each endpoint's steps."""
    worst: dict[str, Verdict] = {}
    order = (Verdict.MATCH, Verdict.FAILED, Verdict.MISMATCH)
    for each in told.findings.verdicts():
        before = worst.get(each.result.endpoint, Verdict.MATCH)
        worst[each.result.endpoint] = max(before, each.verdict, key=order.index)
    return worst


def _times(latency: Latency | None) -> str:
    if latency is None:
        return '<td class="number">-</td>' * 3 + "<td></td>"
    numbers = (f"{latency.control_s * 1000:.2f}", f"{latency.candidate_s * 1000:.2f}", f"{latency.ratio:.2f}")
    cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
    return f'{cells}<td class="plot">{_plot(latency)}</td>'


def _plot(latency: Latency) -> str:
    """The ratio as a point, its interval as a line, on a scale on which half and double are equally far from even."""
    label = escape(latency.words())
    parts = [f'<svg viewBox="0 0 160 24" role="img" aria-label="{label}"><title>{label}</title>']
    parts.append('<line class="even" x1="80" y1="2" x2="80" y2="22"/>')
    if latency.low is not None and latency.high is not None:
        parts.append(f'<line class="interval" x1="{_x(latency.low)}" y1="12" x2="{_x(latency.high)}" y2="12"/>')
    sure = "point" if latency.low is not None else "point unsure"
    parts.append(f'<circle class="{sure}" cx="{_x(latency.ratio)}" cy="12" r="4.5"/></svg>')
    return "".join(parts)


def _x(ratio: float) -> str:
    along = math.log(max(ratio, 1e-9)) / math.log(_PLOT_FACTOR)
    return f"{80 + 72 * max(-1.0, min(1.0, along)):.1f}"


def _left_out(told: Told) -> Iterator[str]:
    verdicts = list(told.findings.verdicts())
    failures = [
        f"{each.result.title}: {why} ({times} times)" for each in verdicts for why, times in each.result.failures.items()
    ]
    ignored = sum(each.result.ignored for each in verdicts)
    noise = told.findings.noise()
    yield "<h2>Left out</h2>\n"
    yield _list("could not be compared", failures)
    noisy = [f"{row.endpoint}: {row.path} ({row.differed} of {row.compared})" for row in noise]
    yield _list(told.noise or told.without_noise or "nothing was taken for noise", noisy)
    yield f"<p>{count(ignored, 'difference')} covered by the rules of the list (ignore).</p>\n" if ignored else ""
    yield _list("not sent", [f"{request}: {why}" for request, why in told.plan.skipped])
    yield _steps(verdicts)


def _list(what: str, lines: list[str]) -> str:
    """A heading with its lines behind it, or alone when there are none."""
    if not lines:
        return "" if what in {"could not be compared", "not sent"} else f"<p>{escape(_sentence(what))}</p>\n"
    items = "".join(f"<li><code>{escape(line)}</code></li>" for line in lines)
    return f"<details><summary>{escape(_sentence(what)[:-1])} ({len(lines)})</summary><ul>{items}</ul></details>\n"


def _steps(verdicts: Iterable[StepVerdict]) -> str:
    items = "".join(
        f"<li>{_chip(each.verdict)} {escape(each.result.title)} "
        f'<span class="soft">{escape(each.result.endpoint)}, {count(each.result.compared, "time")}</span></li>'
        for each in verdicts
    )
    return f"<details><summary>Every step</summary><ul>{items}</ul></details>\n"


def _reading(told: Told) -> Iterator[str]:
    control, candidate = escape(told.control.name), escape(told.candidate.name)
    yield "<footer><p>How to read this. Both services were asked the same, one right after the other, and every part of "
    yield f"their answers was compared. A <b>difference</b> is something that clients of {control} would see change with "
    yield f"{candidate}. <b>Noise</b> is what differs between two answers of {control} too, such as times. Values of "
    yield "secrets and personal fields are hidden. A <b>ratio</b> of 2 means twice the time; the line is where the true "
    yield "one lies with 95 % certainty; a hollow point stands for too few requests to tell.</p></footer>\n"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
