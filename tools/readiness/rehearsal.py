"""What would disturb clients, measured on a private copy with the same configuration: switches, fallback, rollback.

Owns: which copy is made for what, and what must hold on it. Must not know: how a copy runs, how a rollback is thrown.
Invariant: the running splitter is not touched; what can't be measured on this machine is not checked, and never ok.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from splitter.cli.client import RefusedError, UnreachableError
from splitter.config import load, threshold_of
from splitter.config.document import read_document
from splitter.routing import bucket_of, seed_of
from tools.readiness.compared import ROOT
from tools.readiness.findings import Finding, failed, not_checked, ok, terminal
from tools.rollback import verify
from tools.rollback.load import LoadError
from tools.rollback.measure import measure, percentile
from tools.rollback.rig import Rig, RigError, rig
from tools.rollback.ways import WAYS

PERCENT: Final = 37.0
CLIENTS: Final = 300
THROWS: Final = 10
RATE: Final = 500
GOAL_MS: Final = 1000.0
"""A rollback is fast when it is over before the person who typed it looks up; docs/rollback.md has the exact numbers."""

FORCED: Final = "USE_DOMAIN_SERVICE=false keeps forced requests off domain too"
SHARE: Final = f"ROLLOUT_PERCENT={PERCENT:g} sends that share to domain"
FALLBACK: Final = "legacy answers when domain is dead"
MECHANISM: Final = "every way to roll back holds"
SPEED: Final = "a rollback is fast"
SCRIPT: Final = "tools/rollback.sh rolls back"
_PATH: Final = "/readiness"
_LOAD: Final = "wrk"

Errors = (RigError, LoadError, UnreachableError, RefusedError, OSError)


class Rehearsal:
    """Copies by the configuration `source`; `folder` is for their files."""

    def __init__(self, source: Path | None, folder: Path) -> None:
        self._source = source
        self._folder = folder
        self._config = load(source, os.environ)

    def switches(self) -> Iterator[Finding]:
        """What the two variables of the environment do."""
        try:
            with self._plain_copy({"ROLLOUT_PERCENT": f"{PERCENT:g}"}) as copy:
                yield _share(copy, seed_of(self._config.rollout.salt))
                copy.switches = {"USE_DOMAIN_SERVICE": "false"}
                copy.stop()
                copy.start()
                yield _off(copy)
        except Errors as error:
            yield failed("switches on a private copy", str(error))

    def fallback(self) -> Iterator[Finding]:
        """Domain dies under requests."""
        if not self._config.fallback.on:
            yield not_checked(FALLBACK, "fallback.on is empty: legacy is not to answer", "give fallback.on some failures")
            return
        try:
            with self._plain_copy({"ROLLOUT_PERCENT": "100"}) as copy:
                before = _asked(copy, 0)
                copy.kill_backend("domain")
                answers = [_asked(copy, number) for number in range(20)]
        except Errors as error:
            yield failed(FALLBACK, str(error))
            return
        bad = sorted(
            {f"{status} from {side} ({reason})" for status, side, reason in answers if (status, side) != (200, "legacy")}
        )
        if before[1] != "domain":
            yield failed(FALLBACK, f"domain did not answer before it was killed, {before[1]} did ({before[2]})")
        elif bad:
            yield failed(FALLBACK, f"clients met {', '.join(bad)}")
        else:
            yield ok(FALLBACK, f"{len(answers)} of {len(answers)} requests after it was killed")

    def rollback(self) -> Iterator[Finding]:
        """Every way, how fast, and the script for the night."""
        if shutil.which(_LOAD) is None:
            why, todo = f"{_LOAD} is not installed, and there must be load", f"apt-get install {_LOAD}"
            yield not_checked(MECHANISM, why, todo)
            yield not_checked(SPEED, why, todo)
        else:
            report = verify.Report(terminal(quiet=True))
            verify.rehearse(self._source, report)
            if report.failed:
                yield failed(MECHANISM, "; ".join(report.failed[:3]), "tools/rollback_verification.sh shows every check")
            else:
                yield ok(MECHANISM, f"{len(WAYS)} ways, {report.passed} checks under load")
            yield self._speed()
        yield self._script()

    def _speed(self) -> Finding:
        try:
            with rig(self._new_folder(), self._source, {"ROLLOUT_PERCENT": "50"}) as copy:
                series = measure(copy, WAYS[0], THROWS, RATE, copy.folder)
        except Errors as error:
            return failed(SPEED, str(error))
        answer_ms = percentile([throw.answer_ms for throw in series.throws], 1.0)
        if series.late or series.met.failures:
            return failed(SPEED, f"{series.late} requests reached domain after the answer, {series.met.failures} failed")
        said = f"{answer_ms:.0f} ms at most in {THROWS} rollbacks, nothing reached domain after the answer"
        return ok(SPEED, said) if answer_ms <= GOAL_MS else failed(SPEED, f"{said}; the goal is {GOAL_MS:g} ms")

    def _script(self) -> Finding:
        try:
            with rig(self._new_folder(), self._source, {"ROLLOUT_PERCENT": "100"}) as copy:
                environment = {**copy.environment, "SPLITTER_ADMIN": str(copy.target)}
                script = ROOT / "tools" / "rollback.sh"
                done = subprocess.run([script], env=environment, capture_output=True, text=True, check=False, timeout=60)
        except (*Errors, subprocess.TimeoutExpired) as error:
            return failed(SCRIPT, str(error))
        said = (done.stdout + done.stderr).strip().replace("\n", "; ")
        return ok(SCRIPT, said.partition(";")[0]) if done.returncode == 0 else failed(SCRIPT, said)

    def _new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._folder))

    @contextlib.contextmanager
    def _plain_copy(self, overrides: dict[str, str]) -> Iterator[Rig]:
        """A copy whose clients are told apart by a header: no routes, nobody else's key."""
        tree: dict[str, Any] = {}
        if self._source is not None:
            tree = read_document(self._source.read_text("utf-8"), str(self._source)).tree
        rollout = {key: value for key, value in (tree.get("rollout") or {}).items() if key not in {"routes", "plan"}}
        folder = self._new_folder()
        plain = folder / "plain.yaml"
        plain.write_text(json.dumps(tree | {"rollout": rollout | {"key": ["header:X-User-Id"], "force": "open"}}), "utf-8")
        with rig(folder, plain, overrides) as copy:
            yield copy


