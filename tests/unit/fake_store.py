"""A store in memory that several keepers can share, and that can be told to fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha1

from splitter.control.store import ConflictError, LostError, Stored
from splitter.errors import StoreError
from splitter.state import Record, RecordError, from_json, to_json


class Shelf:
    """What several stores share: the content, who wants to hear of a change, and what is wrong with the place."""

    def __init__(self) -> None:
        self.text: bytes | None = None
        self.aside: list[bytes] = []
        self.cannot_read = ""
        self.cannot_save = ""
        self.hold: asyncio.Event | None = None
        self.listeners: list[asyncio.Event] = []

    @property
    def record(self) -> Record | None:
        return None if self.text is None else from_json(self.text)

    def tell(self, but: asyncio.Event | None = None) -> None:
        for listener in self.listeners:
            if listener is not but:
                listener.set()


class FakeStore:
    """One splitter's way to the shelf; `away`: it has none. `before_save` is called once, in the middle of a save."""

    def __init__(self, shelf: Shelf | None = None, *, is_shared: bool = False) -> None:
        self.shelf = shelf or Shelf()
        self.is_shared = is_shared
        self.where = "fake:state"
        self.before_save: Callable[[], None] | None = None
        self.saves = 0
        self.away = False
        self.closed = False
        self._heard = asyncio.Event()
        self.shelf.listeners.append(self._heard)

    async def load(self) -> Stored | None:
        await self._reach()
        if self.shelf.cannot_read:
            raise StoreError(self.shelf.cannot_read)
        return self._found()

    async def save(self, record: Record, instead_of: Stored | None) -> Stored:
        self.saves += 1
        await self._reach()
        if self.shelf.cannot_save or self.shelf.cannot_read:
            raise StoreError(self.shelf.cannot_save or self.shelf.cannot_read)
        if self.before_save is not None:
            once, self.before_save = self.before_save, None
            once()
        found = self._found()
        if (found and found.tag) != (instead_of and instead_of.tag):
            raise ConflictError(found)
        self.shelf.text = to_json(record)
        self.shelf.tell(but=self._heard)
        return _stored(self.shelf.text)

    async def news(self) -> None:
        await self._heard.wait()
        self._heard.clear()

    async def hold_lease(self) -> bool:
        await self._reach()
        return True

    async def close(self) -> None:
        self.closed = True

    async def _reach(self) -> None:
        if self.away:
            raise StoreError("fake:state is unreachable")
        if self.shelf.hold is not None:
            await self.shelf.hold.wait()

    def _found(self) -> Stored | None:
        if self.shelf.text is None:
            return None
        try:
            return _stored(self.shelf.text)
        except RecordError as error:
            self.shelf.aside.append(self.shelf.text)
            self.shelf.text = None
            raise LostError(f"fake:state {error}; it was moved aside") from None


def _stored(text: bytes) -> Stored:
    return Stored(from_json(text), sha1(text, usedforsecurity=False).hexdigest())
