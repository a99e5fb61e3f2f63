"""tools/setup.sh on machines that lack something: what it says, what it leaves behind, what it mends.

Each test has a small project of its own with a copy of the script, and where a machine must lack something, a PATH of
stand-ins. The path that goes right, on a bare Debian with an index, is too slow for here; CI does it in a fresh clone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
NEEDED = ("cat", "cksum", "cut", "dirname", "flock", "grep", "head", "mkdir", "rm", "sed", "stat", "tail", "dpkg-query")
NO_INDEX = "http://127.0.0.1:9/simple"  # the discard port: nobody listens
NO_ENSUREPIP = """#!/bin/sh
case "$*" in
*ensurepip*) exit 1 ;;
*base_prefix*) echo {prefix} ;;
*version_info*'<'*) exit {too_old} ;;
*version_info*) echo {version} ;;
*) exit 1 ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that needs nothing but setuptools."""
    return make_project(tmp_path / "a project")  # a space, because paths have them


def make_project(root: Path) -> Path:
    (root / "tools").mkdir(parents=True)
    for name in ("setup.sh", "test_packages.sh", "debian-packages.txt"):
        shutil.copy(TOOLS / name, root / "tools" / name)
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools>=68"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "tiny"\nversion = "1"\n[project.optional-dependencies]\ndev = []\n'
    )
    return root


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A directory to be the whole PATH: what every Debian has, and an ordinary user."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in NEEDED:
        path = shutil.which(name)
        assert path is not None, f"{name} is part of every Debian"
        (directory / name).symlink_to(path)
    stand_in(directory, "id", '#!/bin/sh\n[ "$1" = -u ] && echo 1000 || echo somebody\n')
    return directory


def stand_in(directory: Path, name: str, script: str) -> None:
    path = directory / name
    path.unlink(missing_ok=True)
    path.write_text(script)
    path.chmod(0o755)


def run(project: Path, *arguments: str, script: str = "setup.sh", **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_") and name != "PYTHON"}
    kept["PIP_CONFIG_FILE"] = "/dev/null"
    command = ["/bin/sh", str(project / "tools" / script), *arguments]
    return subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=False, timeout=110)


def no_ensurepip(version: str = "3.12.4", prefix: str = "/usr") -> str:
    too_old = int(tuple(map(int, version.split("."))) < (3, 11))
    return NO_ENSUREPIP.format(version=version, prefix=prefix, too_old=too_old)


class TestMissingPython:
    def test_without_root_it_names_the_package_of_that_python_and_changes_nothing(self, project: Path, bare: Path) -> None:
        stand_in(bare, "python3", no_ensurepip("3.12.4"))
        stand_in(bare, "apt-get", "#!/bin/sh\nexit 99\n")
        finished = run(project, PATH=str(bare))
        assert finished.returncode == 1
        assert "sudo apt-get update && sudo apt-get install -y python3.12-venv" in finished.stderr
        assert len(finished.stderr.splitlines()) == 2
        assert not (project / ".venv").exists()

    def test_as_root_it_updates_the_lists_and_installs_that_package(self, project: Path, bare: Path, tmp_path: Path) -> None:
        stand_in(bare, "id", "#!/bin/sh\necho 0\n")
        stand_in(bare, "python3", no_ensurepip("3.11.2"))
        calls = tmp_path / "calls"
        stand_in(bare, "apt-get", f'#!/bin/sh\necho "$@" >>{calls}\n')
        finished = run(project, PATH=str(bare))
        assert finished.returncode == 1  # this apt-get installed nothing
        assert calls.read_text().splitlines() == ["update", "install -y --no-install-recommends python3.11-venv"]
        assert "still no Python 3.11 or newer" in finished.stderr

    def test_an_apt_that_fails_is_quoted(self, project: Path, bare: Path) -> None:
        stand_in(bare, "id", "#!/bin/sh\necho 0\n")
        stand_in(bare, "python3", no_ensurepip("3.11.2"))
        stand_in(bare, "apt-get", '#!/bin/sh\necho "E: Could not resolve the mirror" >&2\nexit 100\n')
        finished = run(project, PATH=str(bare))
        assert finished.returncode == 1
        assert "apt-get could not install python3.11-venv: E: Could not resolve the mirror" in finished.stderr

    def test_too_old_a_python_is_named_with_its_version(self, project: Path, bare: Path) -> None:
        stand_in(bare, "python3", no_ensurepip("3.9.2"))
        stand_in(bare, "apt-get", "#!/bin/sh\nexit 99\n")
        finished = run(project, PATH=str(bare))
        assert finished.returncode == 1
        assert "no Python 3.11 or newer found (python3 is 3.9.2)" in finished.stderr

    def test_a_python_that_is_not_debians_gets_no_debian_package(self, project: Path, bare: Path) -> None:
        stand_in(bare, "python3", no_ensurepip("3.12.4", prefix="/opt/python"))
        finished = run(project, PATH=str(bare))
        assert finished.returncode == 1
        assert "make install PYTHON=/usr/bin/python3" in finished.stderr
        assert "apt-get" not in finished.stderr

    def test_a_machine_without_apt_is_told_so_in_words(self, project: Path, bare: Path) -> None:
        finished = run(project, PATH=str(bare))
        assert finished.returncode == 1
        assert "install Python 3.11 or newer with venv and pip" in finished.stderr

    def test_a_named_python_that_does_not_run_is_refused(self, project: Path) -> None:
        finished = run(project, PYTHON="/no/such/python")
        assert finished.returncode == 1
        assert "PYTHON=/no/such/python is not a Python 3.11 or newer: it does not run" in finished.stderr


class TestNoIndex:
    def test_it_says_so_in_few_lines_and_keeps_the_rest_in_a_file(self, project: Path) -> None:
        finished = run(project, PYTHON=sys.executable, PIP_INDEX_URL=NO_INDEX, PIP_NO_CACHE_DIR="1", PIP_RETRIES="1")
        assert finished.returncode == 1
        assert f"the package index could not be reached ({NO_INDEX})" in finished.stderr
        assert "PIP_FIND_LINKS" in finished.stderr
        assert len(finished.stderr.splitlines()) <= 6
        assert "Traceback" not in finished.stderr
        assert "127.0.0.1" in (project / ".setup.log").read_text()

    def test_a_fault_of_the_project_is_not_blamed_on_the_network(self, project: Path) -> None:
        with (project / "pyproject.toml").open("a") as file:
            file.write("this is not toml\n")
        finished = run(project, PYTHON=sys.executable, PIP_INDEX_URL=NO_INDEX)
        assert finished.returncode == 1
        assert "pip failed: " in finished.stderr
        assert "index" not in finished.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project installed without an index: its build backend is in the project itself."""
    project = make_project(tmp_path_factory.mktemp("installed") / "a project")
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "tiny"\nversion = "1"\n[project.optional-dependencies]\ndev = []\n'
    )
    shutil.copy(Path(__file__).with_name("tiny_backend.py"), project / "backend.py")
    finished = run(project, PYTHON=sys.executable)
    assert finished.returncode == 0, finished.stderr + (project / ".setup.log").read_text()
    return project


