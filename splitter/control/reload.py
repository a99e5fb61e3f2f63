"""Takes up a changed configuration file, on saving it and on SIGHUP.

Owns: noticing, reading, checking. Must not know: what the configuration means.
Invariant: a file with a fault changes nothing; the fault is logged, and shown in health until a good file is read.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Final

import structlog
from watchfiles import awatch

from splitter.config import Config, load
from splitter.control.controller import Controller
from splitter.errors import ConfigError

# What a running process can take up. The rest is bound to sockets and pools.
_LIVE: Final = frozenset({"rollout", "origins"})


def needs_restart(before: Config, after: Config) -> tuple[str, ...]:
    """The sections that differ and can't be taken up while running."""
    return tuple(
        name for name in type(before).model_fields if name not in _LIVE and getattr(before, name) != getattr(after, name)
    )


async def reload(path: Path | None, controller: Controller) -> None:
    """Read the configuration again and put its rollout part in force."""
    log = structlog.get_logger()
    try:
        config = load(path, os.environ)
    except ConfigError as error:
        controller.reload_fault = str(error)
        log.error("reload_failed", faults=[str(fault) for fault in error.faults])
        return
    waiting = needs_restart(controller.config, config)
    await controller.adopt(config)
    log.info("reloaded", percent=str(config.rollout.percent), use_domain_service=config.rollout.use_domain_service)
    if waiting:
        log.warning("restart_needed", sections=waiting)


async def follow(path: Path | None, controller: Controller, loop: asyncio.AbstractEventLoop) -> None:
    """Reload whenever the file is saved or SIGHUP comes, until cancelled."""
    wanted = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, wanted.set)
    async with asyncio.TaskGroup() as group:
        group.create_task(_watch(path, wanted))
        while True:
            await wanted.wait()
            wanted.clear()
            await reload(path, controller)


async def _watch(path: Path | None, wanted: asyncio.Event) -> None:
    if path is None:
        return
    target = Path.cwd() / path  # not resolved: a symlink's target may change, its folder stays
    # Editors and config maps replace the file: its folder is what stays.
    async for changes in awatch(target.parent, recursive=False, step=50, debounce=200):
        if any(Path(changed).name in {target.name, "..data"} for _, changed in changes):
            wanted.set()
