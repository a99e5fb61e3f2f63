"""One worker: a data plane in a process of its own. Started by the supervisor, never by a person.

Owns: its end of the channel, its signals, what becomes of it when the supervisor is gone.
Must not know: how snapshots are made, who the other workers are.
Invariants: it accepts nobody before it has a snapshot; pings are answered on the loop that carries the traffic, so that no
answer means no traffic; the end of the supervisor is not its end: it goes on by its last snapshot until a new supervisor
takes its sockets or a SIGTERM comes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Final

import structlog
import uvloop

from splitter import rendezvous
from splitter.carrier import Carrier, keep_freed_memory, settle
from splitter.channel import UNASKED, Channel, Message, encode
from splitter.config import parse
from splitter.logs import configure
from splitter.snapshot import Snapshot
from splitter.tasks import Tasks

PUSH_EVERY_S: Final = 0.25
"""How much of the totals a kill -9 may cost."""
_SEEK_EVERY_S: Final = 0.1
_LAST_WORDS_S: Final = 1.0
_AHEAD_BYTES: Final = 256 * 1024
_OWN_SIGNALS: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""For the supervisor; a terminal's Ctrl-C reaches its whole process group, though."""


class _Worker:
    """See the top of the file. Lives as long as its process."""

    def __init__(self, slot: int, listening: list[socket.socket]) -> None:
        self._slot = slot
        # Not to block is a mark that all processes have in common (open(2)): one that took it off, as `dup` does for a
        # socket that may block, would have another wait in `accept` for ever.
        for sock in listening:
            sock.settimeout(0)
        self._listening = listening
        self._handed_on = [sock.dup() for sock in listening]
        self._log = structlog.get_logger().bind(slot=slot)
        self._tasks = Tasks(lambda name, error: self._log.error("task_failed", task=name, exc_info=error))
        self._channel: Channel | None = None
        self._carrier: Carrier | None = None
        self._generation = 0
        self._drain_timeout_s: float | None = None
        self._rendezvous = ""
        self._pushed = b""
        self._draining = False
        self._stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def run(self, channel: socket.socket) -> int:
        """Until it is drained; the exit status."""
        self._channel = await Channel.over(channel, self._on_message, self._on_supervisor_gone)
        self._channel.send({"type": "hello", "version": rendezvous.VERSION, "pid": os.getpid()})
        try:
            status = await self._stopped
            await self._until_told()
            return status
        finally:
            await self._tasks.close()

    def on_sigterm(self) -> None:
        """Somebody ends this worker alone, or there is no supervisor that would."""
        if self._carrier is None:
            self._stop(0)
            return
        self._send({"type": "draining"})
        # With a supervisor the sockets have another worker soon; without one they end with this process.
        for_good = self._channel is None
        self._tasks.start(self._drain(self._drain_timeout_s, for_good=for_good), "drain")

    # --- the supervisor's words ---

    def _on_message(self, message: Message) -> None:
        match message["type"]:
            case "configure":
                self._on_configure(message)
            case "snapshot":
                self._on_snapshot(message)
            case "ping":
                self._send({"type": "pong", "n": message["n"]})
            case "collect":
                self._send(self._totals() | {"n": message["n"]})
            case "mirror":
                self._tasks.start(self._tell_mirror(message["n"]), "mirror")
            case "drain":
                self._tasks.start(self._drain(message["timeout_s"], for_good=message.get("for_good", False)), "drain")
            case "reload_certificates":
                if self._carrier is not None:
                    self._carrier.reload_certificates()
            case other:
                self._log.warning("unknown_message", message=other)

    def _on_configure(self, message: Message) -> None:
        try:
            config = parse(message["text"], message["source"], message["environ"])
            self._generation = message["generation"]
            self._rendezvous = message["rendezvous"]
            self._drain_timeout_s = config.limits.drain_timeout_s
            snapshot = Snapshot.from_wire(message["snapshot"])
            carrier = Carrier(config, message["internal_socket"], snapshot, self._tasks)
            for sock in self._listening:
                carrier.serve(sock)
        except Exception as error:
            self._fail(error)
            raise
        self._carrier = carrier
        settle()
        self._tasks.start(self._push(), "totals")
        self._send({"type": "ready"})

    def _fail(self, error: Exception) -> None:
        """This one can't start: the supervisor is the one to say why."""
        self._send({"type": "failed", "why": f"{type(error).__name__}: {error}"})
        self._stop(1)

    def _on_snapshot(self, message: Message) -> None:
        if self._carrier is not None:
            self._carrier.plane.publish(Snapshot.from_wire(message["snapshot"]))
            self._send({"type": "ack", "seq": message["seq"]})

    def _send(self, message: Message) -> None:
        if self._channel is not None:
            self._channel.send(message)

    def _totals(self) -> Message:
        carrier = self._carrier
        if carrier is None:
            return {"type": "stats"}
        return {"type": "stats", "stats": carrier.plane.stats.to_wire(), "gauges": carrier.plane.gauges().to_wire()}

    async def _push(self) -> None:
        """Tell the totals whenever they changed: what was told is not lost with this process."""
        while True:
            await asyncio.sleep(PUSH_EVERY_S)
            channel = self._channel
            if channel is None or channel.unsent_bytes:
                continue  # nobody listens, or not now: the next one says it all
            frame = encode(self._totals())
            if frame != self._pushed:
                self._pushed = frame
                channel.send_frame(frame)

    async def _tell_mirror(self, n: int) -> None:
        """What the mirror has found, in pieces, and no faster than they are taken: it may be megabytes."""
        for piece in self._carrier.plane.mirror.tally.pieces() if self._carrier is not None else ():
            self._send({"type": "mirror", "n": n, **piece})
            await asyncio.sleep(0)  # a large endpoint takes a millisecond
            while self._channel is not None and self._channel.unsent_bytes > _AHEAD_BYTES:  # noqa: ASYNC110 - no such event
                await asyncio.sleep(0.005)

    # --- the end ---

    async def _drain(self, timeout_s: float | None, *, for_good: bool) -> None:
        self._draining = True
        self._close_handed_on()
        if self._carrier is None:
            self._stop(0)
            return
        complete = await self._carrier.drain(timeout_s, for_good=for_good)
        if not self._stopped.done():
            with contextlib.suppress(TimeoutError):  # a supervisor that takes nothing must not keep this one from ending
                async with asyncio.timeout(_LAST_WORDS_S):
                    await self._tell_mirror(UNASKED)
            self._send(self._totals())
            self._send({"type": "drained", "complete": complete})
            self._stop(0)

    def _stop(self, status: int) -> None:
        if not self._stopped.done():
            self._stopped.set_result(status)

    async def _until_told(self) -> None:
        """The last words are out, or nobody wants them."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                # A transport tells of no such event.
                while self._channel is not None and self._channel.unsent_bytes:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    def _close_handed_on(self) -> None:
        for sock in self._handed_on:
            sock.close()
        self._handed_on.clear()

    # --- without a supervisor ---

    def _on_supervisor_gone(self, why: str) -> None:
        self._channel = None
        if self._carrier is None:
            self._stop(1)
        elif not self._stopped.done():
            self._log.warning("supervisor_gone", pid=os.getpid(), why=why or "its end of the channel closed")
            self._tasks.start(self._seek_supervisor(), "seek")

    async def _seek_supervisor(self) -> None:
        """Knock until a new supervisor answers, and hand it the sockets this worker accepts on."""
        while True:
            await asyncio.sleep(_SEEK_EVERY_S)
            introduction = {"slot": self._slot, "generation": self._generation, "draining": self._draining}
            sock = rendezvous.knock(self._rendezvous, introduction, self._handed_on)
            if sock is not None:
                self._pushed = b""
                self._channel = await Channel.over(sock, self._on_message, self._on_supervisor_gone)
                self._log.info("supervisor_found", pid=os.getpid())
                return


async def _run(arguments: argparse.Namespace) -> int:
    loop = asyncio.get_running_loop()
    worker = _Worker(arguments.slot, [socket.socket(fileno=fd) for fd in arguments.listen])
    loop.add_signal_handler(signal.SIGTERM, worker.on_sigterm)
    # The supervisor blocked them, so that none could hit this process before it knew what to do with it.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, *_OWN_SIGNALS})
    return await worker.run(socket.socket(fileno=arguments.channel))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="splitter.worker", description="started by the splitter, not by people")
    parser.add_argument("--slot", type=int, required=True)
    parser.add_argument("--channel", type=int, required=True, metavar="FD", help="of the socket to the supervisor")
    parser.add_argument("--log-level", required=True)
    parser.add_argument("--listen", type=int, required=True, metavar="FD", nargs="+", help="of the sockets to accept on")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    for number in _OWN_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    faulthandler.register(signal.SIGUSR2)  # asked for by the supervisor of one that is stuck: where?
    keep_freed_memory()
    logs = configure(options.log_level, terminal=sys.stdout is not None and sys.stdout.isatty())
    try:
        return uvloop.run(_run(options))
    finally:
        logs.output.close()


if __name__ == "__main__":
    sys.exit(main())
