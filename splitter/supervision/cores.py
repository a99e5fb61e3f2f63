"""How many workers `auto` is.

Owns: what of this machine's processors is ours. Must not know: what runs on them.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


def cores(quota: Path = _QUOTA) -> int:
    """The cores this process may run on, at most as many as a container's quota pays for (cgroup v2); at least one."""
    allowed = len(os.sched_getaffinity(0))
    try:
        limit, period = quota.read_text().split()
        if limit != "max":
            allowed = min(allowed, math.ceil(int(limit) / int(period)))
    except (OSError, ValueError):
        pass  # no such limit here
    return max(1, allowed)
