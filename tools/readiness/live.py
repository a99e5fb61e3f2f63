"""The running splitter, asked without disturbing anybody: what is in force, forced requests, health, metrics, cameras.

Owns: what is asked of it. Must not know: where the splitter is (a `Target` says), how findings are told.
Invariants: nothing is changed; every answer that is not the one expected is told as it came.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from splitter.cli import words
from splitter.cli.client import ROLLOUT, RefusedError, UnreachableError, ask, connect, what_happened
from splitter.cli.target import Target
from splitter.cli.words import Json
from splitter.metrics import FAMILIES
from tools.readiness.findings import Finding, failed, not_checked, ok

HEALTH: Final = "/api/v1/monitoring/health"
METRICS: Final = "/api/v1/monitoring/metrics"
CHECKS: Final = 8
"""Connections, each to a worker that the kernel picks."""

IN_FORCE: Final = "the splitter answers, and domain may get traffic"
SERVED: Final = "cameras are served"
Errors = (OSError, http.client.HTTPException)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer at the public port."""

    status: int
    side: str
    reason: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Running:
    """A running splitter: `admin` is for operators (with the token, if there is one), `public` for clients."""

    admin: Target
    public: Target

    def get(self, path: str) -> Reply:
        """One request on a connection of its own. Raises OSError, HTTPException."""
        connection = connect(self.public, ssl._create_unverified_context())  # noqa: S323 - is it ours? was not the question
        try:
            headers = {"Host": self.public.authority, "User-Agent": "tools/rollout_preparation_check.sh"}
            if self.admin.token:
                headers["X-Splitter-Token"] = self.admin.token  # for rollout.force: token; never forwarded
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            side, reason = (response.getheader(f"X-Splitter-{name}", "") for name in ("Backend", "Reason"))
            return Reply(response.status, side, reason, response.read())
        finally:
            connection.close()

    def status(self) -> Json:
        """What is in force. Raises UnreachableError, RefusedError."""
        return ask(self.admin, "GET", ROLLOUT)


def in_force(running: Running) -> Iterator[Finding]:
    """That it is there, and neither switched off nor rolled back."""
    try:
        status = running.status()
    except (UnreachableError, RefusedError) as error:
        yield failed(IN_FORCE, f"{running.admin}: {error}", "make run, or --admin URL")
        return
    why_off = words.off(status)
    if why_off:
        yield failed(IN_FORCE, why_off, "splitter resume, when what it was rolled back for is mended")
    elif status["domain_ejected"]:
        yield failed(IN_FORCE, "domain is down: its clients go to legacy", "start domain")
    elif status["problems"]:
        yield failed(IN_FORCE, "; ".join(status["problems"]))
    else:
        yield ok(IN_FORCE, str(status["summary"]))


def forced(running: Running) -> Iterator[Finding]:
    """`force_domain`, on several workers."""
    try:
        force = running.status()["force"]
    except (UnreachableError, RefusedError):
        force = "open"  # then the public port alone says what it does
    for value, side in (("true", "domain"), ("false", "legacy")):
        what = f"force_domain={value} goes to {side}"
        if force == "off":
            yield not_checked(what, "rollout.force is off: nobody can force a side", "rollout.force: token, for operators")
            continue
        try:
            replies = [running.get(f"/health?force_domain={value}") for _ in range(CHECKS)]
        except Errors as error:
            yield failed(what, f"{running.public}: {what_happened(error)}")
            continue
        others = sorted(
            {f"{reply.side or 'nobody'} ({reply.reason or reply.status})" for reply in replies} - {f"{side} (forced)"}
        )
        if others:
            yield failed(what, f"it went to {', '.join(others)}")
        else:
            yield ok(what, f"{CHECKS} of {CHECKS}")


def monitoring(running: Running) -> Iterator[Finding]:
    """Health and metrics, where the document wants them."""
    yield _health(running)
    yield _metrics(running)


def _health(running: Running) -> Finding:
    try:
        reply = running.get(HEALTH)
        told: Json = json.loads(reply.body)
    except (*Errors, ValueError) as error:
        return failed(HEALTH, f"{running.public}: {_said(error)}")
    if (reply.status, told.get("status")) != (200, "ok"):
        problems = "; ".join(map(str, told.get("problems", [])))
        return failed(HEALTH, f"{reply.status} {told.get('status')}: {problems}", "docs/runbook.md says what to do")
    return ok(HEALTH, "200 ok, both backends up")


def _metrics(running: Running) -> Finding:
    try:
        reply = running.get(METRICS)
        families = list(text_string_to_metric_families(reply.body.decode()))
    except (*Errors, ValueError) as error:
        return failed(METRICS, f"{running.public}: {_said(error)}")
    names = {sample.name for family in families for sample in family.samples}
    missing = [family.name for family in FAMILIES if not any(name.startswith(family.name) for name in names)]
    if missing:
        return failed(METRICS, f"{reply.status}, without {', '.join(missing[:5])}")
    return ok(METRICS, f"{len(FAMILIES)} families, {sum(len(family.samples) for family in families):,} series")


def cameras(running: Running) -> Iterator[Finding]:
    """That both sides have cameras, the same ones."""
    found: dict[str, set[Any]] = {}
    for side, value in (("legacy", "false"), ("domain", "true")):
        try:
            reply = running.get(f"/api/v1/cameras?force_domain={value}")
            if (reply.side, reply.status) != (side, 200):
                yield failed(
                    SERVED, f"{side} was asked, and {reply.side or 'nobody'} answered with {reply.status} ({reply.reason})"
                )
                return
            found[side] = {camera["id"] for camera in json.loads(reply.body)["cameras"]}
        except (*Errors, ValueError, KeyError, TypeError) as error:
            yield failed(SERVED, f"{side}: {_said(error)}")
            return
    if found["legacy"] != found["domain"]:
        yield failed(SERVED, f"only one side has {', '.join(sorted(map(str, found['legacy'] ^ found['domain'])))}")
    elif not found["legacy"]:
        yield failed(SERVED, "there is none", "add some to config/cameras.yaml, or POST /api/v1/cameras")
    else:
        yield ok(SERVED, f"{len(found['legacy'])}, the same on both sides")


def _said(error: Exception) -> str:
    if isinstance(error, OSError | http.client.HTTPException):
        return what_happened(error)
    return "what answers there is not what was expected"
