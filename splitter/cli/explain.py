"""`splitter explain`: where a key or a whole request would go, and why, by the configuration alone.

Owns: what is told about a decision, for people and as JSON. Must not know: how it is made; the relay's own reader and
router are asked, so the answer here is the answer there.
Invariant: nothing is contacted: what an operator has changed at run time is given as options, or not known here.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import click

from splitter.cli.source import config_option, read_config
from splitter.config import Config, KeySource, Percent, threshold_of
from splitter.control.table import table_of
from splitter.errors import BadRequest
from splitter.http1.request import HeadLimits, OwnAnswer, RequestHeadReader
from splitter.routing import BUCKETS, OWN, Backend, Decision, FoundKey, Reason, Router, bucket_of

_FAILED_STATUS: Final = 1
_ANY_HOST: Final = "splitter.invalid"
_REASONS: Final = {
    Reason.DISABLED: "use_domain_service is false: nothing goes to domain",
    Reason.ROLLBACK: "rolled back: nothing goes to domain",
    Reason.FORCED: "force_domain in the query says so",
    Reason.NO_KEY: "the request has none of the keys",
    Reason.OWN: "the splitter answers this itself",
}

_ONCE: Final = {
    Reason.DISABLED: ", once use_domain_service is true",
    Reason.ROLLBACK: ", once resumed",
    Reason.FORCED: ", when not forced",
}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: a key alone, or a request."""

    key: str | None
    url: str | None
    headers: tuple[str, ...]
    method: str | None
    client_ip: str | None
    percent: float | None
    rolled_back: bool

    def check(self) -> None:
        """Raises UsageError for options that don't go together."""
        if (self.key is None) == (self.url is None):
            raise click.UsageError("give either --key or --url")
        if self.key == "":
            raise click.UsageError("--key is empty, and an empty key counts as none")
        if self.key is not None and (self.headers or self.method or self.client_ip):
            raise click.UsageError("--header, --method and --client-ip describe a request: they go with --url")


@dataclass(frozen=True, slots=True)
class _KeyAlone:
    """A request of which nothing is known but its key."""

    key: bytes
    method: bytes = b"GET"
    path: bytes = b"/"
    query: bytes = b""

    @property
    def fields(self) -> Mapping[bytes, bytes]:
        return {b"key": self.key}


_GIVEN_KEY: Final = KeySource("header", "key")


@dataclass(frozen=True, slots=True)
class Answer:
    """All there is to say about one decision. None: not known, or not asked for."""

    backend: str
    reason: str
    route: str
    percent: float
    threshold: int
    key: str | None
    key_source: str | None
    bucket: int | None
    to_domain_from_percent: float | None
    force_ignored: bool


