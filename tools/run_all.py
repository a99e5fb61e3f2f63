"""`make run`: legacy, domain and splitter on this machine, until Ctrl-C.

Owns: the order of starting and stopping, and what a person reads meanwhile. Must not know: what the three do; it meets
them as commands, ports and health paths.
Invariants: nothing is started unless every port is free; the table appears when all three have answered; none of them
outlives this process; the splitter stops first, while both backends still answer what it is finishing.

Where each listens: the option, else the environment (SPLITTER_LISTEN, SPLITTER_ADMIN_LISTEN, LEGACY_URL, DOMAIN_URL),
else the configuration file, else the default. A backend whose URL is not one of this machine, or that has several, is
somebody else's to run. Exit status: 0 stopped by a person, 1 a port is taken or one of the three ended, 2 bad usage.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.markup import escape

from splitter.config import UnixAddress
from splitter.errors import ConfigError
from tools import children, ports
from tools.addresses import AddressError, Addresses, addresses_in_force, curl, reachable

START_TIMEOUT_S = 30.0
DRAIN_S = 35.0  # the splitter's drain_timeout is 30s
STOP_S = 5.0
POLL_S = 0.05
PROBE_TIMEOUT_S = 2.0
TELL_AFTER_S = 1.0
LAST_LINES = 15

console = Console(highlight=False, soft_wrap=True)
complaints = Console(stderr=True, highlight=False, soft_wrap=True)


class RunError(Exception):
    """The three can't run, or one of them ended. The message is what a person reads."""


@dataclass(frozen=True, slots=True)
class Service:
    """One of the three: how to start it and how to see that it answers."""

    name: str
    command: tuple[str, ...]
    health_url: str
    grace_s: float
    socket_file: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        addresses = addresses_in_force(options, os.environ)
        _check_ports(addresses)
        return asyncio.run(_Run(addresses, options).until_stopped())
    except (RunError, AddressError, ConfigError) as error:
        complaints.print(escape(str(error)))
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make run", description="legacy, domain and splitter, until Ctrl-C")
    for name, what in (
        ("--port", "the splitter's port for clients (default 8000)"),
        ("--admin-port", "its port for the admin API and the console (default 8090)"),
        ("--legacy-port", "the legacy backend's port (default 8001)"),
        ("--domain-port", "the domain backend's port (default 8002)"),
    ):
        parser.add_argument(name, type=_port, metavar="N", help=what)
    parser.add_argument("--config", type=Path, help="the splitter's (default: SPLITTER_CONFIG, else config/splitter.yaml)")
    parser.add_argument("--cameras", type=Path, default=Path("config/cameras.yaml"), help="shared by both backends")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="shared by both backends; logs go below it")
    parser.add_argument("--allow-faults", action="store_true", help="let both backends be told to fail, at /fault")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (1 to 65535)")
    return int(text)


def _check_ports(addresses: Addresses) -> None:
    """Every obstacle at once, so that a person moves all of them in one go. Raises RunError."""
    taken: dict[int, str] = {}
    lines = []
    for wanted in addresses.to_listen_on():
        address, option = wanted.address, wanted.option
        obstacle = ports.obstacle(address.host, address.port)
        if address.port in taken:
            obstacle = f"is also wanted for {taken[address.port]}"
        taken[address.port] = wanted.what
        if obstacle:
            free = ports.free_port_above(address.port)
            lines.append(f"port {address.port} ({wanted.what}) {obstacle}")
            lines.append(f'  choose another: make run ARGS="{option} {free}"   (or {wanted.variable}=...)')
    if lines:
        raise RunError("\n".join(lines))


