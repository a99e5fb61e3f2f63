"""What an operator types, against a running splitter with two workers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.running import ROOT, Splitter, ask, backend, says, splitter, wait_until
from tools.ports import free_port

CONFIG = """\
listen: {workers: 2}
access_log: {sample: 0}
rollout:
  percent: 100
  routes:
    - {name: camera-control, path: "/cameras/{id}/*", percent: 5}
"""
TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    with backend(says(b"legacy")) as legacy, backend(says(b"domain")) as domain:
        yield {"LEGACY_URL": f"http://127.0.0.1:{legacy}", "DOMAIN_URL": f"http://127.0.0.1:{domain}"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, urls: dict[str, str]) -> Iterator[Splitter]:
    with splitter(tmp_path_factory.mktemp("operators"), CONFIG, **urls) as started:
        yield started


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`splitter WORDS`, or the program itself when the first word is a path, in a folder that says nothing."""
    command = list(words) if words[0].startswith("/") else [sys.executable, "-m", "splitter", *words]
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TZ": "UTC", "SUDO_USER": "ann", **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=variables, cwd="/")


def told(done: subprocess.CompletedProcess[str]) -> Any:
    """The JSON of a command that did what it was asked."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def admin(running: Splitter) -> dict[str, str]:
    return {"SPLITTER_ADMIN": f"127.0.0.1:{running.admin_port}"}


def sides(running: Splitter) -> set[bytes]:
    """Who answers forced requests on several connections, so that every worker is met."""
    return {ask(running.port, "/?force_domain=true")[2] for _ in range(12)}


def test_rollback_and_resume(running: Splitter) -> None:
    assert sides(running) == {b"domain"}
    done = run("rollback", "--reason", "too slow", **admin(running))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        r"rolled back: nothing goes to domain any more\nin force on 2 workers after [0-9.]+ ms\n", done.stdout
    )
    assert sides(running) == {b"legacy"}
    again = run("rollback", **admin(running))
    assert again.returncode == 0
    assert re.match(r"nothing goes to domain: it was rolled back by cli:ann@\S+, \d{4}-.*: too slow\n", again.stdout)
    assert told(run("resume", "--json", **admin(running)))["changed"] is True
    assert sides(running) == {b"domain"}
    nothing = run("resume", **admin(running))
    assert nothing.returncode == 0
    assert nothing.stdout.startswith("not rolled back, nothing to resume: 100 % of clients go to domain")


def test_set_and_status_and_events(running: Splitter) -> None:
    done = run("set", "12.5%", "--reason", "step one", **admin(running))
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "percent is 12.5 %")
    assert told(run("set", "50", "--route", "camera-control", "--json", **admin(running)))["ok"] is True
    lines = run("status", **admin(running)).stdout.splitlines()
    rows = {name.strip(): text for name, text in (re.split(r"  +", line, maxsplit=1) for line in lines)}
    assert rows["domain"] == "on"
    assert re.fullmatch(r"12\.5 %, from operator \(cli:ann@.*: step one\), instead of 100 % from file:4", rows["percent"])
    assert rows["route camera-control"].startswith("50 %, from operator (cli:ann@")
    assert rows["use_domain_service"] == "true, from default"
    assert rows["workers"] == "all of this is in force on 2"
    assert rows["backends"] == "legacy up, domain up"
    status = told(run("status", "--json", **admin(running)))
    assert (status["percent"]["value"], status["store"]["saved"]) == (12.5, True)
    events = run("events", "-n", "2", **admin(running)).stdout.splitlines()
    assert re.fullmatch(r"\d{4}-\S+ \S+  cli:ann@\S+  percent: 100 % -> 12.5 %  \(step one\)", events[0])
    assert "percent of camera-control: 5 % -> 50 %" in events[1]
    assert [line["what"] for line in told(run("events", "--limit", "1", "--json", **admin(running)))] == [
        "percent of camera-control"
    ]
    told(run("set", "100", "--json", **admin(running)))


def test_a_percent_set_while_rolled_back_says_so(running: Splitter) -> None:
    run("rollback", **admin(running))
    lines = run("set", "100", **admin(running)).stdout.splitlines()
    assert lines[1].startswith("but nothing goes to domain: rolled back by cli:ann@")
    run("resume", **admin(running))


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        (("set", "12.345"), 1, "refused (422): percent has at most two decimals"),
        (("set", "5", "--route", "camera"), 1, 'refused (404): there is no route "camera"'),
        (("set", "101"), 2, "'101' is not from 0 to 100"),
        (("set", "ten"), 2, "'ten' is no number"),
        (("set", "nan"), 2, "'nan' is not from 0 to 100"),
        (("set",), 2, "Missing argument 'PERCENT'"),
        (("resume", "--from-stage", "1"), 1, "refused (409): "),
        (("rollback", "--reason", "a\nb"), 1, "refused (422): reason must be one line"),
        (("status", "--admin", "ftp://x"), 2, "--admin: 'ftp://x' is no admin address"),
        (("events", "--limit", "0"), 2, "0 is not in the range"),
    ],
)
def test_refused(running: Splitter, words: tuple[str, ...], status: int, error: str) -> None:
    done = run(*words, **admin(running))
    assert (done.returncode, done.stdout) == (status, "")
    assert error in done.stderr


def test_the_real_port_refuses_pages_of_other_sites(running: Splitter) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Content-Type": "text/plain"}):
        status, _, body = ask(running.admin_port, "/api/v1/rollout/rollback", "POST", b"{}", headers)
        assert status in (421, 403, 415), body
    assert sides(running) == {b"domain"}


def test_watch_in_a_pipe_goes_on_over_a_restart(tmp_path: Path, urls: dict[str, str]) -> None:
    ports = {name: f"127.0.0.1:{free_port()}" for name in ("SPLITTER_LISTEN", "SPLITTER_ADMIN_LISTEN")}
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SPLITTER_ADMIN": ports["SPLITTER_ADMIN_LISTEN"]}
    command = [sys.executable, "-m", "splitter", "watch"]
    with splitter(tmp_path, CONFIG, **urls, **ports) as first:
        watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        assert watching.stdout is not None
        assert watching.stdout.readline().startswith("100 % of clients go to domain")
        run("rollback", "--reason", "one", **admin(first))
        assert "rollback: 100 % -> rolled back  (one)" in watching.stdout.readline()
        assert watching.stdout.readline().startswith("nothing goes to domain: rolled back by cli:ann@")
    with splitter(tmp_path, CONFIG, **urls, **ports) as second:
        while "nothing goes to domain" not in watching.stdout.readline():
            pass
        run("resume", **admin(second))
        while "resume" not in watching.stdout.readline():
            pass
        watching.terminate()
        _, complaints = watching.communicate(timeout=10)
        assert "the splitter is away; trying again" in complaints


def test_a_token_and_a_unix_socket(tmp_path: Path, urls: dict[str, str]) -> None:
    where = f"unix:{tmp_path}/admin.sock"
    with splitter(tmp_path, CONFIG, **urls, SPLITTER_ADMIN_LISTEN=where, SPLITTER_ADMIN_TOKEN=TOKEN) as running:
        refused = run("rollback", "--admin", where)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "refused (401): changing anything wants the token" in refused.stderr
        assert "kill -USR1" in refused.stderr
        assert run("rollback", "--admin", where, "--token", "wrong").returncode == 1
        assert told(run("status", "--admin", where, "--json"))["rolled_back"]["value"] is False
        assert run("rollback", SPLITTER_ADMIN_LISTEN=where, SPLITTER_ADMIN_TOKEN=TOKEN).returncode == 0
        assert sides(running) == {b"legacy"}
        assert TOKEN not in running.log.read_text()
        events = told(run("events", "--admin", where, "--json"))
        assert TOKEN not in json.dumps(events)


def test_nobody_there() -> None:
    where = f"127.0.0.1:{free_port()}"
    done = run("status", "--admin", where)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"can't reach the splitter at http://{where}: nothing listens there\n"
    failed = json.loads(run("status", "--json", "--admin", where).stdout)
    assert (failed["ok"], failed["error"]["code"]) == (False, "unreachable")
    with backend(says(b"no splitter")) as port:
        done = run("status", "--admin", f"127.0.0.1:{port}")
        assert (done.returncode, "what answers there is no splitter" in done.stderr) == (1, True)


def test_a_rollback_waits_for_a_splitter_that_is_just_starting(tmp_path: Path, urls: dict[str, str]) -> None:
    where = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "splitter", "rollback", "--admin", where]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    waiting = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert waiting.stderr is not None
    assert "nothing listens there; trying for 6 s" in waiting.stderr.readline()
    with splitter(tmp_path, CONFIG, **urls, SPLITTER_ADMIN_LISTEN=where) as running:
        out, err = waiting.communicate(timeout=20)
        assert (waiting.returncode, err) == (0, "")
        assert out.startswith("rolled back: nothing goes to domain any more\n")
        assert sides(running) == {b"legacy"}


class TestAtThreeInTheMorning:
    """tools/rollback.sh."""

    SCRIPT = str(ROOT / "tools" / "rollback.sh")

    def test_it_rolls_back_and_checks(self, running: Splitter) -> None:
        done = run(self.SCRIPT, SPLITTER_LISTEN=f"127.0.0.1:{running.port}", **admin(running))
        assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
        assert done.stdout.startswith("rolled back: nothing goes to domain; in force on 2 workers after ")
        assert done.stdout.endswith(f"; checked at http://127.0.0.1:{running.port}\n")
        run("resume", **admin(running))

    def test_the_admin_api_does_not_answer(self, running: Splitter) -> None:
        there = {"SPLITTER_LISTEN": f"127.0.0.1:{running.port}", "SPLITTER_ADMIN": f"127.0.0.1:{free_port()}"}
        done = run(self.SCRIPT, **there)
        assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
        assert f"by SIGUSR1 to pid {running.process.pid}" in done.stdout
        assert sides(running) == {b"legacy"}
        run("resume", **admin(running))

    def test_the_token_is_not_at_hand(self, tmp_path: Path, urls: dict[str, str]) -> None:
        with splitter(tmp_path, CONFIG, **urls, SPLITTER_ADMIN_TOKEN=TOKEN) as running:
            done = run(self.SCRIPT, SPLITTER_LISTEN=f"127.0.0.1:{running.port}", **admin(running))
            assert (done.returncode, done.stdout.count("\n")) == (0, 1)
            assert f"by SIGUSR1 to pid {running.process.pid}" in done.stdout

    def test_only_workers_are_left(self, tmp_path: Path, urls: dict[str, str]) -> None:
        with splitter(tmp_path, CONFIG, **urls) as running:
            running.process.kill()
            running.process.wait()
            wait_until(lambda: sides(running) == {b"domain"})
            done = run(self.SCRIPT, SPLITTER_LISTEN=f"127.0.0.1:{running.port}", **admin(running))
            assert (done.returncode, done.stdout) == (1, "")
            assert "NOT ROLLED BACK" in done.stderr
            assert "only its workers are left: start it again with USE_DOMAIN_SERVICE=false" in done.stderr
            ports = {
                "SPLITTER_LISTEN": f"127.0.0.1:{running.port}",
                "SPLITTER_ADMIN_LISTEN": f"127.0.0.1:{running.admin_port}",
            }
            with splitter(tmp_path, CONFIG, **urls, **ports, USE_DOMAIN_SERVICE="false") as again:
                wait_until(lambda: sides(again) == {b"legacy"})
                assert run(self.SCRIPT, SPLITTER_LISTEN=ports["SPLITTER_LISTEN"], **admin(again)).returncode == 0

    def test_nothing_there(self) -> None:
        there = {"SPLITTER_LISTEN": f"127.0.0.1:{free_port()}", "SPLITTER_ADMIN": f"127.0.0.1:{free_port()}"}
        done = run(self.SCRIPT, **there)
        assert (done.returncode, done.stdout) == (1, "")
        assert "NOT ROLLED BACK" in done.stderr
        assert "no splitter of this user runs here" in done.stderr
