"""Pages of documentation with a part that a program writes: `--check` only compares.

Owns: the markers around that part, replacing it, the command line of such a program. Must not know: what any part says.
Invariant: what stands outside the markers is never touched; a page without exactly one place for its part is left alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

END: Final = "<!-- end of what is made -->"


class NoPlaceError(Exception):
    """The page has not exactly one place for what is made."""


@dataclass(frozen=True, slots=True)
class MadePart:
    """`command` is the program as one types it, `change` says where to change what it writes."""

    command: str
    change: str

    @property
    def begin(self) -> str:
        return f"<!-- made by `{self.command}`: change {self.change}, not here -->"

    def page_with(self, text: str, page: str) -> str:
        """The page with its made part replaced. Raises NoPlaceError."""
        before, begin, rest = page.partition(self.begin)
        _, end, after = rest.partition(END)
        if not begin or not end or self.begin in rest:
            raise NoPlaceError(f"the page needs the lines {self.begin!r} and {END!r}, once each")
        return f"{before}{self.begin}\n\n{text}\n{END}{after}"

    def main(self, page: Path, text: Callable[[], str], arguments: list[str] | None) -> int:
        """Bring the page up to date; 1 if it was only to be checked and is not."""
        parser = argparse.ArgumentParser(prog=self.command, description=f"Write the made part of {page.name}.")
        parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if it is not up to date")
        options = parser.parse_args(arguments)
        before = page.read_text("utf-8")
        after = self.page_with(text(), before)
        if after == before:
            return 0
        if options.check:
            print(f"{page.name} is not up to date: run {self.command}", file=sys.stderr)
            return 1
        page.write_text(after, "utf-8")
        return 0
