"""The test suites of two clients, requests and HTTPie, against httpbin behind a splitter: they must not see it.

What is left out has nothing to do with what is between client and server, but for one test of HTTPie's: it sends a field
named `baz[]`, which is no field name (RFC 9110 section 5.1), and the splitter refuses it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
# What their tests were written for, and what httpbin works with.
PINNED = (
    "requests==2.32.4", "httpie==3.2.4", "pytest==9.2.0", "pytest-httpbin==2.1.0", "httpbin==0.10.4", "pytest-mock==3.17.0",
    "PySocks==1.7.1", "trustme==1.2.1", "responses==0.26.3", "urllib3==2.8.0", "Flask==3.1.3", "Werkzeug==3.1.9",
)  # fmt: skip


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a virtual environment `v` and the sources of both clients, tests included."""
    folder = tmp_path_factory.mktemp("clients")
    subprocess.run([sys.executable, "-m", "venv", folder / "v"], check=True)
    pip = [str(folder / "v" / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q"]
    steps = [[*pip, "install", *PINNED]]
    steps.append([*pip, "download", "--no-deps", "--no-binary", "requests,httpie", "-d", str(folder), *PINNED[:2]])
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"the packages can't be had: {done.stderr.strip().splitlines()[-1]}")
    for archive in folder.glob("*.tar.gz"):
        with tarfile.open(archive) as sources:
            sources.extractall(folder, filter="data")
    return folder


def run_suite(clients: Path, name: str, *arguments: str) -> int:
    """How many tests passed; fails with what pytest said when any failed."""
    (suite,) = (folder for folder in clients.glob(f"{name}-*") if folder.is_dir())
    done = subprocess.run(
        [
            clients / "v" / "bin" / "python",
            "-m",
            "pytest",
            "-p",
            "through_splitter",
            "-q",
            "-p",
            "no:cacheprovider",
            *arguments,
        ],
        cwd=suite,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(HERE),
            "HOME": str(clients),
            "SPLITTER_PYTHON": sys.executable,
            "SPLITTER_ROOT": str(ROOT),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) passed", done.stdout)
    assert found, done.stdout[-1000:]
    return int(found[1])


@pytest.mark.timeout(400)
def test_requests(clients: Path) -> None:
    # TestTimeout wants an address that swallows packets; the rest of it waits for seconds.
    assert run_suite(clients, "requests", "tests/test_requests.py", "-k", "not TestTimeout") > 300


@pytest.mark.timeout(400)
def test_httpie(clients: Path) -> None:
    files = ("httpie", "auth", "binary", "compress", "cookie", "json", "redirects", "sessions", "ssl", "stream")
    paths = [f"tests/test_{file}.py" for file in files]
    left_out = "not (test_nested_json_syntax and input_json17) and not pyopenssl"
    assert run_suite(clients, "httpie", *paths, "-k", left_out) > 400
