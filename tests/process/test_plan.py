"""A plan with real processes: it moves on while domain is good, is taken back when it isn't, and outlives its splitter."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.external.redis_server import redis_server
from tests.process.recording import recording, urls
from tests.process.running import ROOT, Splitter, ask, same_place, splitter, until, wait_until
from tests.process.traffic import load

CONFIG = """
rollout:
  percent: 10
  plan:
    - {percent: 25, hold: 2s}
    - {percent: 60, hold: HOLD}
    - {percent: 100}
guardrails: {window: 2s, every: 250ms, min_requests: 50, latency_min_requests: 50, latency_margin: 5s}
backends: {domain: {health: {interval: 200ms}, eject: {for: 500ms}}}
access_log: {sample: 0}
"""


def status(running: Splitter) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ask(running.admin_port, "/api/v1/rollout")[2])
    return found


def plan(running: Splitter) -> dict[str, Any]:
    found: dict[str, Any] = status(running)["plan"]
    return found


def press(running: Splitter, what: str, **body: object) -> dict[str, Any]:
    code, _, answer = ask(
        running.admin_port,
        f"/api/v1/rollout/{what}",
        "POST",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    assert code == 200, answer
    done: dict[str, Any] = json.loads(answer)
    return done


async def test_from_the_first_stage_to_a_dead_domain_and_back(tmp_path: Path) -> None:
    """Nobody notices that domain dies, everybody is on legacy within a second, and it stays so until a person resumes."""
    with ExitStack() as stack:
        legacy = stack.enter_context(recording(tmp_path, "legacy"))
        domain_life = ExitStack()
        domain = domain_life.enter_context(recording(tmp_path, "domain"))
        stack.callback(domain_life.close)
        environ = urls((legacy, domain))
        running = stack.enter_context(splitter(tmp_path, CONFIG.replace("HOLD", "1h"), **environ))
        await asyncio.to_thread(press, running, "plan/start")
        async with load(running.port) as seen:
            await until(lambda: plan(running)["stage"] == 2)
            assert status(running)["percent"] == {
                "value": 60.0, "from": "plan", "instead_of": {"value": 10.0, "from": "file:3"},
            }  # fmt: skip
            await seen.more(500)
            killed_s = time.monotonic()
            await asyncio.to_thread(domain_life.close)
            await until(lambda: bool(status(running)["rolled_back"]["value"]))
            back_s = time.monotonic()
            await seen.more(500)
        assert seen.failures == []
        assert set(seen.statuses) == {200}
        assert back_s - killed_s < 1.0
        latch = status(running)["rolled_back"]
        assert latch["who"] == "guardrail:consecutive_failures"
        assert "failures of domain in a row" in latch["why"]
        assert running.metric('splitter_rollbacks_total{by="guardrail"}') == 1
        assert running.metric("splitter_plan_step") == -1
        assert running.metric('splitter_plan_phase{phase="rolled_back"}') == 1

        (rolled,) = running.events("rolled_back")
        assert (rolled["who"], rolled["workers"]) == ("guardrail:consecutive_failures", 2)
        assert press(running, "resume", from_stage=2)["status"]["plan"]["stage"] == 2


def test_a_hold_goes_on_after_kill_9_and_after_a_stop(tmp_path: Path) -> None:
    with (
        recording(tmp_path, "legacy") as legacy,
        recording(tmp_path, "domain") as domain,
        splitter(tmp_path, CONFIG.replace("HOLD", "1h"), **urls((legacy, domain))) as first,
    ):
        press(first, "plan/start", from_stage=2, reason="a test")
        wait_until(lambda: plan(first)["held_s"] >= 2)
        assert first.stop() == 0
        held_s = json.loads((tmp_path / "state" / "rollout.json").read_text())["record"]["plan"]["held_s"]
        assert held_s >= 2
        place = same_place(first)
        with splitter(tmp_path, CONFIG.replace("HOLD", "1h"), **urls((legacy, domain)) | place) as second:
            found = plan(second)
            assert (found["phase"], found["stage"]) == ("running", 2)
            assert held_s <= found["held_s"] < held_s + 10
            second.process.send_signal(signal.SIGKILL)
            second.process.wait()
            with splitter(tmp_path, CONFIG.replace("HOLD", "1h"), **urls((legacy, domain)) | place) as third:
                assert (plan(third)["phase"], plan(third)["stage"]) == ("running", 2)
                assert status(third)["percent"]["value"] == 60.0


def cli(running: Splitter, *words: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TZ": "UTC", "SUDO_USER": "ann"}
    variables["SPLITTER_ADMIN"] = f"127.0.0.1:{running.admin_port}"
    command = [sys.executable, "-m", "splitter", "plan", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=variables, cwd="/")


def test_what_an_operator_types(tmp_path: Path) -> None:
    with (
        recording(tmp_path, "legacy") as legacy,
        recording(tmp_path, "domain") as domain,
        splitter(tmp_path, CONFIG.replace("HOLD", "1h"), **urls((legacy, domain))) as running,
    ):
        shown = cli(running)
        assert shown.returncode == 0
        assert shown.stdout.startswith("plan: idle\n")
        started = cli(running, "start", "--reason", "go")
        assert started.stdout.splitlines()[0].startswith("plan: running, stage 1 of 3, 25 %")
        assert started.stdout.splitlines()[1].startswith("in force on 2 workers after ")
        again = cli(running, "start")
        assert (again.returncode, again.stdout) == (1, "")
        assert "start is not possible: the plan is running; possible: pause, promote, abort, rollback, set" in again.stderr
        assert "paused" in cli(running, "pause").stdout
        assert cli(running, "pause").stdout.startswith("nothing to do, the plan is paused")
        assert "stage 3 of 3, 100 %" in cli(running, "promote", "--full").stdout
        told = json.loads(cli(running, "abort", "--json").stdout)
        assert (told["ok"], told["status"]["percent"]["value"], told["status"]["plan"]["phase"]) == (True, 0.0, "aborted")
        assert cli(running, "start", "--from-stage", "9").returncode == 1
        assert cli(running, "start", "--from-stage", "0").returncode == 2
        found = json.loads(cli(running, "--json").stdout)
        assert [stage["percent"] for stage in found["plan"]["stages"]] == [25.0, 60.0, 100.0]
        lines = json.loads(ask(running.admin_port, "/api/v1/rollout/events")[2])["events"]
        pressed = [line for line in lines if line["who"].startswith("cli:ann@")]
        assert [line["what"] for line in pressed] == ["plan abort", "plan promote full", "plan pause", "plan start"]


async def test_of_two_splitters_one_moves_the_plan_on_and_when_it_dies_the_other_does(tmp_path: Path) -> None:
    config = CONFIG.replace("hold: 2s", "hold: 3s").replace("HOLD", "3s") + "listen: {workers: 1}\n"
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(tmp_path))
        legacy = stack.enter_context(recording(tmp_path, "legacy"))
        domain = stack.enter_context(recording(tmp_path, "domain"))
        environ = urls((legacy, domain)) | {"SPLITTER_STATE_URL": redis.url, "SPLITTER_WORKERS": "1"}
        both = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            both.append(stack.enter_context(splitter(tmp_path / name, config, **environ)))
        await asyncio.to_thread(press, both[1], "plan/start")
        async with load(both[0].port, 4, 0), load(both[1].port, 4, 0):
            await until(lambda: plan(both[0])["stage"] == 2 and plan(both[1])["stage"] == 2)
            moved = [running for running in both if running.events("plan_went_on")]
            assert len(moved) == 1, "each stage is moved on by one of them"
            moved[0].process.send_signal(signal.SIGKILL)
            (other,) = [running for running in both if running is not moved[0]]
            await until(lambda: plan(other)["phase"] == "completed")
        assert status(other)["percent"]["value"] == 100
        assert [line["now"] for line in other.events("plan_went_on")][-1] == "stage 3 of 3, 100 %, completed"
