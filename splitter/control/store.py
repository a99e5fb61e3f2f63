"""What the controller asks of a place that keeps the state record.

Owns: that interface, its errors, choosing a store by its URL. Must not know: how any store works.
Invariants: a save replaces exactly the record its caller knew, or nothing (compare and set); every call ends in bounded
time; a value that is no record is moved aside, never overwritten and never read as something else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from splitter.errors import StoreError
from splitter.state import Record

FILE_SCHEME: Final = "file:"


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it lies in the store. `tag` differs for different content: what to replace is named by it."""

    record: Record
    tag: str


class ConflictError(StoreError):
    """Somebody else has saved meanwhile. `found` is what is there now, None if nothing is."""

    def __init__(self, found: Stored | None) -> None:
        super().__init__("the state was changed by another splitter at the same time")
        self.found = found


class LostError(StoreError):
    """What was there is no record, and was moved aside. The store is empty now."""


class Store(Protocol):
    """A file of this machine, or a Redis that several splitters share. All of it raises StoreError."""

    @property
    def where(self) -> str:
        """Its URL for people, without a password."""

    @property
    def is_shared(self) -> bool:
        """Whether other machines may hold the record too, and write it back when the store has lost it."""

    async def load(self) -> Stored | None:
        """What is there; None: nothing yet. Raises LostError for what can't be understood, after moving it aside."""

    async def save(self, record: Record, instead_of: Stored | None) -> Stored:
        """Put a record in the place of the one that is known to be there. Raises ConflictError, LostError."""

    async def news(self) -> None:
        """Return when another splitter may have saved something, and after a second at the latest."""

    async def hold_lease(self) -> bool:
        """Whether this splitter is the one that advances the plan, now and for the next seconds. To be asked often."""

    async def close(self) -> None: ...


def open_store(url: str) -> Store:
    """The store of a URL as `state.url` takes it. Contacts nothing. Raises StoreError where a package is missing."""
    if url.startswith(FILE_SCHEME):
        from splitter.control.file_store import FileStore  # noqa: PLC0415 - it knows this module

        return FileStore(Path(url.removeprefix(FILE_SCHEME)))
    try:
        from splitter.control.redis_store import RedisStore  # noqa: PLC0415 - redis-py is an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
        what_to_do = "pip install 'camera-splitter[redis]' (in a checkout: '.[redis]')"
        raise StoreError(f"state.url names a Redis, and redis-py is not installed: {what_to_do}") from None
    return RedisStore.at(url)
