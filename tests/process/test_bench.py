"""`make bench`: that it measures what it says, refuses what is no measurement, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tools.bench import cpu, goals, load, page, peers, report, templates
from tools.bench.__main__ import main
from tools.bench.measure import Cores
from tools.bench.proxies import PEERS, Nginx
from tools.bench.work import PLAIN, WORKS, Setup

ROOT = Path(__file__).parents[2]
BENCH = [sys.executable, "-m", "tools.bench", "--peers", "nginx", "--work", "small", "--rounds", "1"]


def result_line(**changes: object) -> str:
    report = {"requests": 1000, "duration_us": 2_000_000, "bytes": 5000, "p50_us": 700, "p99_us": 1500}
    errors = {"connect": 0, "read": 0, "write": 0, "status": 0, "timeout": 0}
    return "Running 2s test\nRESULT " + json.dumps(report | {"errors": errors} | changes) + "\n"


def taken(cpu_us: float) -> report.Round:
    return report.Round(cpu_us, requests_per_s=1, p50_ms=1, p99_ms=1, busy=1, rss_mib=1, requests=1)


class TestLoad:
    def test_units_of_a_result(self) -> None:
        assert load.parse(result_line()) == load.Result(1000, 2.0, 5000, 0.7, 1.5)

    @pytest.mark.parametrize("kind", ["connect", "read", "write", "status", "timeout"])
    def test_one_failed_request_is_no_result(self, kind: str) -> None:
        with pytest.raises(load.LoadError, match=rf"1000 requests, failed: .*'{kind}': 1"):
            load.parse(result_line(errors={kind: 1}))

    def test_no_request_is_no_result(self) -> None:
        with pytest.raises(load.LoadError, match="0 requests"):
            load.parse(result_line(requests=0))

    def test_output_without_a_result_is_quoted(self) -> None:
        with pytest.raises(load.LoadError, match="unable to connect"):
            load.parse("unable to connect to 127.0.0.1\n")


class TestCpu:
    def test_it_agrees_with_what_the_kernel_tells_the_process_itself(self) -> None:
        mine = os.getpid()
        before, began = cpu.cpu_s(mine), resource.getrusage(resource.RUSAGE_SELF)
        stop_s = time.thread_time() + 0.3
        while time.thread_time() < stop_s:
            sum(range(1000))
        ended = resource.getrusage(resource.RUSAGE_SELF)
        expected = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
        assert cpu.cpu_s(mine) - before == pytest.approx(expected, abs=0.05)
        assert expected > 0.25

    def test_descendants_are_found(self) -> None:
        script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
        with subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as parent:
            assert parent.stdout is not None
            assert parent.stdout.readline() == "1\n"
            assert len(cpu.tree(parent.pid)) == 2
            assert cpu.usage(parent.pid).rss_bytes > 2 * 1024**2
            parent.communicate("\n")
        with pytest.raises(cpu.ProcessGone, match=f"pid {parent.pid} ended"):
            cpu.usage(parent.pid)

    def test_a_process_that_ended_in_between_spoils_the_measurement(self) -> None:
        before, after = cpu.Usage({1: 1.0, 2: 1.0}, 0), cpu.Usage({1: 2.0}, 0)
        with pytest.raises(cpu.ProcessGone, match=r"pid \[2\]"):
            cpu.cpu_between(before, after)

    def test_a_process_that_began_in_between_counts_whole(self) -> None:
        before, after = cpu.Usage({1: 1.0}, 0), cpu.Usage({1: 1.5, 2: 0.25}, 0)
        assert cpu.cpu_between(before, after) == 0.75


class TestCores:
    @pytest.mark.parametrize(
        ("allowed", "proxy", "backends", "wrk"),
        [([3], {3}, {3}, {3}), ([0, 1], {0}, {1}, {1}), ([5, 2, 7, 9], {2}, {5}, {7})],
    )
    def test_the_proxy_has_one_to_itself(
        self, allowed: list[int], proxy: set[int], backends: set[int], wrk: set[int]
    ) -> None:
        cores = Cores.share_out(allowed)
        assert [set(used) for used in (cores.proxy, cores.backends, cores.load)] == [proxy, backends, wrk]


class TestReport:
    def test_the_ratio_is_that_of_the_medians_and_its_range_that_of_the_rounds(self) -> None:
        mine = report.Measured("splitter", "1", [taken(20), taken(30), taken(100)])
        other = report.Measured("nginx", "1", [taken(10), taken(20), taken(40)])
        assert report.ratio(mine, other) == report.Ratio(median=1.5, lowest=1.5, highest=2.5)


class TestGoals:
    def test_met_and_missed_and_not_measured(self) -> None:
        ours, envoy = report.Measured("splitter", "1", [taken(30)]), report.Measured("envoy", "1", [taken(50)])
        found = goals.outcomes({"small": [ours, envoy], "post": [envoy]})
        assert [(one.goal.peer, one.value, one.met) for one in found] == [("envoy", 0.6, True)]
        (slower,) = goals.outcomes({"small": [report.Measured("splitter", "1", [taken(31)]), envoy]})
        assert not slower.met
        assert page.sentence(slower).startswith("missed")


class TestPeers:
    @pytest.mark.parametrize("setup", [PLAIN, Setup(tls=True, workers=2), Setup(access_log=True)])
    @pytest.mark.parametrize("template", sorted(path.name for path in templates.CONFIGS.iterdir()))
    def test_every_configuration_is_filled_in_whole(self, template: str, setup: Setup, tmp_path: Path) -> None:
        filled = templates.fill(template, templates.Place(tmp_path, 1, 2, 3, 4, setup)).read_text()
        assert "@TLS" not in filled
        assert "@PLAIN" not in filled
        assert "@WORK" not in filled

    def test_a_proxy_that_does_other_work_is_refused(self, tmp_path: Path) -> None:
        with ExitStack() as stack:
            # The legacy backend itself in place of a proxy: no split, no headers.
            backends = peers.start_backends(stack, tmp_path, ())
            place = templates.Place(tmp_path, backends.http[0], 0, *backends.http)
            running = peers.Running(Nginx(), place, os.getpid(), tmp_path / "log")
            with pytest.raises(templates.PeerError, match="nginx sends 0% of the users to domain"):
                peers.check(running)

    @pytest.mark.parametrize("work", ["post", "upload", "tls", "websocket", "half", "idle", "logged", "new", "two"])
    def test_nginx_does_every_kind_of_work(self, work: str, tmp_path: Path) -> None:
        written = tmp_path / "result.json"
        command = [sys.executable, "-m", "tools.bench", "--peers", "nginx", "--rounds", "1", "--seconds", "1"]
        done = subprocess.run(
            [*command, "--work", work, "--json", str(written), "--page", str(tmp_path / "page.md")],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        result = json.loads(written.read_text())["works"][work]["peers"]["nginx"]
        assert result["median"]["requests"] > 0
        assert WORKS[work].title[1:] in (tmp_path / "page.md").read_text()

    def test_every_proxy_has_a_name_and_a_version(self) -> None:
        assert [peer().name for peer in PEERS.values()] == list(PEERS)


class TestBench:
    def test_a_whole_run_is_written_down(self, tmp_path: Path) -> None:
        written = tmp_path / "new" / "result.json"
        finished = subprocess.run(
            [*BENCH, "--seconds", "1", "--json", str(written)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert finished.returncode == 0, finished.stderr
        result = json.loads(written.read_text())
        only = result["works"]["small"]["peers"]["nginx"]
        assert only["ratio"] == {"median": 1.0, "lowest": 1.0, "highest": 1.0}
        assert 1 < only["median"]["cpu_us"] < 1000
        assert only["rounds"][0]["requests"] > 100
        assert f"{only['median']['cpu_us']:.1f}" in finished.stdout

    def test_a_ratio_above_the_limit_fails(self, tmp_path: Path) -> None:
        command = [*BENCH, "--seconds", "1", "--json", str(tmp_path / "result.json"), "--fail-over", "0.99"]
        finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert finished.returncode == 1
        assert "bench: small: 1.00 is above 0.99" in finished.stderr

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (
                ["--peers", "apache"],
                "some of splitter, nginx, haproxy, envoy, traefik, caddy, aiohttp, each once, are wanted",
            ),
            (["--peers", "nginx,nginx"], "each once"),
            (["--work", "fast"], "some of small, logged, post"),
            (["--rounds", "0"], "is not a whole number above 0"),
        ],
    )
    def test_bad_usage_says_what_is_wanted(
        self, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        assert said in capsys.readouterr().err

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_an_interruption_leaves_no_process_and_no_file(self, tmp_path: Path, number: int, status: int) -> None:
        environment = dict(os.environ) | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
        command = [*BENCH, "--seconds", "1", "--rounds", "100", "--json", str(tmp_path / "result.json")]
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as bench:
            assert bench.stdout is not None
            assert bench.stdout.readline().startswith(b"small, round 1 of 100: nginx")
            pids = cpu.tree(bench.pid)
            assert len(pids) >= 5  # itself, backends and nginx with a worker each
            bench.send_signal(number)
            bench.communicate()
        assert bench.returncode == status
        assert list(tmp_path.iterdir()) == []
        assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
