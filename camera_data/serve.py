"""How a camera service runs: its options, its start, its end.

Owns: the command line, the shared ground (`Ground`) that it builds, signals, exit statuses. Must not know: which of the
two services it runs; it gets a name, a port and a function that builds the application.
Invariants: a start that can't succeed ends with one line that says what to do, and exit status 1 (2 for bad usage);
SIGTERM and SIGINT end it within a second, also with streams and WebSockets open.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Middleware

from camera_data.camera_file import CameraFile
from camera_data.changes import ChangeWatch
from camera_data.database import Database, newest_change
from camera_data.errors import CameraDataError, FaultSpecError
from camera_data.faults import FAULT_PATH, HEALTH_PATH, FaultInjector, Handler, faults_of
from camera_data.threads import Threads
from camera_data.wire import REQUEST_ID_HEADER, request_id, request_id_of

DRAIN_S = 0.5  # for requests under way; with the rest of the stop it makes less than a second
MAX_BODY_BYTES = 64 * 1024

log = logging.getLogger(__name__)


def utc_now() -> datetime:
    """The clock of a service."""
    return datetime.now(UTC)


@dataclass
class Ground:
    """What a service stands on. `requests` counts those of the API: neither /health nor /fault."""

    name: str
    camera_file: CameraFile
    database: Database
    threads: Threads
    changes: ChangeWatch
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    now: Callable[[], datetime] = utc_now
    requests: int = 0
    started_s: float = field(default_factory=time.monotonic)


Build = Callable[[Ground], web.Application]


def open_ground(name: str, cameras: Path, data_dir: Path) -> Ground:
    """Open file and database. Raises CameraFileError, StoreError, StoreBusyError."""
    camera_file = CameraFile(cameras)
    camera_file.read()  # a service without a camera file that makes sense must not start
    database, threads = Database(data_dir), Threads()

    def newest() -> int:
        with database.reading() as connection:
            return newest_change(connection)

    return Ground(name, camera_file, database, threads, ChangeWatch(lambda: threads.read(newest)))


def close_ground(ground: Ground) -> None:
    """Give everything back, after the work under way."""
    ground.threads.close()
    ground.database.close()


def complete(app: web.Application, ground: Ground, faults: FaultInjector | None = None, *, remote: bool = False) -> None:
    """Put around a service's application what is the same for both. `remote`: faults may be set through /fault."""
    faults = faults or FaultInjector()
    app.middlewares.insert(0, faults.middleware())
    app.middlewares.insert(0, _counting(ground))
    if remote:
        app.router.add_route("*", FAULT_PATH, faults.control)

    async def name_request(_: web.Request, response: web.StreamResponse) -> None:
        response.headers[REQUEST_ID_HEADER] = request_id.get("")

    async def stop(_: web.Application) -> None:
        ground.stopping.set()

    async def watch(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.get_running_loop().create_task(ground.changes.run(), name="changes")
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    app.on_response_prepare.append(name_request)
    app.on_shutdown.append(stop)
    app.cleanup_ctx.append(watch)


def _counting(ground: Ground) -> Middleware:
    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id.set(request_id_of(request.headers))
        if request.path not in {HEALTH_PATH, FAULT_PATH}:
            ground.requests += 1
        return await handler(request)

    return count


def main(name: str, port: int, build: Build, arguments: Sequence[str] | None = None) -> int:
    """Run a service until a signal ends it; its exit status."""
    options = _options(name, port, arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=f"%(asctime)s {name} %(levelname)s %(message)s")
    try:
        return asyncio.run(_serve(name, build, options))
    except CameraDataError as error:
        return _complain(name, str(error))
    except OSError as error:
        return _complain(name, _why_not_listening(options.host, options.port, error))


def _options(name: str, port: int, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"{name}_backend", description=f"The {name} camera service.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=_port, default=port, metavar="N", help="default %(default)s; 0: any free one")
    parser.add_argument(
        "--cameras", type=Path, default=Path("config/cameras.yaml"), metavar="FILE", help="default %(default)s"
    )
    parser.add_argument("--data-dir", type=Path, default=Path("data"), metavar="DIR", help="default %(default)s")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="SPEC",
        help="misbehave: latency=200ms[:SHARE], error=SHARE[:STATUS], drop=SHARE, shape=SHARE, health=SHARE, "
        "rename=FIELD:NAME[:SHARE], stringify=FIELD[:SHARE], reorder=FIELD[:SHARE], drop_header=NAME[:SHARE]; repeatable",
    )
    parser.add_argument(
        "--allow-faults", action="store_true", help=f"faults may be changed at {FAULT_PATH}, from this machine"
    )
    options = parser.parse_args(arguments)
    try:
        options.faults = faults_of(options.fault)
    except FaultSpecError as error:
        parser.error(f"--fault {error}")
    return options


def _port(text: str) -> int:
    if not text.isdecimal() or not int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


async def _serve(name: str, build: Build, options: argparse.Namespace) -> int:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    ground = open_ground(name, options.cameras, options.data_dir)
    try:
        app = build(ground)
        complete(app, ground, FaultInjector(options.faults), remote=options.allow_faults)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=DRAIN_S)
        await runner.setup()
        try:
            site = web.TCPSite(runner, options.host, options.port)
            await site.start()
            host, port = runner.addresses[0][:2]
            where = f"[{host}]" if ":" in host else host
            log.info("listens on http://%s:%s, cameras %s, data %s", where, port, options.cameras, options.data_dir)
            await ended.wait()
            log.info("stops")
        finally:
            await runner.cleanup()
    finally:
        close_ground(ground)
    return 0


def _complain(name: str, message: str) -> int:
    sys.stderr.write(f"{name}: {message}\n")
    return 1


def _why_not_listening(host: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"--host {host}: {error.strerror}"
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; choose another with --port, or see by whom: ss -ltnp 'sport = :{port}'"
    if error.errno == errno.EACCES:
        return f"port {port} is reserved for root; choose one above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host}: this machine has no such address"
    return f"can't listen on {host} port {port}: {os.strerror(error.errno) if error.errno else error}"
