"""The state in a real Redis: races, lost messages, a Redis that is away, comes back empty, or holds rubbish."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from splitter.control import redis_store
from splitter.control.redis_store import CALL_S, REREAD_S, RedisStore
from splitter.control.store import ConflictError, LostError, Stored
from splitter.errors import StoreError
from splitter.state import GLOBAL, Record, set_percent, to_json
from tests.external.redis_server import RedisServer, redis_server

ONE = Record().noted(1.0, "config", "config", "first seen", "", "percent 10 %")
TWO = set_percent(ONE, GLOBAL, 25, at_s=2.0, who="alice", why="try")
KEY = "splitter:cameras:state"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as running:
        yield running


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where time is not what is tested, a machine with much else to do is no reason to fail."""
    monkeypatch.setattr(redis_store, "CALL_S", 5.0)


@contextlib.asynccontextmanager
async def opened(server: RedisServer, url: str = "") -> AsyncIterator[RedisStore]:
    store = RedisStore.at(url or server.url)
    try:
        yield store
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def directly(server: RedisServer) -> AsyncIterator[Redis]:
    """Somebody else's hands in the same Redis."""
    async with Redis(port=server.port, protocol=2) as client:
        yield client


async def asides(client: Redis) -> list[bytes]:
    return [key async for key in client.scan_iter(f"{KEY}:unreadable-*")]


async def test_what_is_saved_is_loaded_by_another(server: RedisServer) -> None:
    async with opened(server) as one, opened(server) as other:
        assert await one.load() is None
        first = await one.save(ONE, None)
        assert (await other.load()) == first
        second = await other.save(TWO, first)
        assert (await one.load()) == second == Stored(TWO, second.tag)
        async with opened(server, server.url.replace("cameras", "others")) as elsewhere:
            assert await elsewhere.load() is None, "another name, another state"


async def test_a_save_replaces_only_what_its_caller_knew(server: RedisServer) -> None:
    async with opened(server) as one, opened(server) as other, directly(server) as client:
        first = await one.save(ONE, None)
        with pytest.raises(ConflictError) as conflict:
            await other.save(TWO, None)
        assert conflict.value.found == first
        second = await other.save(TWO, first)
        with pytest.raises(ConflictError) as conflict:
            await one.save(ONE, first)
        assert conflict.value.found == second
        await client.delete(KEY)
        with pytest.raises(ConflictError) as conflict:
            await one.save(ONE, second)
        assert conflict.value.found is None


async def test_of_many_who_save_at_once_one_wins_each_round(server: RedisServer) -> None:
    async with contextlib.AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(server)) for _ in range(5)]
        stored = await stores[0].save(ONE, None)
        for number in range(20):
            wanted = [set_percent(stored.record, GLOBAL, number, at_s=0.0, who=str(who), why="") for who in range(5)]
            outcomes = await asyncio.gather(
                *(store.save(record, stored) for store, record in zip(stores, wanted, strict=True)), return_exceptions=True
            )
            won = [outcome for outcome in outcomes if isinstance(outcome, Stored)]
            lost = [outcome for outcome in outcomes if isinstance(outcome, ConflictError)]
            assert (len(won), len(lost)) == (1, 4)
            assert all(conflict.found == won[0] for conflict in lost)
            stored = won[0]


async def test_others_hear_of_a_save_at_once_and_of_a_lost_message_within_a_second(server: RedisServer) -> None:
    async with opened(server) as one, opened(server) as other, directly(server) as client:
        await one.news()
        await other.news()  # the subscription stands
        started_s = time.monotonic()
        first = await one.save(ONE, None)
        await other.news()
        assert time.monotonic() - started_s < REREAD_S * 0.8, "told, not found by reading again"
        started_s = time.monotonic()
        await one.news()
        assert time.monotonic() - started_s >= REREAD_S * 0.9, "it needs no telling of its own save"
        await client.set(KEY, to_json(TWO))  # somebody who publishes nothing
        await other.news()
        assert (await other.load()) != first


@pytest.mark.parametrize("text", [b"", b"rubbish", to_json(TWO)[:200], b'{"percent": 50}'])
async def test_what_is_no_record_is_moved_aside(server: RedisServer, text: bytes) -> None:
    async with opened(server) as store, directly(server) as client:
        for count, act in enumerate((store.load(), store.save(ONE, None)), 1):
            await client.set(KEY, text)
            with pytest.raises(LostError, match=r"it was moved to splitter:cameras:state:unreadable-20"):
                await act
            kept = await asides(client)
            assert (len(kept), await client.exists(KEY)) == (count, 0)
            assert [await client.get(key) for key in kept] == [text] * count
        assert await store.load() is None


