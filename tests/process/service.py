"""The whole service as users run it: legacy, domain and the splitter, on cameras of their own.

Owns: starting all three. Must not know: what a test checks.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.process.running import ROOT, answering, splitter
from tools.ports import free_port


@contextlib.contextmanager
def camera_backend(name: str, folder: Path, *options: str) -> Iterator[int]:
    """`legacy` or `domain`, on the cameras and data in `folder`; yields its port."""
    cameras, port = folder / "cameras.yaml", free_port()
    if not cameras.exists():
        shutil.copy(ROOT / "config" / "cameras.yaml", cameras)
    log = folder / f"{name}.log"
    command = [
        sys.executable, "-m", f"{name}_backend", "--port", str(port), "--cameras", str(cameras),
        "--data-dir", str(folder / "data"), *options,
    ]  # fmt: skip
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with answering(command, log, port, "/health", environment, folder):
        yield port


@contextlib.contextmanager
def service(folder: Path, config: str = "", **environment: str) -> Iterator[int]:
    """All three, ready; yields the splitter's port."""
    with camera_backend("legacy", folder) as legacy, camera_backend("domain", folder) as domain:
        urls = {"LEGACY_URL": f"http://127.0.0.1:{legacy}", "DOMAIN_URL": f"http://127.0.0.1:{domain}"}
        with splitter(folder, config, **urls, **environment) as running:
            yield running.port
