"""What a check found, the sums over all of them, and how both are told.

Owns: outcomes, percents, the lines and the table. Must not know: what is checked.
Invariants: what was not checked is not complete, and says why and what to do; a percent is 100 only when everything is ok;
nothing that came from a network reaches the terminal unclean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from splitter.cli.words import clean


class Outcome(Enum):
    """Of one check."""

    OK = "ok"
    FAILED = "FAILED"
    NOT_CHECKED = "not checked"


_COLOURS: Final = {Outcome.OK: "green", Outcome.FAILED: "red", Outcome.NOT_CHECKED: "yellow"}
_WIDTH: Final = max(len(outcome.value) for outcome in Outcome) + 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One item. `detail`: what was seen, or why not; `todo`: what to do about it."""

    what: str
    outcome: Outcome
    detail: str = ""
    todo: str = ""

    def as_json(self) -> dict[str, str]:
        return {"what": self.what, "outcome": self.outcome.value, "detail": self.detail, "todo": self.todo}


def ok(what: str, detail: str = "") -> Finding:
    return Finding(what, Outcome.OK, detail)


def failed(what: str, why: str, todo: str = "") -> Finding:
    return Finding(what, Outcome.FAILED, why, todo)


def not_checked(what: str, why: str, todo: str) -> Finding:
    return Finding(what, Outcome.NOT_CHECKED, why, todo)


@dataclass(slots=True)
class Group:
    """A row of the table in the end."""

    title: str
    findings: list[Finding] = field(default_factory=list)

    def count(self, outcome: Outcome) -> int:
        return sum(finding.outcome is outcome for finding in self.findings)

    @property
    def percent(self) -> int:
        return percent(self.count(Outcome.OK), len(self.findings))


def percent(done: int, of: int) -> int:
    """Rounded down, so that 100 means all of it."""
    return 100 * done // of if of else 0


@dataclass(slots=True)
class Report:
    """Everything that was found, told as it comes."""

    console: Console
    groups: list[Group] = field(default_factory=list)

    def add(self, title: str, findings: Iterable[Finding]) -> None:
        """Carry out the checks of a group. One that breaks has failed, and those of other groups go on."""
        group = Group(title)
        self.groups.append(group)
        self.console.print(f"\n[bold]{escape(title)}[/bold]")
        todo = ""
        for finding in _to_the_end(findings):
            group.findings.append(finding)
            tell(self.console, finding, told=todo)
            todo = finding.todo

    def count(self, outcome: Outcome) -> int:
        return sum(group.count(outcome) for group in self.groups)

    @property
    def failures(self) -> int:
        return self.count(Outcome.FAILED)

    @property
    def percent(self) -> int:
        return percent(self.count(Outcome.OK), sum(len(group.findings) for group in self.groups))

    @property
    def verdict(self) -> str:
        """All of it in one line."""
        unchecked = self.count(Outcome.NOT_CHECKED)
        missing = f", {unchecked} not checked" if unchecked else ""
        if self.failures:
            return f"NOT READY: {self.failures} failed{missing}"
        return f"nothing failed{missing}: {self.percent} % complete"

    def tell_sums(self) -> None:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("")
        for heading in ("done", "failed", "not checked", "complete"):
            table.add_column(heading, justify="right")
        for group in self.groups:
            table.add_row(group.title, *_cells(group.findings), f"{group.percent} %")
        everything = [finding for group in self.groups for finding in group.findings]
        table.add_row("total", *_cells(everything), f"{self.percent} %", style="bold")
        self.console.print()
        self.console.print(table)
        self.console.print(f"\n{escape(self.verdict)}", style="red" if self.failures else "green")

    def as_json(self) -> dict[str, Any]:
        return {
            "ready": not self.failures,
            "verdict": self.verdict,
            "percent": self.percent,
            "groups": [
                {"name": group.title, "percent": group.percent, "items": [each.as_json() for each in group.findings]}
                for group in self.groups
            ],
        }


def _to_the_end(findings: Iterable[Finding]) -> Iterator[Finding]:
    try:
        yield from findings
    except Exception as error:
        yield failed("the checks come to their end", f"{type(error).__name__}: {error}")


def _cells(findings: Sequence[Finding]) -> list[str]:
    counts = [sum(finding.outcome is outcome for finding in findings) for outcome in Outcome]
    return [f"{counts[0]} of {len(findings)}", *(str(count) if count else "" for count in counts[1:])]


def tell(console: Console, finding: Finding, told: str = "") -> None:
    """One line, and one more when there is something to do, unless that was just `told`."""
    colour, label = _COLOURS[finding.outcome], finding.outcome.value
    detail = f": {clean(finding.detail)}" if finding.detail else ""
    console.print(f"[{colour}]{label}[/{colour}]{' ' * (_WIDTH - len(label))}{escape(clean(finding.what) + detail)}")
    if finding.todo and finding.todo != told:
        console.print(f"{' ' * _WIDTH}[dim]{escape(clean(finding.todo))}[/dim]")


def terminal(*, quiet: bool = False) -> Console:
    """Where findings are told: lines as long as they are, colours only on a terminal."""
    return Console(highlight=False, soft_wrap=True, quiet=quiet)
