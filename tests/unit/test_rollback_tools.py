"""What the rollback tools measure with: when a request arrived, and percentiles."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.rollback.measure import percentile
from tools.rollback.recording import Recorder, serve
from tools.rollback.rig import rehearsed


def page(recorder: Recorder, after_ns: int) -> dict[str, int]:
    found: dict[str, int] = json.loads(recorder.page(after_ns).partition(b"\r\n\r\n")[2])
    return found


@given(st.lists(st.integers(1, 1000)), st.integers(0, 1001))
def test_arrivals_in_any_order(times_ns: list[int], after_ns: int) -> None:
    recorder = Recorder()
    for at_ns in times_ns:
        recorder.arrived(at_ns)
    after = sum(at_ns > after_ns for at_ns in times_ns)
    assert page(recorder, after_ns) == {"count": len(times_ns), "after": after, "last_ns": max(times_ns, default=0)}


@pytest.fixture
def port() -> int:
    """A recording backend; its thread ends with the process, as the process of the real one does."""
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(server,), daemon=True).start()
    number: int = server.getsockname()[1]
    return number


def ask(sock: socket.socket, path: str) -> bytes:
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    return sock.recv(4096)


def test_a_request_counts_from_when_the_kernel_had_it(port: int) -> None:
    """Not from when the backend read it: here it gets two at once, and knows that they came apart."""
    with socket.create_connection(("127.0.0.1", port)) as one, socket.create_connection(("127.0.0.1", port)) as other:
        assert ask(one, "/warm").endswith(b"ok")  # the first packet after the option was set may have no stamp
        assert ask(other, "/warm").endswith(b"ok")
        before_ns = time.time_ns()
        assert ask(one, "/x").endswith(b"ok")
        between_ns = time.time_ns()
        assert ask(other, "/x").endswith(b"ok")
        assert ask(one, "/health").endswith(b"ok")

        def recorded(after_ns: int) -> dict[str, int]:
            found: dict[str, int] = json.loads(ask(one, f"/recorded?after={after_ns}").partition(b"\r\n\r\n")[2])
            return found

        assert recorded(before_ns)["after"] == 2
        assert recorded(between_ns) == {"count": 4, "after": 1, "last_ns": recorded(0)["last_ns"]}
        assert between_ns < recorded(0)["last_ns"] < time.time_ns()


def test_a_request_in_pieces_counts_once_with_its_last_piece(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        ask(client, "/warm")
        client.sendall(b"GET /x HTTP/1.1\r\nHost:")
        time.sleep(0.02)
        between_ns = time.time_ns()
        client.sendall(b" a\r\n\r\n")
        assert client.recv(4096).endswith(b"ok")
        found = json.loads(ask(client, f"/recorded?after={between_ns}").partition(b"\r\n\r\n")[2])
        assert (found["count"], found["after"]) == (2, 1)


def test_a_rehearsal_leaves_out_what_its_load_does_not_speak() -> None:
    tls = {"cert": "a", "key": "b"}
    backend = {"tls": {"ca": "c"}, "health": {"path": "/ping", "interval": "1s"}}
    tree = {
        "listen": {"tls": tls, "proxy_protocol": ["unix:"], "workers": 3},
        "backends": {"domain": backend},
        "rollout": None,
    }
    assert rehearsed(tree) == {
        "listen": {"workers": 3},
        "backends": {"domain": {"health": {"interval": "1s"}}},
        "rollout": None,
    }
    for odd in ({}, {"listen": None, "backends": None}, {"listen": 7, "backends": {"domain": 7}}):
        assert rehearsed(dict(odd)) == odd


def test_percentiles() -> None:
    assert percentile([3.0], 0.99) == 3.0
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.0
    assert percentile([float(n) for n in range(1, 101)], 0.99) == 99.0
    assert percentile([1.0, 2.0], 0.99) == 2.0
