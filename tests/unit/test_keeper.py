"""Several keepers on one store, whatever happens to the store and to the way there: in the end they agree, safely."""

from __future__ import annotations

import asyncio
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from splitter.control.keeper import Keeper
from splitter.errors import StoreError
from splitter.state import GLOBAL, Record, resume, roll_back, set_percent, to_json
from tests.unit.fake_store import FakeStore, Shelf

SPLITTERS = 3
OPERATIONS = st.sampled_from(
    [
        "set",
        "roll back",
        "roll back",
        "resume",
        "look",
        "away",
        "there again",
        "wiped",
        "an old copy",
        "spoilt",
        "full",
        "room",
    ]
)


class World:
    """All that takes part, with a clock that never stands still."""

    def __init__(self) -> None:
        self.ticks = itertools.count(1)
        self.shelf = Shelf()
        self.shelf.text = to_json(Record().noted(0.0, "config", "config", "first seen", "", ""))
        self.copies = [self.shelf.text]
        self.stores = [FakeStore(self.shelf, is_shared=True) for _ in range(SPLITTERS)]
        self.keepers = [Keeper(store, self.now, self.now) for store in self.stores]
        self.must_be_rolled_back = False

    def now(self) -> float:
        return float(next(self.ticks))

    async def do(self, who: int, operation: str) -> None:
        keeper, store, at_s = self.keepers[who], self.stores[who], self.now()
        name = str(who)
        if operation == "set":
            await self._change(lambda record: set_percent(record, GLOBAL, at_s % 100, at_s=at_s, who=name, why=""), keeper)
        elif operation == "resume":
            if await self._change(lambda record: resume(record, at_s=at_s, who=name, why=""), keeper):
                unseen = (other for other in self.keepers if other is not keeper and not other.is_saved)
                self.must_be_rolled_back = any(other.record.latch is not None for other in unseen)
        elif operation == "roll back":
            keeper.decide(lambda record: roll_back(record, at_s=at_s, who=name, why=""))
            await keeper.save()
            self.must_be_rolled_back = True
        elif operation == "look":
            await keeper.look()
        elif operation in ("away", "there again"):
            store.away = operation == "away"
        elif operation in ("full", "room"):
            self.shelf.cannot_save = "full" if operation == "full" else ""
        elif operation == "spoilt":
            self.shelf.text = b"rubbish"
        else:
            self.shelf.text = None if operation == "wiped" else self.copies[int(at_s) % len(self.copies)]
        if self.shelf.text not in (None, b"rubbish"):
            self.copies.append(self.shelf.text or b"")

    async def _change(self, make: object, keeper: Keeper) -> bool:
        try:
            return await keeper.change(make)  # type: ignore[arg-type] # one of the two lambdas above
        except StoreError:
            return False

    async def heal(self) -> None:
        self.shelf.cannot_save = ""
        for store in self.stores:
            store.away = False
        for _ in range(3):
            for keeper in self.keepers:
                await keeper.look()


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, SPLITTERS - 1), OPERATIONS), max_size=30))
def test_they_agree_and_no_rollback_is_lost(steps: list[tuple[int, str]]) -> None:
    async def story() -> None:
        world = World()
        for keeper in world.keepers:
            await keeper.look()
        for who, operation in steps:
            await world.do(who, operation)
        await world.heal()
        records = [keeper.record for keeper in world.keepers]
        assert records == [records[0]] * SPLITTERS
        assert world.shelf.record == records[0]
        assert all(keeper.is_saved and not keeper.fault and not keeper.waits_for for keeper in world.keepers)
        if world.must_be_rolled_back:
            assert records[0].latch is not None, "somebody has rolled back since the last resume"

    asyncio.run(story())
