"""The state record in a file of this machine.

Owns: how it is read, written and moved aside; waiting for a disk no longer than a while.
Must not know: what is in a record.
Invariants:
- at every moment the file is the whole old record or the whole new one: written beside it, synced, renamed, folder synced;
- read, compare and write happen under a lock of the kernel's (flock), so that two splitters on one file, as while one is
  being replaced, never overwrite each other's record without having seen it;
- a disk that hangs holds up a thread of its own, never the loop, and not the end of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import functools
import itertools
import os
import queue
import stat
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from splitter.control.store import FILE_SCHEME, ConflictError, LostError, Stored
from splitter.errors import StoreError
from splitter.state import Record, RecordError, from_json, to_json

REREAD_S: Final = 1.0
DISK_S: Final = 2.0
"""How long a disk may take; a healthy one needs milliseconds, a network's may need a second when it moves house."""

_LOCK_S: Final = 1.0
_LOCK_POLL_S: Final = 0.005
_MOST_BYTES: Final = 8 << 20
_MODE: Final = 0o644

_T = TypeVar("_T")


class FileStore:
    """See the top of the file. `path` is as `state.url` says it; a link is followed, and stays one."""

    is_shared = False

    def __init__(self, path: Path, disk_s: float = DISK_S) -> None:
        self.where = f"{FILE_SCHEME}{path}"
        self._given = path
        self._disk_s = disk_s
        self._turn = asyncio.Lock()
        self._thread = _Thread()
        self._hangs_since_s: float | None = None
        self._seen: tuple[tuple[int, ...], Stored] | None = None
        self._lease: int | None = None

    async def load(self) -> Stored | None:
        return await self._on_disk(self._load)

    async def save(self, record: Record, instead_of: Stored | None) -> Stored:
        return await self._on_disk(lambda: self._save(record, instead_of))

    async def news(self) -> None:
        await asyncio.sleep(REREAD_S)

    async def hold_lease(self) -> bool:
        return await self._on_disk(self._hold_lease)

    async def close(self) -> None:
        self._thread.end()
        if self._lease is not None:
            os.close(self._lease)  # and so the lock is gone
            self._lease = None

    # --- waiting for the disk ---------------------------------------------------------------------------------------

    async def _on_disk(self, work: Callable[[], _T]) -> _T:
        """Do it in a thread, and give up on it when the disk hangs. It may still finish; what it did is found later."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            if self._hangs_since_s is not None:
                raise StoreError(f"{self.where}: the disk has not answered for {loop.time() - self._hangs_since_s:.0f} s")
            started_s = loop.time()
            done = self._thread.do(work, loop)
            try:
                # Not wait_for: that of Python 3.11 swallows a cancellation that comes in the moment the work is done.
                async with asyncio.timeout(self._disk_s):
                    return await asyncio.shield(done)
            except OSError as error:  # a TimeoutError is one too
                if done.done():
                    raise StoreError(f"{self.where}: {error.strerror or error}") from None
                self._hangs_since_s = started_s
                done.add_done_callback(lambda _: self._answers_again())
                raise StoreError(f"{self.where}: the disk did not answer within {self._disk_s:g} s") from None

    def _answers_again(self) -> None:
        self._hangs_since_s = None

    # --- in the thread ----------------------------------------------------------------------------------------------

    @functools.cached_property
    def _path(self) -> Path:
        return Path(os.path.realpath(self._given))

    def _load(self) -> Stored | None:
        try:
            return self._read()
        except RecordError as error:
            try:
                return self._read_again()
            except OSError as cause:
                raise self._stays(error, cause) from None

    def _read_again(self) -> Stored | None:
        """Alone with the file, since another splitter may be about to move it aside too."""
        with self._locked():
            try:
                return self._read()
            except RecordError as error:
                raise self._move_aside(error) from None

    def _stays(self, error: RecordError, cause: OSError) -> StoreError:
        return StoreError(f"{self.where} {error}, and can't be moved aside: {cause.strerror}")

    def _read(self) -> Stored | None:
        """What is there; None: nothing. Raises RecordError, StoreError."""
        with self._opened() as file:
            if file is None:
                return None
            status = os.fstat(file.fileno())
            signature = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if self._seen is None or self._seen[0] != signature:
                self._seen = (signature, _stored(file.read(_MOST_BYTES + 1)))
            return self._seen[1]

    def _save(self, record: Record, instead_of: Stored | None) -> Stored:
        with self._locked():
            with self._opened() as file:  # read, however it looks: the clock of files is too coarse to stake a record on
                found = None if file is None else file.read(_MOST_BYTES + 1)
            if (None if found is None else _tag(found)) != (instead_of and instead_of.tag):
                raise self._conflict(found)
            text = to_json(record)
            self._write(text)
        return Stored(record, _tag(text))

    def _conflict(self, found: bytes | None) -> StoreError:
        try:
            return ConflictError(None if found is None else _stored(found))
        except RecordError as error:
            return self._move_aside(error)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[BinaryIO | None]:
        """The file, None if there is none. Raises RecordError, StoreError."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would wait for a writer
        except FileNotFoundError:
            yield None
            return
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise StoreError(f"{self.where} is no regular file")
        with os.fdopen(descriptor, "rb") as file:
            yield file

    def _write(self, text: bytes) -> None:
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
            with os.fdopen(file, "wb") as writer:
                writer.write(text)
                writer.flush()
                os.fsync(writer.fileno())
            beside.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink()  # half of a record takes the place that the next one needs
            raise
        self._sync_folder()

    def _sync_folder(self) -> None:
        """A rename lasts when the folder is on the disk."""
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _move_aside(self, error: RecordError) -> StoreError:
        """Keep what can't be read for a person to look at, and make place. The error to raise."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = self._path.with_name(f"{self._path.name}.unreadable-{stamp}")
        for number in itertools.count(2):
            if not aside.exists():
                break
            aside = self._path.with_name(f"{self._path.name}.unreadable-{stamp}-{number}")
        try:
            self._path.rename(aside)
            self._sync_folder()
        except OSError as cause:
            return self._stays(error, cause)
        return LostError(f"{self.where} {error}; it was moved to {aside.name}")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone with the file. The lock is on a file of its own, since the record's is replaced by each save."""
        file = self._open_lock("lock")
        try:
            until_s = time.monotonic() + _LOCK_S
            while not _try_lock(file):
                if time.monotonic() > until_s:
                    raise StoreError(f"{self.where}: another process keeps {self._path.name}.lock locked")
                time.sleep(_LOCK_POLL_S)
            yield
        finally:
            os.close(file)

    def _open_lock(self, suffix: str) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self._path.with_name(f"{self._path.name}.{suffix}"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)

    def _hold_lease(self) -> bool:
        if self._lease is None:
            file = self._open_lock("lease")
            if _try_lock(file):
                self._lease = file
            else:
                os.close(file)
        return self._lease is not None


