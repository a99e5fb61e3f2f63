"""The state in a file: whole or not at all, whatever the disk, another process or a person does to it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from splitter.control.file_store import FileStore
from splitter.control.store import ConflictError, LostError, Stored, open_store
from splitter.errors import StoreError
from splitter.state import GLOBAL, Record, set_percent, to_json

ONE = Record().noted(1.0, "config", "config", "first seen", "", "percent 10 %")
TWO = set_percent(ONE, GLOBAL, 25, at_s=2.0, who="alice", why="try")
NOT_THERE = Stored(Record(), "")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "rollout.json"


def others(path: Path) -> list[str]:
    """What else is in the folder, but the lock."""
    return sorted(item.name for item in path.parent.iterdir() if item.name not in (path.name, f"{path.name}.lock"))


async def test_what_is_saved_is_loaded_by_whoever_comes_next(path: Path) -> None:
    store = FileStore(path)
    assert await store.load() is None
    first = await store.save(ONE, None)
    second = await store.save(TWO, first)
    assert (await store.load()) == second == Stored(TWO, second.tag)
    assert (await FileStore(path).load()) == second
    assert path.read_bytes() == to_json(TWO)
    assert others(path) == []
    await store.close()


async def test_a_save_replaces_only_what_its_caller_knew(path: Path) -> None:
    one, other = FileStore(path), FileStore(path)
    first = await one.save(ONE, None)
    with pytest.raises(ConflictError) as conflict:
        await other.save(TWO, None)
    assert conflict.value.found == first
    second = await other.save(TWO, first)
    with pytest.raises(ConflictError) as conflict:
        await one.save(ONE, first)
    assert conflict.value.found == second
    assert (await one.load()) == second
    path.unlink()
    with pytest.raises(ConflictError) as conflict:
        await one.save(ONE, second)
    assert conflict.value.found is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "is empty"),
        (to_json(TWO)[:300], "is cut short"),
        (b"percent: 50\n", "is cut short or no JSON"),
        (b'{"percent": 50}', "was not written by a splitter"),
        (to_json(TWO).replace(b"25.0", b"95.0"), "its checksum is wrong"),
        (to_json(TWO).replace(b"state/1", b"state/9"), "is in the format splitter-state/9"),
        (b" " * (9 << 20), "is far larger than any record"),
    ],
)
@pytest.mark.parametrize("on", ["load", "save"])
async def test_what_is_no_record_is_moved_aside(path: Path, text: bytes, why: str, on: str) -> None:
    path.parent.mkdir()
    store = FileStore(path)
    for count in (1, 2):
        path.write_bytes(text)
        with pytest.raises(LostError, match=why) as lost:
            await (store.load() if on == "load" else store.save(ONE, NOT_THERE))
        assert not path.exists()
        aside = others(path)
        assert len(aside) == count, "two in one second are two"
        assert all(name.startswith("rollout.json.unreadable-20") for name in aside)
        assert (path.parent / aside[-1]).read_bytes() == text
        assert any(name in str(lost.value) for name in aside)
    assert await store.load() is None


async def test_a_good_record_that_came_in_between_is_not_moved_aside(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"rubbish")
    store = FileStore(path)
    with (path.parent / "rollout.json.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another splitter is mending it
        loading = asyncio.ensure_future(store.load())  # noqa: TID251 - awaited below
        await asyncio.sleep(0.05)
        path.write_bytes(to_json(TWO))
        fcntl.flock(lock, fcntl.LOCK_UN)
        loaded = await loading
    assert loaded is not None
    assert (loaded.record, others(path)) == (TWO, [])


async def test_who_keeps_the_lock_is_told_about(path: Path) -> None:
    store = FileStore(path)
    await store.save(ONE, None)
    with (path.parent / "rollout.json.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match=r"another process keeps rollout\.json\.lock locked"):
            await store.save(TWO, await store.load())


@pytest.mark.parametrize("kind", ["fifo", "directory", "under a file"])
async def test_a_place_that_can_hold_no_file(path: Path, kind: str) -> None:
    if kind == "under a file":
        path.parent.write_text("a file in place of the directory")
    else:
        path.parent.mkdir()
        (os.mkfifo if kind == "fifo" else os.mkdir)(path)
    store = FileStore(path)
    with pytest.raises(StoreError, match=r"is no regular file|Not a directory"):
        await store.load()
    with pytest.raises(StoreError, match=r"is no regular file|File exists|Not a directory"):
        await store.save(ONE, None)


async def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere.json")
    store = FileStore(path)
    await store.save(TWO, await store.save(ONE, None))
    assert path.is_symlink()
    assert (tmp_path / "elsewhere.json").read_bytes() == to_json(TWO)


async def test_a_disk_that_hangs_holds_up_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(path, disk_s=0.1)
    first = await store.save(ONE, None)
    answers = threading.Event()
    sync = os.fsync

    def hanging(file: int) -> None:
        answers.wait(20)
        sync(file)

    monkeypatch.setattr(os, "fsync", hanging)
    started_s = time.monotonic()
    with pytest.raises(StoreError, match=r"the disk did not answer within 0\.1 s"):
        await store.save(TWO, first)
    with pytest.raises(StoreError, match="the disk has not answered for"):
        await store.load()
    assert time.monotonic() - started_s < 1, "the second one did not even wait"
    answers.set()
    for _ in range(500):
        try:
            loaded = await store.load()
        except StoreError:
            await asyncio.sleep(0.01)
        else:
            break
    assert loaded is not None
    assert loaded.record == TWO, "what was given up on was done in the end, and is found"


async def test_only_one_holds_the_lease(path: Path) -> None:
    one, other = FileStore(path), FileStore(path)
    assert await one.hold_lease()
    assert await one.hold_lease()
    assert not await other.hold_lease()
    await one.close()
    assert await other.hold_lease()
    await other.close()


# --- no room, no permission -----------------------------------------------------------------------------------------


# In a process of its own: the limit would also hit the file that pytest may be writing its report to.
_NO_ROOM = """
import asyncio, resource, sys
from pathlib import Path
from splitter.control.file_store import FileStore
from splitter.errors import StoreError
from splitter.state import Record
async def main():
    store = FileStore(Path(sys.argv[1]))
    stored = await store.save(Record(version=1), None)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    try:
        await store.save(Record(version=2), stored)
    except StoreError as error:
        print(error)
    print((await store.load()) == stored)