def _asked(copy: Rig, client: int, query: str = "") -> tuple[int, str, str]:
    """Status, side and reason of one client's request."""
    status, headers, _ = copy.get(copy.port, f"{_PATH}{query}", {"X-User-Id": f"client-{client}"})
    return status, headers.get("x-splitter-backend", ""), headers.get("x-splitter-reason", "")


def _share(copy: Rig, seed: int) -> Finding:
    """Not about that share: exactly those whose bucket is below it."""
    expected = [bucket_of(f"client-{number}".encode(), seed) < threshold_of(PERCENT) for number in range(CLIENTS)]
    found = [_asked(copy, number)[1] == "domain" for number in range(CLIENTS)]
    wrong = sum(one != other for one, other in zip(expected, found, strict=True))
    if wrong:
        return failed(SHARE, f"{wrong} of {CLIENTS} clients are on the wrong side")
    return ok(SHARE, f"{sum(found)} of {CLIENTS} clients, each by its bucket")


def _off(copy: Rig) -> Finding:
    before = copy.recorded("domain").count
    reasons = {_asked(copy, number, "?force_domain=true")[2] for number in range(20)}
    arrived = copy.recorded("domain").count - before
    if reasons != {"disabled"} or arrived:
        return failed(FORCED, f"{arrived} arrived at domain; reasons: {', '.join(sorted(reasons))}")
    return ok(FORCED, "0 of 20 arrived")