class _Thread:
    """Where the work is done that a disk can hold up, one piece after the other.

    One thread for all of it: starting one waits until it runs, which took the loop 5 ms on a busy machine, in the middle of
    a rollback. A daemon: the interpreter waits for an executor's threads when it ends, but not for this one.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._is_started = False

    def do(self, work: Callable[[], _T], loop: asyncio.AbstractEventLoop) -> asyncio.Future[_T]:
        done: asyncio.Future[_T] = loop.create_future()
        done.add_done_callback(lambda future: future.cancelled() or future.exception())  # even if nobody waits any more

        def run() -> None:
            try:
                result = work()
            except BaseException as error:  # it is raised where the work was asked for
                tell: Callable[[], None] = functools.partial(done.set_exception, error)
            else:
                tell = functools.partial(done.set_result, result)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(lambda: None if done.done() else tell())

        self._work.put(run)
        if not self._is_started:
            self._is_started = True
            threading.Thread(target=self._run, name="state file", daemon=True).start()
        return done

    def end(self) -> None:
        """After what it is doing."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _stored(text: bytes) -> Stored:
    if len(text) > _MOST_BYTES:
        raise RecordError("is far larger than any record")
    return Stored(from_json(text), _tag(text))


def _tag(text: bytes) -> str:
    return sha256(text).hexdigest()
