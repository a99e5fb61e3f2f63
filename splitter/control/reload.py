"""Takes up a changed configuration file, on saving it and on SIGHUP.

Owns: noticing, reading, checking, and what kind of change it is. Must not know: how workers are renewed.
Invariants: a file that can't be used, or that no worker can start with, changes nothing; the fault is logged, and shown in
health until a good file is read; what waits for a restart is shown there too.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog
from watchfiles import awatch

from splitter.config import Config, Listen, load
from splitter.control.controller import Controller
from splitter.errors import ConfigError, SplitterError

Renew = Callable[[Config], Awaitable[None]]
"""Let everything that is made from a configuration be made anew from this one. Raises RenewalError."""

_LIVE: Final = frozenset({"rollout", "guardrails", "hooks"})
"""What the control plane alone goes by, or hands out with each snapshot."""
_BOUND: Final = frozenset({"engine", "admin", "state"})
"""What the process was started for: it can't be taken up while running."""
_SOCKET: Final = ("host", "port", "socket_mode", "reuse_port")
"""The same, of `listen`: what its sockets were opened with."""


_LOOK_EVERY_MS: Final = 1000


class RenewalError(SplitterError):
    """Nothing could be started with the new configuration, so the old one stays. The message is one sentence."""


def needs_restart(before: Config, after: Config) -> tuple[str, ...]:
    """The parts that differ and can't be taken up while running."""
    names = [name for name in _sections(before, after) if name in _BOUND]
    names += [f"listen.{key}" for key in _SOCKET if getattr(before.listen, key) != getattr(after.listen, key)]
    return tuple(names)


def needs_renewal(before: Config, after: Config) -> bool:
    """Whether workers or probes were made with something that differs."""
    names = set(_sections(before, after)) - _LIVE - _BOUND
    if "listen" in names:
        after = after.model_copy(update={"listen": _elsewhere(before, after)})
        names = set(_sections(before, after)) - _LIVE - _BOUND
    return bool(names)


def _elsewhere(before: Config, after: Config) -> Listen:
    """The listen section of `after` with the sockets of `before`."""
    return after.listen.model_copy(update={key: getattr(before.listen, key) for key in _SOCKET})


def _sections(before: Config, after: Config) -> list[str]:
    """The names of the sections that differ."""
    return [name for name in type(before).model_fields if getattr(before, name) != getattr(after, name)]


def _signature(file: Path) -> tuple[int, ...]:
    """Differs when the file was written, replaced or removed."""
    try:
        status = file.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ""


class Reloader:
    """Reads the configuration again when its file changes, and whenever `wanted` is set."""

    def __init__(self, path: Path | None, controller: Controller, renew: Renew) -> None:
        self._path = path
        self._controller = controller
        self._renew = renew
        self.wanted = asyncio.Event()
        self._started_with = controller.config

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            while True:
                await self.wanted.wait()
                self.wanted.clear()
                await self.reload()

    async def _watch(self) -> None:
        if self._path is None:
            return
        target = Path.cwd() / self._path  # not resolved: a symlink's target may change, its folder stays
        seen: tuple[int, ...] | None = None
        emptied = False
        # Editors and config maps replace the file: its folder is what stays. Whatever happens there, and each second even
        # where nothing tells of changes (network file systems), it is the file that is looked at.
        async for _ in awatch(
            target.parent, recursive=False, step=50, debounce=200, rust_timeout=_LOOK_EVERY_MS, yield_on_timeout=True
        ):
            now = _signature(target)
            # A file is often emptied and then written; in between it would mean every default. So look once more.
            if now[1:2] == (0,) and now != seen and not emptied:
                emptied = True
                continue
            emptied = False
            # The first time: it may have been saved between being read and being watched.
            changed = now != seen if seen is not None else _text(target) != self._controller.config.given.text
            seen = now
            if changed:
                self.wanted.set()

    async def reload(self) -> None:
        """Read the configuration again and put it in force, as far as a running process can."""
        log = structlog.get_logger()
        controller = self._controller
        try:
            config = load(self._path, os.environ)
            renewed = needs_renewal(controller.config, config)
            if renewed:
                await self._renew(config)
        except ConfigError as error:
            controller.refuse(str(error))
            log.error("reload_failed", faults=[str(fault) for fault in error.faults])
            return
        except RenewalError as error:
            controller.refuse(str(error))
            log.error("reload_failed", faults=[str(error)])
            return
        await controller.adopt(config)
        controller.restart_needed = needs_restart(self._started_with, config)
        log.info(
            "reloaded",
            percent=str(config.rollout.percent),
            use_domain_service=config.rollout.use_domain_service,
            new_workers=renewed,
        )
        if controller.restart_needed:
            log.warning("restart_needed", what=controller.restart_needed)
