"""One question to the admin API, and its answer.

Owns: connecting, headers, the token, what a failure is called, trying again. Must not know: what is asked.
Invariants: the token goes to the target alone, in a header; an answer is what the splitter said, or an exception with a
sentence; what comes from the network is cleaned before it reaches a terminal.
"""

from __future__ import annotations

import http.client
import json
import os
import pwd
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Final

import click

from splitter.cli.target import Target
from splitter.cli.words import Json, clean

ROLLOUT: Final = "/api/v1/rollout"
FAILED_STATUS: Final = 1
CONNECT_S: Final = 3.0
ANSWER_S: Final = 15.0
"""A rollback waits a second for each worker that does not answer, and for its replacement."""

RETRY_FOR_S: Final = 6.0
_PAUSE_S: Final = 0.2


class UnreachableError(Exception):
    """No answer came from the splitter; the message says what happened instead."""


class RefusedError(Exception):
    """The splitter answered with an error."""

    def __init__(self, status: int, code: str, message: str, request_id: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connect(target: Target, tls: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
    """A connection to the target, open; `tls` if not the system's own checks are wanted. Raises OSError."""
    connection: http.client.HTTPConnection
    if target.socket_path:
        connection = _UnixConnection(target.socket_path, CONNECT_S)
    elif target.secure:
        connection = http.client.HTTPSConnection(target.host, target.port, timeout=CONNECT_S, context=tls)
    else:
        connection = http.client.HTTPConnection(target.host, target.port, timeout=CONNECT_S)
    connection.connect()
    connection.sock.settimeout(ANSWER_S)
    return connection


def headers(target: Target) -> dict[str, str]:
    """What every request carries: who asks, and the token if there is one."""
    given = {"Host": target.authority, "Accept": "application/json", "X-Splitter-Actor": f"cli:{_person()}"}
    if target.token:
        given["Authorization"] = f"Bearer {target.token}"
    return given


def _person() -> str:
    """Who is at the keyboard, also under sudo: for the audit list, which takes it as a claim."""
    name = os.environ.get("SUDO_USER")
    if not name:
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:  # a container's user often has no name
            name = str(os.getuid())
    return "".join(character for character in f"{name}@{socket.gethostname()}" if "!" <= character <= "~")[:100]


def ask(target: Target, method: str, path: str, body: Json | None = None) -> Json:
    """One request. Raises UnreachableError or RefusedError."""
    sent = headers(target)
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        sent["Content-Type"] = "application/json"
    try:
        connection = connect(target)
        try:
            connection.request(method, target.prefix + path, data, sent)
            response = connection.getresponse()
            status, text = response.status, response.read()
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(what_happened(error)) from None
    return _answer(status, text)


def ask_until_answered(target: Target, method: str, path: str, body: Json) -> Json:
    """The same over a short trouble, such as a restart. Only for what may be asked twice. Raises as `ask` does."""
    until_s = time.monotonic() + RETRY_FOR_S
    told = ""
    while True:
        try:
            return ask(target, method, path, body)
        except UnreachableError as error:
            trouble: UnreachableError | RefusedError = error
        except RefusedError as error:
            if error.status < 500:
                raise
            trouble = error
        if time.monotonic() >= until_s:
            raise trouble
        if str(trouble) != told:
            told = str(trouble)
            click.echo(f"{target}: {told}; trying for {RETRY_FOR_S:g} s", err=True)
        time.sleep(_PAUSE_S)


def _answer(status: int, text: bytes) -> Json:
    body = _object(text)
    if body is None or status >= 400:
        raise refusal(status, text)
    return body


def refusal(status: int, text: bytes) -> UnreachableError | RefusedError:
    """An answer that is not what was asked for, as the exception to raise."""
    error = (_object(text) or {}).get("error")
    if not isinstance(error, dict):
        return UnreachableError(f"what answers there is no splitter (status {status})")
    return RefusedError(
        status, str(error.get("code")), clean(str(error.get("message"))), clean(str(error.get("request_id", "")))
    )


def _object(text: bytes) -> Json | None:
    try:
        body = json.loads(text)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def what_happened(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, FileNotFoundError):
        return "there is no such socket"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"the connection broke ({type(error).__name__})"


@dataclass(frozen=True, slots=True)
class Terminal:
    """How a command tells what came of it: as JSON for scripts, or in words."""

    as_json: bool

    def fail(self, target: Target, error: UnreachableError | RefusedError, *advice: str) -> SystemExit:
        """Say what went wrong, and give the exit to raise."""
        if isinstance(error, RefusedError):
            code, lines = error.code, [f"refused ({error.status}): {error.message}"]
        else:
            code, lines = "unreachable", [f"can't reach the splitter at {target}: {error}"]
        if self.as_json:
            click.echo(json.dumps({"ok": False, "error": {"code": code, "message": lines[0]}}, ensure_ascii=False))
        for line in (*lines, *advice):
            click.echo(line, err=True)
        return SystemExit(FAILED_STATUS)