class TestInstalling:
    """Real installs. They share one project, for a venv takes seconds to make; each test leaves it installed."""

    def test_the_project_is_in_the_venv(self, installed: Path) -> None:
        command = [str(installed / ".venv" / "bin" / "python"), "-m", "pip", "show", "tiny"]
        assert "Name: tiny" in subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def test_again_does_nothing(self, installed: Path) -> None:
        before = (installed / ".setup.log").stat()
        finished = run(installed)
        assert (finished.returncode, finished.stderr) == (0, "")
        assert (installed / ".setup.log").stat().st_mtime_ns == before.st_mtime_ns

    def test_what_a_developer_has_is_enough_to_run(self, installed: Path) -> None:
        finished = run(installed, "run")
        assert (finished.returncode, finished.stderr) == (0, "")

    def test_a_changed_pyproject_is_installed_without_a_new_venv(self, installed: Path) -> None:
        mine = installed / ".venv" / "mine"
        mine.touch()
        with (installed / "pyproject.toml").open("a") as file:
            file.write("# a change\n")
        finished = run(installed)
        assert finished.returncode == 0, finished.stderr
        assert "installing into .venv" in finished.stderr
        assert mine.exists()

    def test_an_interrupted_install_is_made_anew(self, installed: Path) -> None:
        (installed / ".venv" / ".installing").touch()
        mine = installed / ".venv" / "mine"
        mine.touch()
        finished = run(installed, PYTHON=sys.executable)
        assert finished.returncode == 0, finished.stderr
        assert "making it anew" in finished.stderr
        assert not mine.exists()
        assert not (installed / ".venv" / ".installing").exists()

    def test_a_venv_whose_python_is_gone_is_made_anew(self, installed: Path) -> None:
        for path in (installed / ".venv" / "bin").glob("python*"):
            path.unlink()
        finished = run(installed, PYTHON=sys.executable)
        assert finished.returncode == 0, finished.stderr
        assert (installed / ".venv" / "bin" / "python").exists()

    def test_a_moved_checkout_gets_a_new_venv(self, installed: Path, tmp_path: Path) -> None:
        moved = tmp_path / "moved"
        shutil.copytree(installed, moved, symlinks=True)
        finished = run(moved, PYTHON=sys.executable)
        assert finished.returncode == 0, finished.stderr
        assert "making it anew" in finished.stderr
        assert str(moved) in (moved / ".venv" / "bin" / "pip").read_text()


def test_an_unknown_mode_is_bad_usage(project: Path) -> None:
    finished = run(project, "everything")
    assert finished.returncode == 2
    assert finished.stderr.startswith("usage:")


class TestTestPackages:
    def test_without_root_it_says_the_one_line(self, project: Path, bare: Path) -> None:
        stand_in(bare, "dpkg-query", "#!/bin/sh\nexit 1\n")
        stand_in(bare, "apt-get", "#!/bin/sh\nexit 99\n")
        finished = run(project, script="test_packages.sh", PATH=str(bare))
        assert finished.returncode == 1
        listed = (project / "tools" / "debian-packages.txt").read_text().splitlines()
        wanted = " ".join(line.split()[0] for line in listed if not line.startswith("#"))
        assert f"sudo apt-get update && sudo apt-get install -y {wanted}\n" in finished.stderr

    def test_with_all_there_it_is_silent(self, project: Path, bare: Path) -> None:
        stand_in(bare, "dpkg-query", "#!/bin/sh\necho installed\n")
        stand_in(bare, "apt-get", "#!/bin/sh\nexit 99\n")
        finished = run(project, script="test_packages.sh", PATH=str(bare))
        assert (finished.returncode, finished.stderr) == (0, "")