async def test_a_key_of_another_type_is_moved_aside(server: RedisServer) -> None:
    async with opened(server) as store, directly(server) as client:
        for act in (store.load(), store.save(ONE, None)):
            await client.rpush(KEY, "a list")
            with pytest.raises(LostError, match="is no text"):
                await act
            assert await client.exists(KEY) == 0
        assert len(await asides(client)) == 2


async def test_the_state_of_another_version_is_left_to_it(server: RedisServer) -> None:
    newer = to_json(TWO).replace(b"splitter-state/1", b"splitter-state/2")
    async with opened(server) as store, directly(server) as client:
        await client.set(KEY, newer)
        with pytest.raises(StoreError, match="is in the format splitter-state/2") as error:
            await store.load()
        assert not isinstance(error.value, LostError)
        with pytest.raises(StoreError, match="is in the format splitter-state/2"):
            await store.save(ONE, None)
        assert await client.get(KEY) == newer
        assert await asides(client) == []


async def test_away_and_back(server: RedisServer) -> None:
    async with opened(server) as store:
        await store.save(ONE, None)
        await store.news()
        server.kill()
        with pytest.raises(StoreError, match=f"redis://127.0.0.1:{server.port}/0"):
            await store.load()
        started_s = time.monotonic()
        for _ in range(3):
            await store.news()
        assert 0.05 < time.monotonic() - started_s < 1, "it neither spins nor sleeps"
        server.start()
        assert await store.load() is None
        first = await store.save(ONE, None)
        async with opened(server) as other:
            for _ in range(2):  # the first may still tell of the connection that was lost
                await store.news()
            started_s = time.monotonic()
            waiting = asyncio.ensure_future(store.news())  # noqa: TID251 - awaited below
            await asyncio.sleep(0.05)
            await other.save(TWO, first)
            await waiting
            assert time.monotonic() - started_s < REREAD_S * 0.8, "it listens again"


async def test_one_that_answers_nothing_holds_up_nobody(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "CALL_S", CALL_S)
    async with opened(server) as store:
        first = await store.save(ONE, None)
        await store.news()
        await store.load()  # now there is a connection for commands too
        server.freeze()
        for act in (lambda: store.save(TWO, first), store.load, store.hold_lease):
            started_s = time.monotonic()
            with pytest.raises(StoreError, match=r"did not answer within 0\.25 s"):
                await act()
            assert time.monotonic() - started_s < CALL_S + 0.2
        server.thaw()
        for _ in range(100):
            loaded = await store.load()
            if loaded is not None and loaded.record == TWO:
                break  # the save was on its way all the time: it is found, not forgotten
            await asyncio.sleep(0.01)
        assert loaded is not None
        assert loaded.record == TWO
        assert await store.hold_lease()


async def test_only_one_holds_the_lease_and_a_dead_one_loses_it(server: RedisServer) -> None:
    async with opened(server) as other:
        async with opened(server) as one:
            assert await one.hold_lease()
            assert not await other.hold_lease()
            async with directly(server) as client:
                assert 4000 < await client.pttl("splitter:cameras:lease") <= 5000
                await asyncio.sleep(0.05)
                left_ms = await client.pttl("splitter:cameras:lease")
                assert await one.hold_lease()
                assert await client.pttl("splitter:cameras:lease") > left_ms, "renewed"
        assert await other.hold_lease(), "who stops lets it go"
        async with directly(server) as client:
            await client.delete("splitter:cameras:lease")  # as when its time has run out
        async with opened(server) as third:
            assert await third.hold_lease()
            assert not await other.hold_lease()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--requirepass", "s3cret-word"), "Authentication required"),
        (("--maxmemory", "1"), r"command not allowed when used memory > 'maxmemory'\.$"),
        (("--min-replicas-to-write", "1"), "NOREPLICAS"),
    ],
)
async def test_a_redis_that_refuses_says_why(tmp_path: Path, options: tuple[str, ...], why: str) -> None:
    with redis_server(tmp_path, *options) as server:
        async with opened(server) as store:
            with pytest.raises(StoreError, match=why):
                await store.save(ONE, None)


async def test_a_password_is_used_and_never_told(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--requirepass", "s3cret/word") as server:
        url = server.url.replace("redis://", "redis://:s3cret%2Fword@")
        async with opened(server, url) as store:
            await store.save(ONE, None)
            assert "s3cret" not in store.where
        async with opened(server, url.replace("s3cret", "wr0ng")) as store:
            with pytest.raises(StoreError) as error:
                await store.load()
            assert "WRONGPASS" in str(error.value) or "invalid" in str(error.value)
            assert "wr0ng" not in str(error.value)


async def test_a_name_that_is_not_known_is_an_error_in_time() -> None:
    store = RedisStore.at("redis://no-such-host.invalid/0")
    started_s = time.monotonic()
    with pytest.raises(StoreError, match="no-such-host"):
        await store.load()
    assert time.monotonic() - started_s < 10
    await store.close()
