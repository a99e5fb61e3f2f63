"""Workers that are processes: started here, or found without a supervisor.

Owns: starting them, the supervisor's end of the channel, knowing that they are gone.
Must not know: which snapshots there are, what follows from a worker's end.
Invariants: whatever a worker says changes only what is known of this worker; the end of its channel is its end, so it is
killed if it should still be there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from splitter.channel import UNASKED, Channel, Message, encode
from splitter.compare import Tally
from splitter.config import Config
from splitter.rendezvous import VERSION, Orphan
from splitter.snapshot import Death, Gauges, WorkerState
from splitter.stats import Stats
from splitter.supervision.member import COLLECT_S, MIRROR_S, Edition, Listener, Task, Worker
from splitter.supervision.takeover import WORKER_MODULE
from splitter.tasks import Tasks

_LAST_MOMENTS_S: Final = 5.0
"""What one that has said its last word gets to end by itself."""
_TELL_S: Final = 0.1
_POLL_S: Final = 0.005
_HELD_BACK: Final = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
"""Signals that could hit a new process before it knows what to do with them."""


class _Process(Protocol):
    pid: int

    def kill(self) -> None: ...
    def signal(self, number: signal.Signals) -> None: ...
    def gone(self) -> bool: ...
    def how(self) -> str: ...


class _Child:
    """One that was started here."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid

    def kill(self) -> None:
        self._process.kill()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def gone(self) -> bool:
        return self._process.poll() is not None

    def how(self) -> str:
        """How it ended, for people."""
        status = self._process.returncode
        if status is None or status >= 0:
            return f"exit status {status}"
        return signal.Signals(-status).name


class _Stranger:
    """One that an earlier supervisor started. Held by a descriptor: its number could be another process's by now."""

    def __init__(self, pid: int) -> None:
        """Raises OSError when it is gone."""
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._poll = select.poll()
        self._poll.register(self._pidfd, select.POLLIN)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._pidfd, number)

    def gone(self) -> bool:
        if self._pidfd >= 0 and self._poll.poll(0):
            os.close(self._pidfd)
            self._pidfd = -1
        return self._pidfd < 0

    def how(self) -> str:
        return "ended"


def _start(slot: int, sockets: Sequence[socket.socket], config: Config) -> tuple[_Child, socket.socket]:
    """A new worker process and our end of its channel. It faces clients, so it inherits no secret that signs for hooks.
    Raises OSError."""
    ours, theirs = socket.socketpair()
    fds = [sock.fileno() for sock in sockets]
    withheld = set(config.secret_variables().values())
    environ = {name: value for name, value in os.environ.items() if name not in withheld}
    command = [
        sys.executable, "-m", WORKER_MODULE, "--slot", str(slot), "--channel", str(theirs.fileno()),
        "--log-level", config.log_level, "--listen", *map(str, fds),
    ]  # fmt: skip
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)  # a child inherits the mask (signal(7))
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno(), *fds], env=environ)  # noqa: S603
    except OSError:
        ours.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return _Child(process), ours


