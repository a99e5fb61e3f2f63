"""Tells hooks outside what this splitter has changed, and asks the one that a stage of the plan waits for.

Owns: the deliveries under way, one at a time for each hook and in order, their tries, the pauses between them; asking.
Must not know: what is said (`deliveries`), who made an event, when a plan wants to ask.
Invariants: nothing here makes a change wait or fail; a hook that is slow or gone holds up its own queue, no other's; a
redirect is not followed, a body is not believed; neither secrets nor queries of URLs are logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final

import aiohttp
import orjson
import structlog
from pydantic import SecretStr
from yarl import URL

from splitter import __version__
from splitter.client_tls import refusal_of
from splitter.control.deliveries import (
    GIVE_UP_S,
    Answer,
    Backlog,
    Delivery,
    HookSettings,
    delivery_of,
    headers_of,
    judge,
    pause_s,
    told,
)
from splitter.metrics.reading import HOOK_OUTCOMES
from splitter.state import Event
from splitter.tasks import Tasks

ASK_EVERY_S: Final = 30.0
"""From one question to a confirm hook to the next."""

CONFIRM_TIMEOUT_S: Final = 10.0
"""For a confirm hook to answer: it may have to look something up."""

LAST_TRIES_S: Final = 5.0
"""What deliveries get when the splitter stops, beside the drain."""

_WORDS_BYTES: Final = 200
"""So much of a confirm hook's refusal is repeated to operators."""

_FAULTS: Final = (aiohttp.ClientError, TimeoutError, OSError, ValueError)


def _session() -> aiohttp.ClientSession:
    """One that remembers nothing: no cookies, no connection that the other side may just be closing."""
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(force_close=True),
        headers={"User-Agent": f"camera-splitter/{__version__}", "Accept-Encoding": "identity"},
        auto_decompress=False,
    )


async def _post(
    session: aiohttp.ClientSession, url: str, body: bytes, fields: Mapping[str, str], timeout_s: float, words_bytes: int = 0
) -> tuple[int, bytes]:
    """The status of the answer and the beginning of its body, if that is wanted. Raises what is in `_FAULTS`."""
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    async with session.post(
        URL(url, encoded=True), data=body, headers=fields, timeout=timeout, allow_redirects=False
    ) as response:
        return response.status, await response.content.read(words_bytes) if words_bytes else b""


def _sentence(error: Exception, timeout_s: float) -> str:
    """Why there was no answer. What aiohttp says of itself may hold the whole URL."""
    match error:
        case TimeoutError():
            return f"no answer within {timeout_s:g} s"
        case aiohttp.ClientConnectorCertificateError():
            return refusal_of(error.certificate_error) or "its certificate is not accepted"
        case aiohttp.ClientConnectorError():
            return refusal_of(error.os_error) or _words_of(error.os_error)
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection without an answer"
    return f"no answer that could be read ({type(error).__name__})"


