"""Who tells of an event: the splitter that made it, and it alone, once."""

from __future__ import annotations

import pytest

from splitter.control.store import Stored
from splitter.errors import StoreError
from splitter.state import Record
from tests.unit.fake_store import FakeStore, Shelf
from tests.unit.test_controller import CONFIG, Splitter, running, two, until


def made(splitter: Splitter) -> list[tuple[int, str]]:
    return [(event.version, event.what) for event in splitter.controller.take_made()]


async def test_every_change_is_told_once() -> None:
    async with running() as one:
        await one.controller.set_percent(40, None, "alice", "")
        await one.controller.set_percent(40, "control", "alice", "")
        await one.controller.roll_back("bob", "errors")
        await one.controller.resume("carol", "")
        assert made(one) == [
            (1, "config"), (2, "percent"), (3, "percent of control"), (4, "rollback"), (5, "resume"),
        ]  # fmt: skip
        assert made(one) == []
        await one.controller.resume("carol", "")  # nothing to change
        assert made(one) == []


async def test_a_restart_tells_nothing_again() -> None:
    shelf = Shelf()
    async with running(FakeStore(shelf)) as one:
        await one.controller.roll_back("bob", "errors")
        await one.controller.stop()
    async with running(FakeStore(shelf)) as again:
        assert made(again) == []


async def test_peers_tell_of_their_own() -> None:
    async with two() as (a, b):
        made(a), made(b)
        await a.controller.set_percent(40, None, "alice", "")
        await until(lambda: b.percent == 40)
        await b.controller.roll_back("bob", "errors")
        await until(lambda: a.percent == 0)
        assert [what for _, what in made(a)] == ["percent"]
        assert [what for _, what in made(b)] == ["rollback"]


async def test_who_loses_a_race_tells_what_came_of_it() -> None:
    async with two() as (a, b):
        made(a), made(b)
        await a.controller.set_percent(1, None, "alice", "")
        await b.controller.set_percent(2, "control", "bob", "")  # may have to be made anew on top of the other
        record = a.shelf.record
        assert record is not None
        told = made(a) + made(b)
        assert sorted(told) == [(event.version, event.what) for event in record.events[-2:]]


async def test_a_rollback_is_told_though_it_can_not_be_saved_and_not_again_when_it_is() -> None:
    async with two() as (a, b):
        made(a), made(b)
        a.store.away = True
        await a.controller.roll_back("alice", "errors")
        assert [what for _, what in made(a)] == ["rollback"]
        await b.controller.set_percent(60, None, "bob", "")
        a.store.away = False
        a.shelf.tell()
        await until(lambda: a.controller.record == b.controller.record)
        await until(lambda: b.percent == 0)
        assert made(a) == []
        assert [what for _, what in made(b)] == ["percent"]


async def test_a_change_that_is_refused_is_not_told() -> None:
    async with running() as one:
        made(one)
        one.shelf.cannot_save = "disk full"
        with pytest.raises(StoreError):
            await one.controller.set_percent(40, None, "alice", "")
        one.shelf.cannot_save = ""
        one.shelf.tell()
        await one.controller.set_percent(50, None, "alice", "")
        assert made(one) == [(2, "percent")]


class AnswerLost(FakeStore):
    """The next save is carried out, and its answer is lost on the way."""

    lose = False

    async def save(self, record: Record, instead_of: Stored | None) -> Stored:
        stored = await super().save(record, instead_of)
        if self.lose:
            self.lose = False
            raise StoreError("no answer")
        return stored


async def test_a_change_that_is_found_saved_though_its_answer_was_lost_is_told() -> None:
    async with running(AnswerLost()) as one:
        assert isinstance(one.store, AnswerLost)
        made(one)
        one.store.lose = True
        with pytest.raises(StoreError):
            await one.controller.set_percent(40, None, "alice", "")
        assert made(one) == []
        one.shelf.tell()
        await until(lambda: one.percent == 40)
        assert made(one) == [(2, "percent")]


async def test_a_lost_state_is_told() -> None:
    shelf = Shelf()
    shelf.text = b"no record"
    async with running(FakeStore(shelf), CONFIG) as one:
        assert [what for _, what in made(one)] == ["state lost", "config"]
