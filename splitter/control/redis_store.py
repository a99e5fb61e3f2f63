"""The state record in a Redis that several splitters share.

Owns: keys, scripts, the channel on which splitters tell each other of a save, the lease, reconnecting.
Must not know: what is in a record.
Invariants: a save is one script, so nobody saves between its comparison and its write; no call takes longer than `CALL_S`;
a password is in no message. Under `?name=NAME`: `splitter:NAME:state` holds the record, `splitter:NAME:changed` is the
channel, `splitter:NAME:lease` names who advances the plan.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from hashlib import sha1
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from splitter.control.store import ConflictError, LostError, Stored
from splitter.errors import StoreError
from splitter.state import OtherFormatError, Record, RecordError, from_json, to_json

CALL_S: Final = 0.25
REREAD_S: Final = 1.0
LEASE_S: Final = 5.0
_BACK_OFF_S: Final = (0.05, 0.1, 0.2, 0.5)
_DEFAULT_NAME: Final = "default"

_SAVE: Final = """
local found = redis.call('GET', KEYS[1])
if (found and redis.sha1hex(found) or '') ~= ARGV[1] then return {0, found} end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return {1, ''}
"""
_MOVE_ASIDE: Final = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if ARGV[1] ~= '' and redis.sha1hex(redis.call('GET', KEYS[1])) ~= ARGV[1] then return 0 end
redis.call('RENAME', KEYS[1], KEYS[2])
return 1
"""
_LEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) return 1 end
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
"""
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""

_TROUBLE: Final = (RedisError, OSError, TimeoutError)


class RedisStore:
    """See the top of the file. `at` makes one from a URL."""

    is_shared = True

    def __init__(self, client: Redis, where: str, name: str) -> None:
        self.where = where
        self._client = client
        self._key = f"splitter:{name}:state"
        self._channel = f"splitter:{name}:changed"
        self._lease_key = f"splitter:{name}:lease"
        self._me = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._news: PubSub | None = None
        self._suspect = False
        self._failures = 0

    @classmethod
    def at(cls, url: str) -> RedisStore:
        """The store of a URL that the configuration has accepted. Contacts nothing."""
        parts = urlsplit(url)
        name = parse_qs(parts.query).get("name", [_DEFAULT_NAME])[0]
        host, port, number = parts.hostname or "localhost", parts.port or 6379, parts.path.strip("/") or "0"
        client = Redis(
            host=host,
            port=port,
            db=int(number),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            socket_timeout=CALL_S,
            socket_connect_timeout=CALL_S,
            retry=Retry(NoBackoff(), 0),  # the controller tries again, and says so meanwhile
            protocol=2,  # what every Redis speaks
        )
        shown_host = f"[{host}]" if ":" in host else host
        return cls(client, f"redis://{shown_host}:{port}/{number}?name={name}", name)

    async def load(self) -> Stored | None:
        try:
            text = await self._call(self._client.get(self._key))
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise self._trouble(error) from None
            raise await self._move_aside("", RecordError("is no text")) from None
        return None if text is None else await self._read(text)

    async def save(self, record: Record, instead_of: Stored | None) -> Stored:
        text = to_json(record)
        known = "" if instead_of is None else instead_of.tag
        try:
            done, found = await self._call(self._client.eval(_SAVE, 1, self._key, known, text, self._channel, self._me))
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise self._trouble(error) from None
            raise await self._move_aside("", RecordError("is no text")) from None
        if not done:
            raise ConflictError(None if found is None else await self._read(found))
        return Stored(record, _tag(text))

    async def news(self) -> None:
        """Wait for a message; each time a connection had to be made, something may have been missed, so return at once."""
        if self._suspect:
            self._suspect = False
            await self._forget_news()
        try:
            if self._news is None:
                self._news = self._client.pubsub(ignore_subscribe_messages=True)
                await self._call(self._news.subscribe(self._channel))
                self._failures = 0
                return
            await self._next_message(self._news)
        except Exception as error:  # also a fault of redis-py's, which would end the following of others for good
            structlog.get_logger().debug("subscription_lost", why=str(error))
            await self._forget_news()
            self._failures += 1
            await asyncio.sleep(_BACK_OFF_S[min(self._failures, len(_BACK_OFF_S)) - 1])

    async def _next_message(self, news: PubSub) -> None:
        """Wait for a message of another splitter, and no longer than it takes until the record is read again anyway."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + REREAD_S
        while (left_s := until_s - loop.time()) > 0:
            message = await news.get_message(timeout=left_s)
            if message is not None and message["data"] != self._me.encode():
                return

    async def hold_lease(self) -> bool:
        try:
            return bool(await self._call(self._client.eval(_LEASE, 1, self._lease_key, self._me, round(LEASE_S * 1000))))
        except ResponseError as error:
            raise self._trouble(error) from None

    async def close(self) -> None:
        try:
            await self._call(self._client.eval(_RELEASE, 1, self._lease_key, self._me))
        except (StoreError, ResponseError):
            structlog.get_logger().debug("lease_not_released")  # it runs out
        await self._forget_news()
        await self._client.aclose()

    async def _call(self, answer: Any) -> Any:
        """One command, in bounded time; every way of not being answered is a StoreError, but ResponseError passes.

        `Any`, since redis-py types its answers differently from one version to the next.
        """
        try:
            async with asyncio.timeout(CALL_S):
                return await answer
        except ResponseError:
            raise
        except _TROUBLE as error:
            self._suspect = True  # the connection for news may be as dead, without having noticed
            raise self._trouble(error) from None

    def _trouble(self, error: Exception) -> StoreError:
        if isinstance(error, TimeoutError | RedisTimeoutError):
            return StoreError(f"{self.where} did not answer within {CALL_S:g} s")
        what, _, _ = str(error).partition(" script: ")  # which of our scripts it was tells a person nothing
        return StoreError(f"{self.where}: {what}")

    async def _forget_news(self) -> None:
        news, self._news = self._news, None
        if news is not None:
            try:
                async with asyncio.timeout(CALL_S):
                    await news.aclose()  # type: ignore[no-untyped-call]
            except _TROUBLE:
                structlog.get_logger().debug("subscription_not_closed")  # it was broken, which is why it is closed

    async def _read(self, text: bytes) -> Stored:
        try:
            return Stored(from_json(text), _tag(text))
        except OtherFormatError as error:
            # Not moved aside: a splitter of another version is using it, as in a fleet that is being upgraded.
            raise StoreError(f"{self.where} {error}") from None
        except RecordError as error:
            raise await self._move_aside(_tag(text), error) from None

    async def _move_aside(self, tag: str, error: RecordError) -> StoreError:
        """Keep what can't be read for a person to look at, unless somebody has replaced it already. The error to raise."""
        aside = f"{self._key}:unreadable-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(2)}"
        try:
            moved = await self._call(self._client.eval(_MOVE_ASIDE, 2, self._key, aside, tag))
        except ResponseError as cause:
            return StoreError(f"{self.where} {error}, and can't be moved aside: {cause}")
        if not moved:
            return StoreError(f"{self.where} is being mended by another splitter")
        return LostError(f"{self.where} {error}; it was moved to {aside}")


def _tag(text: bytes) -> str:
    return sha1(text, usedforsecurity=False).hexdigest()
