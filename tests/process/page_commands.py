"""The commands of a page in docs/, taken literally.

Owns: which blocks of a page are meant, what a block's commands have to print, ports put in the place of those on the page.
Must not know: what a page is about.

A comment before a fenced block says what it is: `tried` (run it), `tried: in the background`, `tried: kept` (an `export`
that holds from then on), `tried: WORD` (for a test of its own), `file: NAME` (write it), `is: NAME` (what that file says).
Below a command stands what it prints: each line has to come, in that order, or be the beginning of one that does; any
number stands for any other. The only thing that is changed on the way are ports.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.children import start

_BLOCK = re.compile(r"^<!-- ([^>]+) -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PORT = re.compile(r"(?:(?<=\w:)|(?<=port: )|(?<=port_value: ))\d{4}\b")
"""Where a port can stand: a weight or a year is none."""

_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


@dataclass(frozen=True)
class Block:
    """One fenced block with its mark, such as `tried`."""

    mark: str
    text: str

    @property
    def commands(self) -> list[tuple[str, list[str]]]:
        """Each command with the lines it is said to print."""
        found: list[tuple[str, list[str]]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append((line.removeprefix("$ "), []))
            else:
                found[-1][1].append(line)
        return found


def blocks(page: Path) -> list[Block]:
    """The marked blocks of a page, in order."""
    return [Block(mark, text) for mark, text in _BLOCK.findall(page.read_text("utf-8"))]


def shape(line: str) -> str:
    """A line with every number alike, and no blanks that only line something up."""
    return " ".join(_NUMBER.sub("0", line).split())


def missing_from(printed: str, expected: list[str]) -> list[str]:
    """The expected lines that do not come, in this order."""
    rest = iter([shape(line) for line in printed.splitlines()])
    return [line for line in expected if not any(found.startswith(shape(line)) for found in rest)]


@dataclass
class Reader:
    """Somebody who does what a page says, in `folder`; `ports` are those on the page, and those to take instead."""

    folder: Path
    ports: Mapping[int, int]
    environment: dict[str, str] = field(default_factory=dict)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {"TZ": "UTC", "HOME": str(self.folder), **self.environment, "PATH": path}

    def moved(self, text: str) -> str:
        """A text of the page, with the ports of this run."""
        return _PORT.sub(lambda found: str(self.ports.get(int(found[0]), found[0])), text)

    def run(self, block: Block) -> None:
        """Every command of it has to succeed, and to print what the page says."""
        for command, expected in block.commands:
            done = subprocess.run(
                ["bash", "-c", self.moved(command)], cwd=self.folder, env=self.environment, capture_output=True, text=True,
                timeout=240, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
            missing = missing_from(done.stdout, expected)
            assert not missing, f"$ {command}\nthe page says {missing}, but it printed:\n{done.stdout}{done.stderr}"

    def run_in_background(self, block: Block) -> None:
        """As in a terminal of its own."""
        for command, _ in block.commands:
            name = f"terminal-{len(self.running)}.log"
            words = ["bash", "-c", f"exec {self.moved(command)}"]
            self.running.append(start(words, self.folder / name, self.environment, cwd=self.folder))

    def keep(self, block: Block) -> None:
        """`export NAME=VALUE`, for all that follows."""
        for command, _ in block.commands:
            name, _, value = command.removeprefix("export ").partition("=")
            self.environment[name] = self.moved(value)

    def write(self, block: Block) -> Path:
        """A file of the page."""
        file = self.folder / block.mark.removeprefix("file: ")
        file.write_text(self.moved(block.text), "utf-8")
        return file
