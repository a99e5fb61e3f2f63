"""An output that is slow, full, unread or closed costs lines, and they are counted; it never costs time."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from select import PIPE_BUF

import pytest

from splitter.logs import Output

LINE = b"x" * 99 + b"\n"


def report(why: str, lines: int) -> bytes:
    return f"lost {lines} {why}\n".encode()


def read_all(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as file:
        return file.read()


def test_what_is_written_arrives_in_order(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    output = Output(fd, report)
    for n in range(1000):
        output.write(b"%d\n" % n)
    output.close()
    assert (tmp_path / "log").read_bytes() == b"".join(b"%d\n" % n for n in range(1000))
    assert output.take_lost() == {}
    output.write(b"too late\n")
    assert output.take_lost() == {"unread": 1}


def test_a_pipe_nobody_reads_blocks_nobody_and_says_so_later() -> None:
    reader, writer = os.pipe()
    output = Output(writer, report, waiting_bytes=200 * len(LINE))
    began_s = time.monotonic()
    for _ in range(20_000):
        output.write(LINE)
    assert time.monotonic() - began_s < 2.0
    lost = output.take_lost()["unread"]
    assert lost > 15_000
    reading = threading.Thread(target=lambda: received.append(read_all(reader)))
    received: list[bytes] = []
    reading.start()
    output.close(5.0)
    os.close(writer)
    reading.join()
    lines = received[0].splitlines(keepends=True)
    told = [line for line in lines if line.startswith(b"lost")]
    assert sum(int(line.split()[1]) for line in told) == lost
    assert len(lines) - len(told) + lost == 20_000
    assert set(lines) - set(told) == {LINE}


@pytest.mark.timeout(20)
def test_closing_does_not_wait_for_a_pipe_nobody_reads() -> None:
    reader, writer = os.pipe()
    output = Output(writer, report)
    output.write(LINE * 10_000)
    began_s = time.monotonic()
    output.close(0.2)
    assert 0.1 < time.monotonic() - began_s < 2.0
    os.close(reader)  # which ends the thread's write
    output.close(5.0)
    os.close(writer)


def test_a_full_disk_costs_lines_and_is_told_when_there_is_room_again(tmp_path: Path) -> None:
    place = os.open("/dev/full", os.O_WRONLY)
    output = Output(place, report)
    output.write(LINE * 3)
    output.write(LINE)
    lost = 0
    while lost < 4:  # the thread gives no sign
        lost += output.take_lost().get("failed", 0)
        time.sleep(0.01)
    room = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(room, place)
    os.close(room)
    output.write(b"again\n")
    output.close()
    os.close(place)
    assert (tmp_path / "log").read_bytes() == b"again\nlost 4 failed\n"


def test_a_reader_that_leaves_costs_lines_only() -> None:
    reader, writer = os.pipe()
    output = Output(writer, report)
    os.close(reader)
    for _ in range(10):
        output.write(LINE)
    output.close()
    os.close(writer)
    assert output.take_lost() == {"failed": 10}


def test_somebody_elses_non_blocking_pipe_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    output = Output(writer, report)
    output.write(LINE * 5000)
    received: list[bytes] = []
    reading = threading.Thread(target=lambda: received.append(read_all(reader)))
    reading.start()
    output.close(10.0)
    os.close(writer)
    reading.join()
    assert received == [LINE * 5000]


def test_two_processes_on_one_pipe_do_not_tear_each_others_lines() -> None:
    """Batches larger than a pipe takes in one piece, from two writers at once, one of them a forked child."""
    reader, writer = os.pipe()
    output = Output(writer, report)
    output.write(b"before\n")  # the parent's thread runs before the fork
    child = os.fork()
    letter = b"c" if child == 0 else b"p"
    for _ in range(50):
        output.write(b"".join(letter * (n % 200) + b"\n" for n in range(300)))
    if child == 0:
        output.close(20.0)
        os._exit(0)
    received: list[bytes] = []
    reading = threading.Thread(target=lambda: received.append(read_all(reader)))
    reading.start()
    output.close(20.0)
    assert os.waitpid(child, 0)[1] == 0
    os.close(writer)
    reading.join()
    lines = received[0].split(b"\n")
    assert len(lines) == 2 * 50 * 300 + 2
    assert all(len(set(line)) <= 1 or line == b"before" for line in lines)


def test_a_line_longer_than_a_pipe_takes_comes_whole() -> None:
    reader, writer = os.pipe()
    output = Output(writer, report)
    long = b"y" * (3 * PIPE_BUF) + b"\n"
    output.write(LINE + long + LINE)
    output.close()
    os.close(writer)
    assert read_all(reader) == LINE + long + LINE


def test_without_an_output_nothing_is_lost_because_nothing_is_kept() -> None:
    output = Output(None, report)
    output.write(LINE)
    output.close()
    assert output.take_lost() == {}
