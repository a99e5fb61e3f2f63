"""What was found, in words: the same in the terminal, in JUnit XML and on the page.

Owns: sentences. Must not know: colours, markup.
Invariant: a sentence is true for one and for many, and names the sides as the user does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from splitter.cli.compare.findings import Findings, Verdict
from splitter.cli.compare.side import Side
from splitter.cli.compare.steps import Plan
from splitter.compare import Kind
from splitter.compare.report import Row
from splitter.config.jsonpath import read_json_path

_WHAT: Final[Mapping[Kind, str]] = {
    Kind.VALUE: "has another value",
    Kind.TYPE: "has another type",
    Kind.MISSING: "is missing in {candidate}",
    Kind.EXTRA: "is in {candidate} only",
    Kind.RENAMED: "has another name in {candidate}",
    Kind.ORDER: "has its items in another order",
    Kind.NO_ANSWER: "was not answered by both",
}


def count(number: int, thing: str, things: str = "") -> str:
    """`1 request`, `2 requests`."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


@dataclass(frozen=True, slots=True)
class Told:
    """One run, ready to be told."""

    plan: Plan
    control: Side
    candidate: Side
    findings: Findings
    duration_s: float
    started_at: str
    noise_asked: bool

    @property
    def is_good(self) -> bool:
        """Whether everything was compared and nothing differs."""
        return self.findings.verdict is Verdict.MATCH

    @property
    def headline(self) -> str:
        """All of it in one sentence."""
        findings, names = self.findings, f"{self.candidate.name} and {self.control.name}"
        rows = findings.mismatches()
        if rows:
            endpoints = len({row.endpoint for row in rows})
            differences = count(len(self.grouped(rows)), "difference")
            return f"{self.candidate.name} differs from {self.control.name}: {differences} at {count(endpoints, 'endpoint')}"
        if findings.verdict is Verdict.FAILED:
            return f"{names} could not be compared as planned"
        return f"{names} answer alike"

    @property
    def extent(self) -> str:
        """How much was compared."""
        findings = self.findings
        text = (
            f"{count(findings.report.compared, 'request')} compared at {count(len(findings.report.endpoints), 'endpoint')}"
        )
        asked = f", {self.control.name} asked twice for each" if self.noise_asked else ""
        failed = f"; {count(findings.failed, 'request')} could not be compared" if findings.failed else ""
        return f"{text}{asked}, in {self.duration_s:.1f} s{failed}"

    @property
    def latency(self) -> str:
        """Which side is faster, and how sure that is."""
        latency = self.findings.latency()
        return "no times were measured" if latency is None else latency.words(self.control.name, self.candidate.name)

    @property
    def noise(self) -> str:
        """What was left out because control differs there from itself; empty if nothing was."""
        rows = self.findings.noise()
        if not rows:
            return ""
        differ = "differs" if len(rows) == 1 else "differ"
        return f"{count(len(rows), 'place')} {differ} between {self.control.name} and itself as well: noise"

    @property
    def without_noise(self) -> str:
        """A warning when nothing could be taken for noise."""
        return "" if self.noise_asked else f"{self.control.name} was asked once: what is noise is not known"

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "title": self.plan.title,
            "headline": self.headline,
            "control": {"name": self.control.name, "url": self.control.url},
            "candidate": {"name": self.candidate.name, "url": self.candidate.url},
            "started_at": self.started_at,
            "duration_s": round(self.duration_s, 3),
            "noise_asked": self.noise_asked,
            **self.findings.to_json(),
            "skipped": [{"request": request, "why": why} for request, why in self.plan.skipped],
        }

    @staticmethod
    def field(path: str) -> str:
        """The last step of a place: what is to be mended, wherever it stands."""
        if not path.startswith("$"):
            return path
        parts = read_json_path(path).parts
        names = [part.name for part in parts if isinstance(part.name, str)]
        if not names:
            return "an item of the answer" if parts else "the whole answer"
        return f"{names[-1]}[*]" if parts[-1].name is None else names[-1]

    def grouped(self, rows: list[Row]) -> list[list[Row]]:
        """Rows of the same field with the same kind of difference, together."""
        groups: dict[tuple[str, Kind], list[Row]] = {}
        for row in rows:
            groups.setdefault((self.field(row.path), row.kind), []).append(row)
        return list(groups.values())

    def what(self, kind: Kind) -> str:
        """What is different, as the end of a sentence that begins with the place."""
        return _WHAT[kind].format(candidate=self.candidate.name)

    def row(self, row: Row) -> str:
        """One difference in a sentence."""
        sample = row.samples[0] if row.samples else None
        shown = f": {self.control.name} {sample.control}, {self.candidate.name} {sample.candidate}" if sample else ""
        return f"{row.endpoint}: {row.path} {self.what(row.kind)} ({row.differed} of {row.compared}){shown}"
