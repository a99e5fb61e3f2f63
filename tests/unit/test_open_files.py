"""Files and the connections they suffice for."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from splitter.open_files import affordable


@pytest.mark.parametrize(
    ("wanted", "to_backends", "open_files", "expected"),
    [(10_000, 528, 20_000, 10_000), (10_000, 528, 4096, 3504), (10_000, 528, 1024, 512), (100, 528, 64, 32), (8, 1, 64, 8)],
)
def test_connections_leave_room_for_others(wanted: int, to_backends: int, open_files: int, expected: int) -> None:
    assert affordable(wanted, to_backends, open_files) == expected


def test_the_limit_is_raised_as_far_as_it_may_be() -> None:
    """In a process of its own: a limit that was raised stays so."""
    hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 4096)
    code = "import resource; from splitter.open_files import raise_limit; print(raise_limit(), raise_limit())"

    def low() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))

    said = subprocess.run([sys.executable, "-c", code], preexec_fn=low, capture_output=True, text=True, check=True)
    assert said.stdout.split() == [str(hard), str(hard)]
