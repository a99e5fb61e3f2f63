"""Sockets and how they are shared, what the kernel tells of them, the place where orphans knock, cores."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from pathlib import Path

import pytest

from splitter.channel import encode
from splitter.config import Listen, TcpAddress
from splitter.rendezvous import Orphan, Rendezvous, TakenError, knock, name_of
from splitter.supervision.cores import cores
from splitter.supervision.holders import holders, listening_inodes
from splitter.supervision.sockets import SlotSockets
from splitter.supervision.takeover import open_sockets


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


HERE = Listen(host="127.0.0.1", port=0)


def listen_at_port(sockets: SlotSockets) -> Listen:
    """The configuration that names the port the system chose."""
    assert isinstance(sockets.address, TcpAddress)
    return Listen(host=sockets.address.host, port=sockets.address.port)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class TestSockets:
    def test_each_slot_has_its_own_and_all_have_one_address(self) -> None:
        slots = SlotSockets(HERE)
        slots.open(3)
        shares = slots.share(3)
        assert [len(share) for share in shares] == [1, 1, 1]
        assert {share[0].getsockname() for share in shares} == {("127.0.0.1", int(str(slots.address).split(":")[1]))}
        assert len({inode(share[0]) for share in shares}) == 3
        shares[0][0].dup().close()
        assert not any(os.get_blocking(share[0].fileno()) for share in shares), "or a worker would wait in accept"
        slots.close()

    def test_fewer_slots_share_all_sockets_and_more_get_new_ones(self) -> None:
        slots = SlotSockets(HERE)
        slots.open(3)
        before = {inode(sock) for share in slots.share(3) for sock in share}
        slots.open(2)
        shares = slots.share(2)
        assert [len(share) for share in shares] == [2, 1]
        assert {inode(sock) for share in shares for sock in share} == before
        slots.open(5)
        assert before < {inode(sock) for share in slots.share(5) for sock in share}
        slots.close()

    def test_a_port_somebody_listens_on_is_not_shared_with_them(self) -> None:
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(("127.0.0.1", 0))
            other.listen()
            slots = SlotSockets(Listen(host="127.0.0.1", port=other.getsockname()[1]))
            before = open_files()
            with pytest.raises(OSError, match="in use") as refused:
                slots.open(2)
            assert refused.value.errno == errno.EADDRINUSE
            assert open_files() == before, "nothing is left open"

    def test_a_name_of_two_addresses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_words: found)
        slots = SlotSockets(Listen(host="localhost", port=0))
        slots.open(2)
        assert [sorted(sock.family for sock in share) for share in slots.share(2)] == [[2, 10], [2, 10]]
        slots.close()

    def test_a_socket_file_is_one_for_all_and_a_dead_one_is_replaced(self, tmp_path: Path) -> None:
        listen = Listen(host=f"unix:{tmp_path}/s")
        for _ in range(2):
            slots = SlotSockets(listen)
            slots.open(3)
            shares = slots.share(3)
            assert len({inode(sock) for share in shares for sock in share}) == 1
            with pytest.raises(OSError, match="in use"):
                SlotSockets(listen).open(1)
            slots.close()

    def test_adopted_ones_are_kept_once_and_strangers_are_not(self) -> None:
        first = SlotSockets(HERE)
        first.open(2)
        (one,), (other,) = first.share(2)
        with socket.create_server(("127.0.0.1", 0)) as stranger:
            again = SlotSockets(listen_at_port(first), [one.dup(), one.dup(), other.dup(), stranger.dup()])
            again.open(2)
            assert [[inode(sock) for sock in share] for share in again.share(2)] == [[inode(one)], [inode(other)]]
            again.close()
        first.close()


class TestHolders:
    @pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
    def test_tcp(self, family: socket.AddressFamily, host: str) -> None:
        with socket.create_server((host, 0), family=family) as server:
            assert listening_inodes(family, server.getsockname()) == {inode(server)}
            assert holders({inode(server)}) == {os.getpid()}
            with socket.create_connection(server.getsockname()[:2]) as client:
                assert listening_inodes(family, client.getsockname()) == set(), "a connection does not listen"

    def test_a_socket_file(self, tmp_path: Path) -> None:
        path = str(tmp_path / "a b")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            assert listening_inodes(socket.AF_UNIX, path) == set()
            server.listen()
            assert listening_inodes(socket.AF_UNIX, path) == {inode(server)}


class TestRendezvous:
    async def test_an_orphan_hands_its_sockets_on(self) -> None:
        came: asyncio.Queue[Orphan] = asyncio.Queue()
        name = name_of(f"test-{os.getpid()}-1")
        assert knock(name, {}, []) is None, "nobody is there"
        place = Rendezvous(name, came.put_nowait)
        with pytest.raises(TakenError):
            Rendezvous(name, came.put_nowait)
        with socket.create_server(("127.0.0.1", 0)) as server:
            mine = knock(name, {"slot": 3, "generation": 7, "draining": False}, [server, server])
            assert mine is not None
            mine.sendall(encode({"type": "stats"}))
            async with asyncio.timeout(5):
                orphan = await came.get()
            assert (orphan.pid, orphan.slot, orphan.generation, orphan.draining) == (os.getpid(), 3, 7, False)
            assert {inode(sock) for sock in orphan.sockets} == {inode(server)}
            assert not any(os.get_inheritable(sock.fileno()) for sock in orphan.sockets)
            assert orphan.channel.recv(100) == encode({"type": "stats"}), "what it says next is left for the channel"
            for sock in (*orphan.sockets, orphan.channel, mine):
                sock.close()
        place.close()
        Rendezvous(name, came.put_nowait).close()

    @pytest.mark.parametrize("words", [b"", b"GET / HTTP/1.1\r\n\r\n", encode({"type": "orphan"}), b'\0\0\0\x05{"a":'])
    async def test_who_says_anything_else_is_sent_away(self, words: bytes) -> None:
        came: asyncio.Queue[Orphan] = asyncio.Queue()
        name = name_of(f"test-{os.getpid()}-2")
        place = Rendezvous(name, came.put_nowait)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(name)
            client.settimeout(0)
            client.sendall(words)
            client.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(5):
                with contextlib.suppress(ConnectionResetError):
                    assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
        assert came.empty()
        place.close()

    async def test_a_port_of_another_program_is_refused_at_once(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            listen = Listen(host="127.0.0.1", port=server.getsockname()[1])
            async with asyncio.timeout(1):
                with pytest.raises(OSError, match="in use"):
                    await open_sockets(listen, 2, asyncio.Queue())


@pytest.mark.parametrize(
    ("quota", "at_most"), [("150000 100000", 2), ("10000 100000", 1), ("max 100000", 4096), ("nonsense", 4096), (None, 4096)]
)
def test_auto_is_what_may_be_used(tmp_path: Path, quota: str | None, at_most: int) -> None:
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota + "\n")
    assert cores(file) == max(1, min(len(os.sched_getaffinity(0)), at_most))
