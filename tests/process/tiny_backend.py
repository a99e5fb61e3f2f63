"""A build backend (PEP 660) without dependencies, so that tools/setup.sh can be tried on a machine without an index.

Owns: the wheel of a project "tiny" 1 that holds nothing. It is copied into a project and pip uses it; no test
imports it.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

NAME = "tiny-1-py3-none-any.whl"
METADATA = "Metadata-Version: 2.1\nName: tiny\nVersion: 1\nProvides-Extra: dev\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: tiny_backend\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def build_wheel(wheel_directory: str, _settings: object = None, _metadata_directory: object = None) -> str:
    """Write the wheel into a directory and give its file name."""
    with zipfile.ZipFile(Path(wheel_directory) / NAME, "w") as wheel:
        for name, text in (("METADATA", METADATA), ("WHEEL", WHEEL), ("RECORD", "")):
            wheel.writestr(f"tiny-1.dist-info/{name}", text)
    return NAME


build_editable = build_wheel
