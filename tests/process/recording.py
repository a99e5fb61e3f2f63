"""A backend in a process of its own that remembers when each request arrived: its word counts, not the splitter's.

Run as `python -m tests.process.recording PORT NAME FILE`. Every request but those for /health is a line in FILE: the time by
CLOCK_MONOTONIC, which is one clock for all processes (clock_gettime(2)).
Must not know: what a test makes of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.process.running import ROOT, wait_until
from tools.children import end_group, start
from tools.ports import free_port

QUIET = "access_log: {sample: 0}\n"
HALF = QUIET + "rollout: {percent: 50}\n"


class _Connection(asyncio.Protocol):
    def __init__(self, name: bytes, record: list[float]) -> None:
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name)
        self._record = record
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert isinstance(self._transport, asyncio.Transport)
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            if not head.startswith(b"GET /health"):
                self._record.append(time.monotonic())
            self._transport.write(self._answer)


async def _serve(port: int, name: str, file: Path) -> None:
    record: list[float] = []
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: _Connection(name.encode(), record), "127.0.0.1", port, backlog=512)
    with file.open("w") as out:
        while True:
            await asyncio.sleep(0.02)
            arrived, record[:] = record[:], []
            out.writelines(f"{time_s}\n" for time_s in arrived)
            out.flush()


class Recording:
    """One that runs. `arrivals` are times of `time.monotonic`."""

    def __init__(self, port: int, file: Path) -> None:
        self.port = port
        self._file = file

    @property
    def arrivals(self) -> list[float]:
        """Complete but for the last 20 ms."""
        return [float(line) for line in self._file.read_text().splitlines(keepends=True) if line.endswith("\n")]


Recorders = tuple[Recording, Recording]
"""Legacy and domain."""


@contextlib.contextmanager
def recording(folder: Path, name: str) -> Iterator[Recording]:
    port, file = free_port(), folder / f"{name}.arrivals"
    command = [sys.executable, "-m", "tests.process.recording", str(port), name, str(file)]
    process = start(command, folder / f"{name}.log", {"PYTHONPATH": str(ROOT)}, cwd=ROOT)
    try:
        wait_until(file.exists)
        yield Recording(port, file)
    finally:
        end_group(process.pid)
        process.wait()


def urls(recorders: Recorders) -> dict[str, str]:
    """The environment of a splitter with two workers in front of these."""
    return {
        "LEGACY_URL": f"http://127.0.0.1:{recorders[0].port}",
        "DOMAIN_URL": f"http://127.0.0.1:{recorders[1].port}",
        "SPLITTER_WORKERS": "2",
    }


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
