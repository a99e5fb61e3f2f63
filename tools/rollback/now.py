"""`tools/rollback.sh`: roll back the splitter of this machine, check that it is so, and say it in one line.

Owns: finding the splitter, the second way when the API doesn't answer, the check at the public port.
Must not know: how a rollback comes into force.
Invariants: it says that nothing goes to domain only when the splitter has said so *and* a forced request to the public port
was not sent there; whatever it can't do it says, with what to do instead. Exit status: 0 rolled back and checked, else 1.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import ssl
import sys
import time
from typing import Final

import click

from splitter.cli import words
from splitter.cli.client import ROLLOUT, RefusedError, UnreachableError, ask, ask_until_answered, connect
from splitter.cli.switches import once_saved
from splitter.cli.target import Target, find_listener, find_target
from tools import ports

SUPERVISOR: Final = re.compile(r"(?:-m |/)splitter run\b")
WORKER: Final = re.compile(r"-m splitter\.worker\b")
CHECKS: Final = 8
"""Connections, each to a worker that the kernel picks."""

SIGNAL_S: Final = 5.0
_POLL_S: Final = 0.05
_OFF: Final = frozenset({"rollback", "disabled"})
"""Reasons of the contract that say: nothing goes to domain, not even a forced request."""


class NotDoneError(Exception):
    """Not rolled back, or not seen that it is; the message says which, and what to do."""


def main() -> int:
    try:
        print(roll_back())
    except NotDoneError as error:
        print(error, file=sys.stderr)
        return 1
    except click.UsageError as error:
        print(f"NOT ROLLED BACK: {error.message}", file=sys.stderr)
        return 1
    return 0


def roll_back() -> str:
    """One line on what was done. Raises NotDoneError, click.UsageError for an address of no use."""
    target, public = find_target(None, None), find_listener()
    request = ("POST", f"{ROLLOUT}/rollback", {"reason": "tools/rollback.sh"})
    try:
        done = ask(target, *request)
    except (UnreachableError, RefusedError) as error:
        pid = _supervisor(target, public)
        if pid is not None:
            return _by_signal(pid, public, f"{target}: {error}")
        try:
            done = ask_until_answered(target, *request)
        except (UnreachableError, RefusedError) as again:
            raise NotDoneError(f"NOT ROLLED BACK: {target}: {again}; {_advice(target, public)}") from None
    why = _why_not_off(public)
    if why:
        raise NotDoneError(f"NOT CHECKED: the splitter at {target} says that it is rolled back, but {why}")
    return f"rolled back: nothing goes to domain; {'; '.join(words.went(once_saved(target, done)))}; checked at {public}"


def _by_signal(pid: int, public: Target, trouble: str) -> str:
    os.kill(pid, signal.SIGUSR1)
    until_s = time.monotonic() + SIGNAL_S
    while why := _why_not_off(public):
        if time.monotonic() > until_s:
            raise NotDoneError(f"NOT CHECKED: {trouble}; pid {pid} was sent SIGUSR1, but {why}")
        time.sleep(_POLL_S)
    return f"rolled back: nothing goes to domain; by SIGUSR1 to pid {pid} ({trouble}); checked at {public}"


def _advice(target: Target, public: Target) -> str:
    """What is left to do by hand."""
    if not _is_here(target):
        return "on its machine run tools/rollback.sh, or `kill -USR1 PID`, or restart it with USE_DOMAIN_SERVICE=false"
    if any(_runs(pid, WORKER) for pid in ports.pids_listening(public.port)):
        return "only its workers are left: start it again with USE_DOMAIN_SERVICE=false, and it takes them over"
    return "no splitter of this user runs here; is it elsewhere (SPLITTER_ADMIN=http://HOST:8090), or another user's (sudo)?"


def _is_here(target: Target) -> bool:
    return bool(target.socket_path) or target.host == "localhost" or target.host.startswith("127.") or target.host == "::1"


def _supervisor(target: Target, public: Target) -> int | None:
    """The process that started the others, if it is on this machine and this user's. It has both ports open."""
    if not _is_here(target):
        return None
    for port in (target.port, public.port):
        for pid in ports.pids_listening(port):
            if _runs(pid, SUPERVISOR):
                return pid
    return None


def _runs(pid: int, command: re.Pattern[str]) -> bool:
    try:
        return command.search(" ".join(ports.command_line(pid))) is not None
    except OSError:  # it ended meanwhile
        return False


def _why_not_off(public: Target) -> str:
    """Empty when requests that are forced to domain don't get there, whichever worker they meet."""
    for _ in range(CHECKS):
        try:
            reason = _reason_of_a_forced_request(public)
        except (OSError, http.client.HTTPException) as error:
            return f"the public port {public} can't be asked: {error}"
        if reason not in _OFF:
            return f"a request at {public} was answered with X-Splitter-Reason: {words.clean(reason) or '(none)'}"
    return ""


def _reason_of_a_forced_request(public: Target) -> str:
    connection = connect(public, ssl._create_unverified_context())  # noqa: S323 - is it ours? was not the question
    try:
        headers = {"Host": public.authority, "User-Agent": "tools/rollback.sh"}
        connection.request("GET", "/health?force_domain=true", headers=headers)
        return connection.getresponse().getheader("X-Splitter-Reason", "")
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