asyncio.run(main())
"""


def test_without_room_the_old_record_stays(path: Path) -> None:
    """A limit on the size of files stands for the full disk, for everybody and for root too."""
    done = in_child([sys.executable, "-c", _NO_ROOM, str(path)])
    assert done.stdout.splitlines() == [f"file:{path}: File too large", "True"], done.stderr
    assert others(path) == []


def in_child(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


# The whole of it on a file system of its own; a namespace of one's own may be mounted in without being root.
_IN_NAMESPACE = """
import asyncio, os, sys, subprocess
from pathlib import Path
from splitter.control.file_store import FileStore
from splitter.errors import StoreError
from splitter.state import Record, set_percent
folder = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True)
async def main():
    store = FileStore(folder / "rollout.json")
    stored = await store.save(Record(version=1), None)
    (folder / "ballast").write_bytes(bytes(48 * 1024))
    big = Record(version=2)
    for number in range(200):
        big = big.noted(float(number), "alice", "percent", "w" * 100, "", "")
    try:
        await store.save(big, stored)
    except StoreError as error:
        print(error)
    print((await store.load()) == stored, sorted(item.name for item in folder.iterdir()))
    (folder / "ballast").unlink()
    stored = await store.save(Record(version=3), stored)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        await store.save(Record(version=4), stored)
    except StoreError as error:
        print(error)
    print((await store.load()) == stored)
    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
    (folder / "rollout.json").write_bytes(b"")
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        await FileStore(folder / "rollout.json").load()
    except StoreError as error:
        print(type(error).__name__, error)
asyncio.run(main())
"""


def test_a_full_disk_and_one_that_is_read_only(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], check=False).returncode:
        pytest.skip("cannot run on CI: the kernel lets nobody mount here; a limit on file sizes is tested above")
    done = in_child(["unshare", "-rm", sys.executable, "-c", _IN_NAMESPACE, str(tmp_path)])
    where = f"file:{tmp_path}/rollout.json"
    assert done.stdout.splitlines() == [
        f"{where}: No space left on device",
        "True ['ballast', 'rollout.json', 'rollout.json.lock']",
        f"{where}: Read-only file system",
        "True",
        f"StoreError {where} is empty, and can't be moved aside: Read-only file system",
    ], done.stderr


# --- killed in the middle -------------------------------------------------------------------------------------------

_SAVES_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from splitter.control.file_store import FileStore
from splitter.state import Record
async def main():
    store = FileStore(Path(sys.argv[1]))
    stored = await store.load()
    while True:
        record = (stored.record if stored else Record()).noted(1.0, "a", "b", "w" * 500, "", "")
        stored = await store.save(record, stored)
        print(record.version, flush=True)
asyncio.run(main())
"""


def test_killed_in_the_middle_of_saving(path: Path) -> None:
    acknowledged = 0
    for attempt in range(15):
        with subprocess.Popen(
            [sys.executable, "-c", _SAVES_FOR_EVER, str(path)],
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        ) as child:
            assert child.stdout is not None
            for _ in range(5):
                acknowledged = int(child.stdout.readline())
            time.sleep(attempt * 0.0007)  # somewhere in a save, each time at another point of it
            child.send_signal(signal.SIGKILL)
            for line in child.stdout:
                acknowledged = int(line)
        stored = asyncio.run(FileStore(path).load())
        assert stored is not None
        assert stored.record.version in (acknowledged, acknowledged + 1), "what was answered is there"
    assert [name for name in others(path) if "unreadable" in name] == []


def test_a_url_opens_its_store(tmp_path: Path) -> None:
    assert open_store(f"file:{tmp_path}/a.json").where == f"file:{tmp_path}/a.json"
    store = open_store("redis://user:secret@[::1]:7000/3?name=cameras")
    assert store.where == "redis://[::1]:7000/3?name=cameras"
    assert open_store("redis://h").where == "redis://h:6379/0?name=default"


def test_without_redis_py_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "splitter.control.redis_store", raising=False)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(StoreError, match=r"pip install 'camera-splitter\[redis\]'"):
        open_store("redis://h")
