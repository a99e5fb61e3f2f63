"""The private copy: two services, a splitter in front of them, and a hook that writes down what it is told.

Owns: starting them on free ports with files of their own, making domain go wrong, ending them. Must not know: the story.
Invariants: everything is a process of its own but the hook; nothing of the user's environment reaches the copy that would
lead out of it; after `end` no process of it is left, and no file unless it was to be kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web

import splitter
from splitter.config import CONFIG_VARIABLE, VARIABLES, Config
from splitter.errors import SplitterError
from splitter.rehearsal.script import BASE_LATENCY_S, Addresses, Script, Trouble

START_S: Final = 30.0
_STOP_S: Final = 8.0
_LOOK_S: Final = 0.05
_LAST_LINES: Final = 8
_BROKEN_SHARE: Final = 0.5


class CopyError(SplitterError):
    """The copy can't be had, or a part of it ended. The message is what a person reads."""


@dataclass(slots=True)
class Told:
    """What the hook was told, and what it was asked."""

    events: list[dict[str, Any]] = field(default_factory=list)
    questions: int = 0


class PrivateCopy:
    """See the top of the file."""

    def __init__(self, config: Config, script: Script) -> None:
        self.script = script
        self.told = Told()
        self.folder = Path(tempfile.mkdtemp(prefix="splitter-rehearsal-"))
        port, admin, legacy, domain, hook = _free_ports(5)
        self.addresses = Addresses(
            port, admin, f"http://127.0.0.1:{legacy}", f"http://127.0.0.1:{domain}", f"http://127.0.0.1:{hook}"
        )
        self._ports = {"legacy": legacy, "domain": domain, "hook": hook}
        self._environment = _environment(config)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._groups: list[int] = []
        self._hook: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.addresses.admin_port}"

    # --- starting and ending ---

    async def start(self) -> None:
        """Returns when all of it is ready. Raises CopyError."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        await self._start_hook()
        await asyncio.gather(*(self._start_service(name) for name in ("legacy", "domain")))
        (self.folder / "splitter.yaml").write_text(self.script.configuration(self.addresses))
        self._start("splitter", "splitter", "run", "--config", "splitter.yaml")
        await self._until_answered(f"{self.admin_url}/api/v1/monitoring/health/ready", "splitter")

    async def end(self, *, keep: bool) -> list[str]:
        """End all of it; what is left in spite of that, a sentence each."""
        await self._stop("splitter")  # first, while both services still answer what it is finishing
        await asyncio.gather(*(self._stop(name) for name in ("legacy", "domain")))
        if self._hook is not None:
            await self._hook.cleanup()
        if self._session is not None:
            await self._session.close()
        left = [f"processes of group {group}" for group in self._groups if _has_members(group)]
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
            left += [str(self.folder)] if self.folder.exists() else []
        return left

    def _start(self, name: str, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "splitter.rehearsal.tied", str(os.getpid()), module, *arguments]
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own modules
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=self.folder, env=self._environment,
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends the others in order
            )  # fmt: skip
        self._running[name] = process
        self._groups.append(process.pid)

    async def _start_service(self, name: str) -> None:
        self._start(name, "splitter.rehearsal.service", name, str(self._ports[name]), str(BASE_LATENCY_S))
        await self._until_answered(f"http://127.0.0.1:{self._ports[name]}/health", name)

    async def _stop(self, name: str) -> None:
        process = self._running.pop(name, None)
        if process is None:
            return
        process.terminate()
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.to_thread(process.wait, _STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)

    async def _start_hook(self) -> None:
        app = web.Application()
        app.router.add_post("/", self._on_told)
        app.router.add_post("/may-go-on", self._on_asked)
        self._hook = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._hook.setup()
        await web.TCPSite(self._hook, "127.0.0.1", self._ports["hook"]).start()

    async def _on_told(self, request: web.Request) -> web.Response:
        self.told.events.append(await request.json())
        return web.Response(status=204)

    async def _on_asked(self, _request: web.Request) -> web.Response:
        self.told.questions += 1
        return web.Response(text="go on")

    async def _until_answered(self, url: str, name: str) -> None:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + START_S
        while loop.time() < until_s:
            status = self._running[name].poll()
            if status is not None:
                raise CopyError(f"{name} of the copy ended with status {status}{self._end_of_log(name)}")
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self._http.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(_LOOK_S)
        raise CopyError(f"{name} of the copy did not answer within {START_S:g} s{self._end_of_log(name)}")

    def _end_of_log(self, name: str) -> str:
        lines = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return "".join(f"\n  {line}" for line in lines)

    # --- what goes wrong ---

    async def break_domain(self) -> None:
        """As the script says."""
        match self.script.trouble:
            case Trouble.DOWN:
                process = self._running.pop("domain")
                process.kill()
                await asyncio.to_thread(process.wait)
            case Trouble.ERRORS:
                self._order(f"errors {self.script.failure} {_BROKEN_SHARE}")
            case Trouble.SLOW:
                self._order(f"slow {self.script.slow_s}")
            case Trouble.NONE:
                pass

    async def mend_domain(self) -> None:
        """As if nothing had been."""
        if "domain" in self._running:
            self._order("well")
            self._order("slow 0")
        else:
            await self._start_service("domain")

    def _order(self, words: str) -> None:
        stdin = self._running["domain"].stdin
        if stdin is not None:
            stdin.write(f"{words}\n".encode())
            stdin.flush()

    # --- asking the splitter ---

    @property
    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise CopyError("the copy has not been started")
        return self._session

    async def ask(self, path: str = "") -> dict[str, Any]:
        """GET /api/v1/rollout and what is below it. Raises CopyError."""
        return await self._answer("GET", path, None)

    async def press(self, path: str, reason: str) -> dict[str, Any]:
        """One of the buttons. Raises CopyError."""
        return await self._answer("POST", path, {"reason": reason})

    async def _answer(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        headers = {"X-Splitter-Actor": "rehearsal:operator"}
        try:
            async with self._http.request(
                method, f"{self.admin_url}/api/v1/rollout{path}", json=body, headers=headers
            ) as response:
                answer: dict[str, Any] = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise CopyError(f"the copy's splitter does not answer: {error}{self._end_of_log('splitter')}") from None
        if response.status != 200:
            raise CopyError(f"the copy's splitter refused {method} {path}: {answer['error']['message']}")
        return answer

    def log_lines(self, event: str) -> list[dict[str, Any]]:
        """What the splitter has logged of that name."""
        text = (self.folder / "splitter.log").read_text(errors="replace")
        lines = (json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}"))
        return [line for line in lines if line.get("event") == event]


def _environment(config: Config) -> dict[str, str]:
    """The user's, without what would lead out of the copy, and with the package where the children find it."""
    withheld = {CONFIG_VARIABLE, *(variable.name for variable in VARIABLES), *config.secret_variables().values()}
    kept = {name: value for name, value in os.environ.items() if name not in withheld}
    here = str(Path(splitter.__file__).parents[1])
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (here, kept.get("PYTHONPATH", ""))))
    return kept


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(each.getsockname()[1]) for each in sockets]


def _has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