def _words_of(error: OSError) -> str:
    """The system's words: asyncio and uvloop put others into the error. Numbers below 0 are the resolver's."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or "it can't be reached"


class _Sender:
    """One hook: its queue, and the task that works it off."""

    def __init__(self, settings: HookSettings, hooks: Hooks, session: aiohttp.ClientSession) -> None:
        self.settings = settings
        self.backlog = Backlog()
        self.current: Delivery | None = None
        self.task: asyncio.Task[None] | None = None
        self._hooks = hooks
        self._session = session
        self._news = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failures = 0  # tries in a row, over all deliveries
        self._is_losing = False

    @property
    def pending(self) -> int:
        return len(self.backlog.waiting) + (self.current is not None)

    def put(self, delivery: Delivery) -> None:
        lost = self.backlog.put(delivery)
        self._news.set()
        self._hooks.count("dropped", lost)
        if lost and not self._is_losing:
            self._is_losing = True
            structlog.get_logger().error("hook_queue_full", hook=self.settings.shown, holds=self.backlog.bound)

    def hurry(self) -> None:
        """Wait for nothing any more: each delivery gets one more try, none after one that failed."""
        self._hurry.set()
        self._news.set()

    async def run(self) -> None:
        """Until cancelled, or until nothing is left after `hurry`."""
        while True:
            self.current = self.backlog.take()
            if self.current is not None:
                if not await self._deliver(self.current):
                    return
                continue
            self._is_losing = False
            if self._hurry.is_set():
                return
            self._news.clear()
            await self._news.wait()

    async def _deliver(self, delivery: Delivery) -> bool:
        """Try until it is taken or refused for good; False when `hurry` ended it before."""
        while True:
            answer, why = await self._try(delivery)
            if answer is Answer.TAKEN:
                self._went_well()
                break
            self._failures += 1
            log = structlog.get_logger()
            if answer is Answer.NEVER or self._hooks.clock() - delivery.made_s >= GIVE_UP_S:
                self._hooks.count("failed")
                log.error("hook_gave_up", hook=self.settings.shown, event_kind=delivery.kind, delivery=delivery.id, why=why)
                break
            if self._failures == 1:
                log.warning("hook_fails", hook=self.settings.shown, why=why)
            if self._hurry.is_set():
                return False
            self._hooks.count("retried")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), pause_s(self._failures, self._hooks.random.random()))
        self.current = None
        return True

    async def _try(self, delivery: Delivery) -> tuple[Answer, str]:
        settings = self.settings
        fields = headers_of(delivery.kind, delivery.id, delivery.body, settings.secret, self._hooks.now())
        try:
            status, _ = await _post(self._session, settings.url, delivery.body, fields, settings.timeout_s)
        except _FAULTS as error:
            return Answer.LATER, _sentence(error, settings.timeout_s)
        return judge(status), f"it answered {status}"

    def _went_well(self) -> None:
        self._hooks.count("delivered")
        if self._failures:
            structlog.get_logger().info("hook_works_again", hook=self.settings.shown, failed_tries=self._failures)
        self._failures = 0


class Hooks:
    """All hooks of this splitter, which they know as `name`.

    `clock` counts seconds from any point, `now` from 1970. `deliveries` counts by HOOK_OUTCOMES.
    """

    def __init__(
        self,
        settings: Sequence[HookSettings],
        tasks: Tasks,
        *,
        name: str,
        clock: Callable[[], float],
        now: Callable[[], float],
        random: Random,
    ) -> None:
        self.name = name
        self.clock, self.now, self.random = clock, now, random
        self.deliveries = dict.fromkeys(HOOK_OUTCOMES, 0)
        self._tasks = tasks
        self._session: aiohttp.ClientSession | None = None
        self._senders: list[_Sender] = []
        self.configure(settings)

    def count(self, outcome: str, times: int = 1) -> None:
        self.deliveries[outcome] += times

    def configure(self, settings: Sequence[HookSettings]) -> None:
        """Go by these from now on. What waits for a hook goes to the one with the same URL, and is dropped without one."""
        before, self._senders = self._senders, []
        for wanted in settings:
            sender = next((sender for sender in before if sender.settings.url == wanted.url), None)
            if sender is None:
                sender = self._start(wanted)
            else:
                before.remove(sender)
                sender.settings = wanted
            self._senders.append(sender)
        for gone in before:
            self._drop(gone, "it is not configured any more")

    def on_events(self, events: Sequence[Event], summary: str) -> None:
        """Tell of these, which this splitter made. Returns at once."""
        for event in events:
            body = told(event, summary, self.name)
            for sender in self._senders:
                if body["event"] in sender.settings.events:
                    sender.put(delivery_of(body, _new_id(self.random), self.clock()))

    async def close(self, timeout_s: float) -> None:
        """One more try for what waits, for so long at most; what is left is logged and dropped."""
        for sender in self._senders:
            sender.hurry()
        running = [sender.task for sender in self._senders if sender.task is not None]
        if running:
            await asyncio.wait(running, timeout=timeout_s)
        for sender in self._senders:
            self._drop(sender, "the splitter stops")
        self._senders = []
        if self._session is not None:
            await self._session.close()

    def _start(self, settings: HookSettings) -> _Sender:
        if self._session is None:
            self._session = _session()
        sender = _Sender(settings, self, self._session)
        sender.task = self._tasks.start(sender.run(), f"hook {settings.shown}")
        return sender

    def _drop(self, sender: _Sender, why: str) -> None:
        if sender.task is not None:
            sender.task.cancel()
        if sender.pending:
            self.count("dropped", sender.pending)
            structlog.get_logger().error("hook_not_told", hook=sender.settings.shown, events=sender.pending, why=why)


class Confirm:
    """Asks the hook that a stage waits for. `secret` signs the questions."""

    def __init__(
        self, secret: SecretStr | None, *, name: str, now: Callable[[], float], random: Random,
        timeout_s: float = CONFIRM_TIMEOUT_S,
    ) -> None:  # fmt: skip
        self.secret = secret
        self._name = name
        self._now = now
        self._random = random
        self._timeout_s = timeout_s

    async def ask(self, url: str, body: Mapping[str, Any]) -> str:
        """Empty for yes, which is 200 and nothing else; otherwise why not, or not yet. Never raises."""
        delivery_id = _new_id(self._random)
        content = orjson.dumps({"delivery": delivery_id, "event": "confirm", "splitter": self._name, **body})
        fields = headers_of("confirm", delivery_id, content, self.secret, self._now())
        try:
            async with _session() as session:
                status, words = await _post(session, url, content, fields, self._timeout_s, _WORDS_BYTES)
        except _FAULTS as error:
            return f"the confirm hook can't be asked: {_sentence(error, self._timeout_s)}"
        return "" if status == 200 else f"the confirm hook answered {status}{_quoted(words)}"


def _new_id(random: Random) -> str:
    return f"{random.getrandbits(128):032x}"


def _quoted(words: bytes) -> str:
    """What somebody else wrote, on one line and without anything that steers a terminal."""
    text = " ".join(words.decode("utf-8", "replace").split())
    harmless = "".join(character for character in text if character.isprintable())
    return f": {harmless}" if harmless else ""
