"""Old and new asked the same by `splitter compare`, and what came of it at each endpoint.

Owns: the thirteen endpoints, how the command is called, what its JSON says about one endpoint.
Must not know: how requests are sent and compared.
Invariant: an endpoint counts as good only if a request that has to succeed was sent to it on both sides, and did.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from splitter.cli.compare.request_list import read_request_list
from splitter.cli.compare.steps import Step
from splitter.cli.target import Target
from splitter.compare import Kind

ROOT: Final = Path(__file__).parents[2]
LIST: Final = ROOT / "config" / "compare" / "camera_api.yaml"
CAMERA_OPERATIONS: Final = (
    "POST /api/v1/cameras/{camera_id}/start",
    "POST /api/v1/cameras/{camera_id}/stop",
    "POST /api/v1/cameras/{camera_id}/restart",
    "POST /api/v1/cameras/{camera_id}/activate",
    "POST /api/v1/cameras/{camera_id}/deactivate",
    "GET /api/v1/cameras/{camera_id}/status",
    "GET /api/v1/cameras/{camera_id}/preview",
    "GET /api/v1/cameras/{camera_id}/logs",
    "PUT /api/v1/cameras/{camera_id}/auto-start",
    "POST /api/v1/cameras/batch-status",
    "POST /api/v1/cameras/refresh",
)
RULE_WRITES: Final = ("POST /api/v1/alerts/rules", "PUT /api/v1/alerts/rules/{rule_id}")
THIRTEEN: Final = CAMERA_OPERATIONS + RULE_WRITES
_MOST_S: Final = 600.0
_SILENT: Final = f"status: {Kind.NO_ANSWER}"


class NotComparedError(Exception):
    """There is no result; the message is what was said instead, `status` the exit status that goes with it."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What came of one. `trouble`: why it is not good, empty if it is; `seen`: what was asked, in words."""

    name: str
    seen: str
    trouble: str


@dataclass(frozen=True, slots=True)
class Compared:
    """The command's JSON, and the steps of the list it was given, without those that clean up."""

    document: dict[str, Any]
    steps: Sequence[Step]

    def endpoint(self, name: str) -> Endpoint:
        planned = [step for step in self.steps if step.endpoint == name]
        titles = {step.title for step in planned}
        results = {
            each["step"]: each for each in self.document["steps"] if each["endpoint"] == name and each["step"] in titles
        }
        statuses = sorted({status for step in planned for status in step.expect})
        seen = f"{len(results)} request{'s' * (len(results) != 1)}, {', '.join(map(str, statuses))}"
        return Endpoint(name, seen, self._trouble(planned, results))

    def was_answered(self, name: str) -> bool:
        """Whether both sides answered it at all, alike or not."""
        return any(
            each["endpoint"] == name and each["compared"] and not each["failures"] and _SILENT not in each["mismatches"]
            for each in self.document["steps"]
        )

    def _trouble(self, planned: Sequence[Step], results: dict[str, dict[str, Any]]) -> str:
        titles = {step.title for step in planned}
        told = [problem for problem in self.document["problems"] if problem.partition(": ")[0] in titles]
        for result in results.values():
            told += [f"{result['step']}: {why}" for why in result["failures"]]
            told += [f"{result['step']}: {place}" for place in result["mismatches"]]
        if told:
            return "; ".join(told[:3]) + (f"; {len(told) - 3} more" if len(told) > 3 else "")
        must_succeed = {step.title for step in planned if step.expect and max(step.expect) < 300}
        if not must_succeed & results.keys():
            return f"was not asked: {self.incomplete or 'the list has no request to it that succeeds'}"
        return ""

    def differences(self, *, of_statuses: bool) -> list[str]:
        """Where the sides differ: in statuses, or in all else; where one gave no answer, in both."""
        return [
            f"{row['endpoint']}: {row['path']} {row['kind']} ({row['differed']} of {row['compared']})"
            for row in self.document["mismatches"]
            if (row["path"] == "status") is of_statuses or row["kind"] == Kind.NO_ANSWER.value
        ]

    @property
    def incomplete(self) -> str:
        """What first kept it from being compared as planned; empty if nothing did."""
        return str(next(iter(self.document["problems"]), ""))


def url_of(listener: Target) -> str:
    """What `--via` takes. Raises NotComparedError for a socket file."""
    if listener.socket_path:
        raise NotComparedError(f"the splitter listens on {listener}, and requests can be compared over TCP only: give --url")
    return str(listener)


def command(via: str, *options: str, source: Path = LIST) -> list[str]:
    """The call of `splitter compare`."""
    return [sys.executable, "-m", "splitter", "compare", str(source), "--via", via, *options]


def compare(via: str, source: Path = LIST) -> Compared:
    """Ask both sides once. Raises NotComparedError."""
    plan = read_request_list(source.read_text("utf-8"), str(source), repeat=1)
    called = command(via, "--json", "--repeat", "1", source=source)
    done = subprocess.run(called, capture_output=True, text=True, check=False, timeout=_MOST_S)
    try:
        document = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.strip().rpartition("\n")[2] or f"splitter compare ended with status {done.returncode}"
        raise NotComparedError(said, done.returncode) from None
    (scenario,) = plan.scenarios
    return Compared(document, (*scenario.setup, *scenario.requests))
