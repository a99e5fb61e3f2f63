"""`splitter run`: this process becomes the supervisor.

Owns: what a process needs before its loop runs, and its exit status. Must not know: what the supervisor does.
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvloop

from splitter.carrier import keep_freed_memory
from splitter.config import Config
from splitter.logs import configure
from splitter.supervision.crew import CannotStartError
from splitter.supervision.supervisor import Supervisor


async def _serve(config: Config, path: Path | None) -> int:
    return await Supervisor(config, path).run()


def run(config: Config, path: Path | None = None) -> int:
    """Run a splitter; the exit status. `path` is the configuration file to follow, if there is one."""
    if config.listen.workers == 0:
        keep_freed_memory()
    logs = configure(config.log_level, terminal=sys.stdout is not None and sys.stdout.isatty())
    try:
        return uvloop.run(_serve(config, path))
    except CannotStartError as error:
        print(f"splitter: {error}", file=sys.stderr)  # noqa: T201 - to the person at the terminal
        return 1
    finally:
        logs.output.close()