def _percent(_ctx: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else Percent().read(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _client_ip(_ctx: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else str(ip_address(value))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no address") from None


@click.command("explain")
@click.option("--key", help="The client's key itself, such as a user's id.")
@click.option("--url", help="A request: its URL, or its path and query.")
@click.option(
    "--header", "-H", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header of the request; repeatable."
)
@click.option("--method", "-X", help="The method of the request (default: GET).")
@click.option("--client-ip", metavar="IP", callback=_client_ip, help="The address the request comes from.")
@click.option("--percent", callback=_percent, help="As if rollout.percent were this; routes keep theirs.")
@click.option("--rolled-back", is_flag=True, help="As if rolled back.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def explain(config_file: Path | None, as_json: bool, **asked: Any) -> None:
    """Where a key or a request goes by the configuration, and why.

    Give either --key or --url. What was changed at run time is not known here: say it with --percent and --rolled-back.
    Exit status 1 if the splitter would refuse the request.
    """
    question = Question(**asked)
    question.check()
    config, _ = read_config(config_file)
    router = _router(config, question)
    if question.key is not None:
        answer = _of_key(router, question.key)
    else:
        try:
            answer = _of_request(router, config, question)
        except BadRequest as error:
            _tell_refused(error, as_json=as_json)
            raise SystemExit(_FAILED_STATUS) from None
    click.echo(json.dumps(dataclasses.asdict(answer), ensure_ascii=False) if as_json else _as_text(answer, question))


def _router(config: Config, question: Question) -> Router:
    table = dataclasses.replace(table_of(config), rolled_back=question.rolled_back)
    if question.percent is not None:
        default = dataclasses.replace(table.default, threshold=threshold_of(question.percent))
        table = dataclasses.replace(table, default=default)
    return Router(table)


def _of_key(router: Router, key: str) -> Answer:
    """The decision for any request that has this key and that no route matches."""
    rule = dataclasses.replace(router.table.default, sources=(_GIVEN_KEY,))
    alone = Router(dataclasses.replace(router.table, default=rule, routes=()))
    request = _KeyAlone(key.encode("utf-8", "surrogateescape"))
    return _answer(alone, alone.decide(request, ""), dataclasses.replace(alone.find_key(request, ""), source=None))


def _of_request(router: Router, config: Config, question: Question) -> Answer:
    """The decision for a request. Raises BadRequest if the relay would."""
    limits = config.limits
    reader = RequestHeadReader(HeadLimits(limits.header_bytes, limits.target_bytes, limits.headers, limits.body_bytes))
    try:
        head = reader.read(_head_block(question))
    except OwnAnswer as answer:
        return _answer(router, OWN, router.find_key(answer.head, question.client_ip or ""))
    peer = question.client_ip or ""
    return _answer(router, router.decide(head, peer), router.find_key(head, peer))


def _head_block(question: Question) -> bytes:
    """The request as bytes, as a client would send it. Raises UsageError for what no client could send."""
    url = question.url or ""
    scheme, separator, rest = url.partition("://")
    host = _ANY_HOST
    if separator and "/" not in scheme and "?" not in scheme:
        authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
        host, target = authority.rpartition("@")[2], rest[len(authority) :]
    else:
        target = url
    target = target.partition("#")[0]  # a client keeps the fragment for itself
    if not target.startswith("/"):
        if target and not target.startswith("?"):
            raise click.UsageError(f"--url must be a URL or begin with a slash: {url!r}")
        target = f"/{target}"
    lines = [f"{question.method or 'GET'} {target} HTTP/1.1"]
    for header in question.headers:
        name, separator, value = header.partition(":")
        if not separator or not name.strip() or any(character in header for character in "\r\n\0"):
            raise click.UsageError(f"--header must look like 'Name: value': {header!r}")
        lines.append(f"{name.strip()}: {value.strip()}")
        if name.strip().lower() == "host":
            host = ""
    if host:
        lines.append(f"Host: {host}")
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("utf-8", "surrogateescape")


def _answer(router: Router, decision: Decision, found: FoundKey) -> Answer:
    """A decision with what it rests on, found also where the decision did not need it."""
    bucket = bucket_of(found.key, router.table.seed) if found.key else None
    return Answer(
        backend=decision.backend.value,
        reason=decision.reason.value,
        route=decision.route,
        percent=found.rule.threshold / 100,
        threshold=found.rule.threshold,
        key=found.key.decode("utf-8", "backslashreplace") if found.key else None,
        key_source=str(found.source) if found.source else None,
        bucket=bucket,
        to_domain_from_percent=None if bucket is None else (bucket + 1) / 100,
        force_ignored=decision.force_ignored,
    )


def _as_text(answer: Answer, question: Question) -> str:
    rows = [("goes to", f"{answer.backend} ({answer.reason})")]
    reason = Reason(answer.reason)
    if reason in _REASONS:
        rows.append(("because", _REASONS[reason]))
    if reason is Reason.OWN:
        return _lines(rows)
    if answer.key is not None:
        rows.append(("key", f"{answer.key}{f', from {answer.key_source}' if answer.key_source else ''}"))
        rows.append(("bucket", f"{answer.bucket} of {BUCKETS}"))
    rows.append(("route", f"{answer.route}, with {answer.percent:g} %"))
    rows.append(("threshold", f"{answer.threshold}: buckets below it go to domain"))
    if answer.to_domain_from_percent is not None:
        rows.append(("moves", f"to domain at {answer.to_domain_from_percent:g} %{_ONCE.get(reason, '')}"))
    if answer.force_ignored:
        rows.append(("note", "force_domain was ignored: its value is unknown, or rollout.force forbids it"))
    if reason is Reason.NO_KEY and question.client_ip is None:
        rows.append(("note", "a real request has an address: give it as --client-ip"))
    return _lines(rows)


def _lines(rows: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def _tell_refused(error: BadRequest, *, as_json: bool) -> None:
    if as_json:
        refused = {"backend": Backend.NONE, "reason": Reason.REFUSED, "status": error.status, "error": error.message}
        click.echo(json.dumps(refused))
    else:
        click.echo(f"refused with {error.status}: {error.message}", err=True)
