"""How many files this process may open, and what that means for connections.

Owns: the limit, raising it. Must not know: configurations, sockets.
Invariant: connections that are counted with `affordable` leave room for those to backends, logs and lookups.
"""

from __future__ import annotations

import contextlib
import resource
from typing import Final

_ENOUGH: Final = 1 << 20
"""The kernel's own bound (`fs.nr_open`); a hard limit may be "unlimited", which setrlimit refuses for files."""

_OTHER_FILES: Final = 64
"""Listening sockets, logs, the loop's own, a lookup's, the pages' and their connections."""


def raise_limit() -> int:
    """Let this process open as many files as it is allowed to; how many that is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    now = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _ENOUGH if now == resource.RLIM_INFINITY else now


def affordable(wanted: int, to_backends: int, open_files: int) -> int:
    """How many connections of clients there may be: as many as wanted, or as the files suffice for.

    `to_backends`: connections there may be to backends at once. Half of the files are the clients' in any case.
    """
    return min(wanted, max(open_files - to_backends - _OTHER_FILES, open_files // 2))
