"""Keeps the state record and its store of one mind.

Owns: which record is known here, what of it is saved, what becomes of either when they come apart, why the store is out of
order. Must not know: what a record makes the planes do, how a store works.
Invariants:
- a change is saved before it is known here; only a rollback (`decide`) is known at once and saved when that can be done;
- what could not be read lets nothing go to domain: until the store answers (`waits_for`), or, when its content was lost,
  until somebody resumes. An empty store is believed at once if it is this machine's; if it is shared, another splitter may
  be about to write its record back, so it is asked again for `EMPTY_S`;
- a store that has lost what it had gets it back; no default takes its place.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from splitter.control.store import ConflictError, LostError, Store, Stored
from splitter.errors import StoreError
from splitter.state import EVENTS_KEPT, STORE, Event, Latch, Record, agree, lock_out

EMPTY_S: Final = 2.0
_TRIES: Final = 20
"""Each lost race means that another splitter has won one, so losing this many in a row says that something is wrong."""

Change = Callable[[Record], Record]


class Keeper:
    """See the top of the file. `clock` counts seconds from any point, `now` from 1970.

    `notice` tells of a value in the store that was moved aside, although its loss changed nothing.
    """

    def __init__(self, store: Store, clock: Callable[[], float], now: Callable[[], float]) -> None:
        self.store = store
        self.record = Record()
        self.waits_for = f"{store.where} has not been read yet"
        self.notice = ""
        self._waits_since_s = now()
        self._clock = clock
        self._now = now
        self._stored: Stored | None = None
        self._read_fault = ""
        self._write_fault = ""
        self._empty_since_s: float | None = None
        self._tried: deque[Event] = deque(maxlen=_TRIES)  # a save that timed out may have been carried out all the same
        self._made: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._lock = asyncio.Lock()

    @property
    def standing(self) -> Record:
        """The record to act by: the one known here, and a latch of its own as long as the state can't be read."""
        if not self.waits_for or self.record.latch is not None:
            return self.record
        return replace(self.record, latch=Latch(self._waits_since_s, STORE, self.waits_for))

    @property
    def fault(self) -> str:
        """Why the store is out of order; empty while it isn't."""
        return self._read_fault or self._write_fault

    @property
    def is_saved(self) -> bool:
        """Whether the store holds the record known here, as far as can be told."""
        return self._holds(self.record)

    @property
    def is_believing(self) -> bool:
        """Whether the store is empty and time has to show that it really is."""
        return self._empty_since_s is not None and bool(self.waits_for)

    def take_made(self) -> tuple[Event, ...]:
        """What was done here since this was last asked: saved, or in force all the same. Others' events are theirs to tell,
        and so is a rollback of theirs that `agree` has kept."""
        made = tuple(self._made)
        self._made.clear()
        return made

    async def look(self) -> None:
        """Find out what the store holds, and make both agree. A store that is out of order is noted, not raised."""
        async with self._lock:
            await self._look()

    async def change(self, make: Change) -> bool:
        """Save what `make` makes of the record, made again if another splitter was faster; False if it changes nothing.

        Raises StoreError when it can't be saved, and whatever `make` raises; then nothing is changed.
        """
        async with self._lock:
            if self.waits_for:
                await self._look()
            if self.waits_for:
                raise StoreError(self.waits_for)
            for _ in range(_TRIES):
                wanted = make(self.record)
                if wanted == self.record:
                    return False
                self._tried.extend(_new(wanted, self.record))
                if await self._try_save(wanted):
                    return True
                if self._write_fault:
                    raise StoreError(self._write_fault)
            raise StoreError(f"{self.store.where}: other splitters were faster {_TRIES} times in a row")

    def decide(self, make: Change) -> Record:
        """Change the record here at once, whatever the store does. For what must not wait: a rollback."""
        before, self.record = self.record, make(self.record)
        self._made.extend(_new(self.record, before))
        return self.record

    async def save(self) -> None:
        """Save what was decided, if that can be done now; `look` tries again."""
        async with self._lock:
            if self.waits_for:
                await self._look()
            else:
                await self._save()

    # --- under the lock ---------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        try:
            found = await self.store.load()
        except LostError as error:
            self._has_lost(error)
            found = None
        except StoreError as error:
            self._note(read=str(error))
            if self.waits_for:
                self.waits_for = str(error)
            return
        self._note(read="")
        if found is not None:
            self._meets(found)
        elif self.waits_for and not self._is_empty_for_long():
            return
        else:
            self._stored = None
            self.waits_for = ""
        await self._save()

    async def _save(self) -> None:
        """Save what the store lacks. After a failed save also what it has: that shows whether it can save again."""
        for _ in range(_TRIES):
            if self.is_saved and not self._write_fault:
                return
            if not await self._try_save(self.record) and self._write_fault:
                return

    async def _try_save(self, record: Record) -> bool:
        """Save, and know what was saved. False: what is known here is another record now, or the store is out of order."""
        try:
            stored = await self.store.save(record, self._stored)
        except ConflictError as conflict:
            self._note(write="")
            if conflict.found is None:
                self._stored = None
            else:
                self._meets(conflict.found)
            return False
        except LostError as error:
            self._stored = None
            self._has_lost(error)
            return False
        except StoreError as error:
            self._note(write=str(error))
            return False
        self._note(write="")
        self._has(stored)
        return True

    def _meets(self, found: Stored) -> None:
        """Somebody has put this into the store, perhaps another splitter."""
        before = self.record
        self._has(found)
        if self.record is not before:
            structlog.get_logger().info("state_taken_over", version=self.record.version, was=before.version)

    def _has(self, stored: Stored) -> None:
        """The store holds this. What was decided here meanwhile, without waiting for it, is not forgotten."""
        self._stored = stored
        self.waits_for = ""
        self.record = agree(self.record, stored.record)
        for event in tuple(self._tried):
            if event in self.record.events:
                self._tried.remove(event)
                self._made.append(event)

    def _has_lost(self, error: LostError) -> None:
        """The store's content was moved aside. What is known here is the truth; if nothing is, nobody knows it."""
        structlog.get_logger().error("state_lost", what=str(error))
        self._stored = None
        if self.record.version == 0:
            why = f"{error}, and what it said is unknown"
            self.decide(lambda record: lock_out(record, at_s=self._now(), why=why))
        else:
            self.notice = f"{error}; the record that was in force was written in its place"
        self.waits_for = ""

    def _is_empty_for_long(self) -> bool:
        if not self.store.is_shared:
            return True
        if self._empty_since_s is None:
            self._empty_since_s = self._clock()
            self.waits_for = f"{self.store.where} is empty; another splitter may be about to write its record back"
        return self._clock() - self._empty_since_s >= EMPTY_S

    def _holds(self, record: Record) -> bool:
        if self._stored is None:
            return record.version == 0
        return self._stored.record is record or self._stored.record == record

    def _note(self, *, read: str | None = None, write: str | None = None) -> None:
        before = self.fault
        self._read_fault = self._read_fault if read is None else read
        self._write_fault = self._write_fault if write is None else write
        log = structlog.get_logger()
        if self.fault and not before:
            log.error("store_down", why=self.fault, saved=self.is_saved)
        elif before and not self.fault:
            log.info("store_up", store=self.store.where)


def _new(record: Record, before: Record) -> list[Event]:
    """The events by which a record goes beyond the one it was made of."""
    return [event for event in record.events if event.version > before.version]