class _Run:
    """One run of the three, from start to the end of the last."""

    def __init__(self, addresses: Addresses, options: argparse.Namespace) -> None:
        self._addresses = addresses
        self._options = options
        self._logs: Path = options.data_dir / "logs"
        self._running: dict[Service, subprocess.Popen[bytes]] = {}
        self._stops_wanted = 0  # by Ctrl-C and its like: the first stops, the second doesn't wait
        self._news = asyncio.Event()  # a child ended, or a stop is wanted

    async def until_stopped(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGCHLD, self._news.set)
        self._logs.mkdir(parents=True, exist_ok=True)
        try:
            backends, splitter = self._services()
            await self._start(backends)
            await self._start([splitter])  # last: its first look at the backends finds them up
            if not self._stops_wanted:
                self._print_table()
            while not self._stops_wanted:
                await self._news_within(None)
                self._raise_if_one_ended()
        finally:
            await self._stop_all()
        return 0

    def _on_stop(self) -> None:
        self._stops_wanted += 1
        self._news.set()

    async def _news_within(self, timeout_s: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), timeout_s)
        self._news.clear()

    def _services(self) -> tuple[list[Service], Service]:
        options = self._options
        files = ["--cameras", str(options.cameras), "--data-dir", str(options.data_dir)]
        if options.allow_faults:
            files.append("--allow-faults")
        backends = []
        for name, address in (("legacy", self._addresses.legacy), ("domain", self._addresses.domain)):
            if address is not None:
                where = ("--host", address.host, "--port", str(address.port))
                command = (sys.executable, "-m", f"{name}_backend", *where, *files)
                backends.append(Service(name, command, f"{reachable(address)}/health", STOP_S))
        # Asked at the admin address: the public one may want a certificate, or a PROXY header.
        admin = self._addresses.admin
        file = admin.path if isinstance(admin, UnixAddress) else None
        url = f"{'http://localhost' if file else reachable(admin)}/api/v1/monitoring/health/ready"
        return backends, Service("splitter", (sys.executable, "-m", "splitter", "run"), url, DRAIN_S, file)

    async def _start(self, services: list[Service]) -> None:
        """Start them together and return when each has answered, or a stop is wanted. Raises RunError."""
        environment = os.environ | dict(self._addresses.environment)
        for service in services:
            log = self._log(service)
            if log.exists():
                log.replace(log.with_suffix(".log.1"))  # the run before may be the one to look into
            self._running[service] = children.start(service.command, log, environment)
        for service in services:
            await self._answers(service)

    async def _answers(self, service: Service) -> None:
        deadline_s = asyncio.get_running_loop().time() + START_TIMEOUT_S
        connector = aiohttp.UnixConnector(service.socket_file) if service.socket_file else None
        timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            while not self._stops_wanted:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(service.health_url) as response:
                        if response.ok:
                            return
                await self._news_within(POLL_S)
                self._raise_if_one_ended()
                if asyncio.get_running_loop().time() > deadline_s:
                    message = f"{service.name} did not answer {service.health_url} within {START_TIMEOUT_S:g} s"
                    raise RunError(message + self._last_lines(service))

    def _raise_if_one_ended(self) -> None:
        for service, child in self._running.items():
            status = child.poll()
            if status is not None and not self._stops_wanted:
                how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
                raise RunError(f"{service.name} {how}{self._last_lines(service)}")

    async def _stop_all(self) -> None:
        """Splitter first, then the backends. Who takes longer than its grace, or than a second Ctrl-C, is killed."""
        loop = asyncio.get_running_loop()
        for service, child in reversed(self._running.items()):
            if child.poll() is None:
                child.terminate()
            tell_s, deadline_s = loop.time() + TELL_AFTER_S, loop.time() + service.grace_s
            while child.poll() is None and self._stops_wanted <= 1 and loop.time() < deadline_s:
                await self._news_within(min(tell_s, deadline_s) - loop.time())
                if loop.time() >= tell_s and child.poll() is None:
                    complaints.print(f"{service.name} finishes what it is doing (Ctrl-C again: at once)")
                    tell_s = deadline_s
            children.end_group(child.pid)
            child.wait()

    def _log(self, service: Service) -> Path:
        return self._logs / f"{service.name}.log"

    def _last_lines(self, service: Service) -> str:
        log = self._log(service)
        lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return "".join(f"\n  {line}" for line in [f"the end of {log}:", *lines])

    def _print_table(self) -> None:
        addresses = self._addresses
        rows = [
            ("clients", reachable(addresses.splitter, addresses.scheme), "the splitter: send requests here"),
            ("console", reachable(addresses.admin), "admin API and console"),
        ]
        for name, address in (("legacy", addresses.legacy), ("domain", addresses.domain)):
            rows.append((name, addresses.urls[name], "" if address else "not started here"))
        rows.append(("logs", f"{self._logs}/", ", ".join(self._log(service).name for service in self._running)))
        width = max(len(where) for _, where, _ in rows)
        for what, where, note in rows:
            console.print(f"[bold]{what:8}[/bold] [cyan]{where:{width}}[/cyan]  {note}".rstrip())
        options = "" if addresses.scheme == "http" else "-k "  # a rehearsal's certificate is seldom one curl knows
        for words, path in (("Try:  curl -i -H 'X-User-Id: alice'", ""), ("      curl -i", "?force_domain=true")):
            where = curl(addresses.splitter, addresses.scheme, f"/api/v1/cameras{path}")
            console.print(escape(f"{words} {options}{where}"))
        console.print("Ctrl-C stops all.")


if __name__ == "__main__":
    sys.exit(main())
