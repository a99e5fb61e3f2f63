"""Binding, with real sockets: what is taken, what is replaced, what is removed."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from splitter.config import TcpAddress, UnixAddress
from splitter.listening import open_listening
from tools.ports import free_port


def can_connect(address: TcpAddress | UnixAddress) -> bool:
    family = (
        socket.AF_UNIX if isinstance(address, UnixAddress) else socket.AF_INET6 if ":" in address.host else socket.AF_INET
    )
    with socket.socket(family) as client:
        where = address.path if isinstance(address, UnixAddress) else (address.host, address.port)
        return client.connect_ex(where) == 0


def test_port_0_is_chosen_by_the_system_and_told() -> None:
    with open_listening(TcpAddress("127.0.0.1", 0), 0o600) as listening:
        assert isinstance(listening.address, TcpAddress)
        assert listening.address.port
        assert can_connect(listening.address)
    assert not can_connect(listening.address)


def test_a_name_with_several_addresses_is_one_port() -> None:
    port = free_port()
    with open_listening(TcpAddress("localhost", port), 0o600) as listening:
        assert {each.getsockname()[1] for each in listening.sockets} == {port}
        assert can_connect(TcpAddress("127.0.0.1", port))


def test_an_address_in_use_is_not_taken() -> None:
    with open_listening(TcpAddress("127.0.0.1", 0), 0o600) as first:
        with pytest.raises(OSError, match="in use") as refused:
            open_listening(first.address, 0o600)
        assert refused.value.errno == errno.EADDRINUSE
        assert can_connect(first.address)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine(host: str) -> None:
    with pytest.raises(OSError, match=r".") as refused:
        open_listening(TcpAddress(host, 0), 0o600)
    assert refused.value.strerror


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_socket_file_has_the_mode_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        with open_listening(UnixAddress(str(tmp_path / "a.sock")), mode) as listening:
            assert stat.S_IMODE((tmp_path / "a.sock").stat().st_mode) == mode
            assert can_connect(listening.address)
    finally:
        os.umask(before)
    assert not (tmp_path / "a.sock").exists()


def test_a_dead_file_is_replaced_a_living_one_is_not(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "a.sock"))
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(address.path)
    dead.listen()
    with pytest.raises(OSError, match="in use"):
        open_listening(address, 0o600)
    dead.close()
    with open_listening(address, 0o600):
        assert can_connect(address)
        with pytest.raises(OSError, match="in use"):
            open_listening(address, 0o600)
        assert can_connect(address)


def test_a_full_queue_is_a_sign_of_life(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "a.sock"))
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(address.path)
        busy.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address.path)
        with pytest.raises(OSError, match="in use"):
            open_listening(address, 0o600)
        for each in waiting:
            each.close()


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("data")
    with pytest.raises(OSError, match="it is no socket"):
        open_listening(UnixAddress(str(tmp_path / "a")), 0o600)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="it is no socket"):
        open_listening(UnixAddress(str(tmp_path / "link")), 0o600)
    assert (tmp_path / "a").read_text() == "data"


def test_a_successors_file_is_not_removed(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "a.sock"))
    first = open_listening(address, 0o600)
    Path(address.path).unlink()
    with open_listening(address, 0o600):
        first.close()
        first.close()
        assert can_connect(address)


def test_every_address_is_ipv4_too() -> None:
    try:
        listening = open_listening(TcpAddress("::", 0), 0o600)
    except OSError as error:
        pytest.skip(f"cannot run on CI: this machine has no IPv6 ({error})")
    with listening:
        assert isinstance(listening.address, TcpAddress)
        assert [can_connect(TcpAddress(host, listening.address.port)) for host in ("127.0.0.1", "::1")] == [True, True]