class ProcessWorker(Worker):
    """One process. `start` or `adopt` make it."""

    def __init__(self, process: _Process, slot: int, generation: int, listener: Listener, tasks: Tasks) -> None:
        super().__init__(slot, generation, listener)
        self.pid = process.pid
        self._process = process
        self._tasks = tasks
        self._channel: Channel | None = None
        self._unsent: list[bytes] = []
        self._task: Task | None = None
        self._said_last_word = False
        self._collecting: dict[int, asyncio.Event] = {}
        self._coming: dict[int, Tally] = {}
        self._asked = UNASKED
        self._version = VERSION

    @classmethod
    def start(
        cls, slot: int, task: Task, sockets: Sequence[socket.socket], listener: Listener, tasks: Tasks
    ) -> ProcessWorker:
        """Start a process that accepts on `sockets` when it has been configured. Raises OSError."""
        process, channel = _start(slot, sockets, task.config)
        worker = cls(process, slot, task.generation, listener, tasks)
        worker._task = task
        tasks.start(worker._open(channel), f"channel of worker {worker.pid}")
        return worker

    @classmethod
    def adopt(cls, orphan: Orphan, listener: Listener, tasks: Tasks) -> ProcessWorker:
        """A worker that accepts already. Raises OSError when it is gone."""
        worker = cls(_Stranger(orphan.pid), orphan.slot, 0, listener, tasks)
        worker._version = orphan.version
        worker.greeted = worker.configured = True
        worker._on_ready()
        if orphan.draining:
            worker.state, worker.told_to_drain = WorkerState.DRAINING, True
        tasks.start(worker._open(orphan.channel), f"channel of worker {worker.pid}")
        return worker

    async def _open(self, sock: socket.socket) -> None:
        self._channel = await Channel.over(sock, self._on_message, self._on_channel_end)
        unsent, self._unsent = self._unsent, []
        for frame in unsent:
            self._channel.send_frame(frame)

    def _send(self, frame: bytes) -> None:
        if self._channel is None:
            self._unsent.append(frame)
        else:
            self._channel.send_frame(frame)

    # --- what is told to it ---

    def configure(self, edition: Edition) -> None:
        if self._task is None or self.configured:
            return
        given = self._task.config.given
        message: Message = {
            "type": "configure",
            "generation": self.generation,
            "rendezvous": self._task.rendezvous,
            "internal_socket": self._task.internal_socket,
            "text": given.text,
            "source": given.source,
            "environ": dict(given.environ),
            "snapshot": edition.snapshot.to_wire(),
        }
        self.configured = True
        self.acked = edition.seq  # it can't decide before it has this
        self._send(encode(message))

    def put(self, edition: Edition) -> None:
        if self._version == VERSION:
            self._send(edition.frame)
        else:
            self.acked = edition.seq  # it can't be told: it takes nothing new and drains

    def ping(self) -> None:
        self.pings_unanswered += 1
        self._send(encode({"type": "ping", "n": self.pings_unanswered}))

    async def collect(self) -> None:
        await self._ask("collect", COLLECT_S)

    async def collect_mirror(self) -> None:
        await self._ask("mirror", MIRROR_S)

    async def _ask(self, what: str, within_s: float) -> None:
        """Ask, and wait for the answer, for the end of the worker or of the time."""
        if not self.configured or self._version != VERSION or self.ended.is_set():
            return
        self._asked += 1
        n = self._asked
        answered = self._collecting[n] = asyncio.Event()
        self._send(encode({"type": what, "n": n}))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await answered.wait()
        del self._collecting[n]
        self._coming.pop(n, None)

    def reload_certificates(self) -> None:
        self._send(encode({"type": "reload_certificates"}))

    def drain(self, timeout_s: float | None, *, for_good: bool = False) -> None:
        self.told_to_drain = True
        if not self.configured:
            self.kill()
            return
        self.state = WorkerState.DRAINING
        self._send(encode({"type": "drain", "timeout_s": timeout_s, "for_good": for_good}))

    def kill(self, cause: Death | None = None) -> None:
        self.cause = self.cause or cause
        if cause is Death.STUCK:
            self._process.signal(signal.SIGUSR2)  # it writes to standard error what it is doing (faulthandler)
            asyncio.get_running_loop().call_later(_TELL_S, self._process.kill)
        else:
            self._process.kill()

    def release(self) -> None:
        if self._channel is not None:
            self._channel.close()

    # --- what it says ---

    def _on_message(self, message: Message) -> None:
        try:
            self._take(message)
        except (KeyError, TypeError, ValueError) as error:
            structlog.get_logger().error("worker_speaks_nonsense", pid=self.pid, error=repr(error))
            self._process.kill()

    def _take(self, message: Message) -> None:
        match message["type"]:
            case "hello":
                self.greeted = True
                self._listener.on_hello(self)
            case "ready":
                self._on_ready()
            case "ack":
                self._on_ack(int(message["seq"]))
            case "pong":
                self.pings_unanswered = 0
            case "stats":
                self._on_stats(message)
            case "mirror":
                self._on_mirror(message)
            case "draining":
                self.state = WorkerState.DRAINING
                if not self.told_to_drain:
                    self._listener.on_leaving(self)
            case "drained":
                self.complete = bool(message["complete"])
                self._said_last_word = True
            case "failed":
                self.why = str(message["why"])
                self._said_last_word = True

    def _on_stats(self, message: Message) -> None:
        if "stats" in message:
            self.stats, self.gauges = Stats.from_wire(message["stats"]), Gauges.from_wire(message["gauges"])
            self._listener.on_stats(self)
        self._on_answer(message.get("n", UNASKED))

    def _on_mirror(self, message: Message) -> None:
        """A piece of what its mirror found, which counts when all of it is there."""
        n = message["n"]
        if n != UNASKED and n not in self._collecting:
            return  # too late
        if self._coming.setdefault(n, Tally()).take(message):
            self.mirrored = self._coming.pop(n)
            self._on_answer(n)

    def _on_answer(self, n: int) -> None:
        answered = self._collecting.get(n)
        if answered is not None:
            answered.set()

    def _on_channel_end(self, why: str) -> None:
        if why:
            structlog.get_logger().error("worker_speaks_nonsense", pid=self.pid, error=why)
        self._tasks.start(self._bury(), f"end of worker {self.pid}")

    async def _bury(self) -> None:
        if self._said_last_word:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_MOMENTS_S):
                    await self._until_gone()
        self._process.kill()
        await self._until_gone()
        self.why = self.why or self._process.how()
        for answered in self._collecting.values():
            answered.set()
        self._on_end()

    async def _until_gone(self) -> None:
        while not self._process.gone():  # noqa: ASYNC110 - its channel's end was the event; this takes a moment
            await asyncio.sleep(_POLL_S)
