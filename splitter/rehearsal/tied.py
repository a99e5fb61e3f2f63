"""Runs a module as `python -m` does, in a process that ends with the one that started it, even when that is killed.

`python -m splitter.rehearsal.tied PARENT MODULE ARGUMENT...`. Must not know: what the module does.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    parent, module, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # SIGTERM: the module may have workers to stop
    if os.getppid() != int(parent):  # it ended before the kernel could be asked to tell
        raise SystemExit(1)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
