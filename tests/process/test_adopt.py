"""docs/adopt.md, done as it says, with two services that know nothing of the splitter: nginx and `python -m http.server`."""

from __future__ import annotations

import contextlib
import random
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from splitter.config import parse, threshold_of
from splitter.routing import bucket_of
from tests.process.envoy_rig import ENVOY
from tests.process.page_commands import Block, Reader, blocks, missing_from
from tests.process.running import ROOT, answering, ask, wait_until
from tools.ports import free_port

PAGE = ROOT / "docs" / "adopt.md"
NGINX = """\
daemon off;
master_process off;
pid nginx.pid;
error_log nginx-error.log;
events {{}}
http {{
    include /etc/nginx/mime.types;
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{ listen 127.0.0.1:{port}; root www; }}
}}
"""


def child(command: list[str], folder: Path, port: int) -> contextlib.AbstractContextManager[None]:
    """A server that answers."""
    return answering(command, folder / f"{port}.log", port, "/", cwd=folder)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Somebody in a folder of their own, with both services running."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed: tools/test_packages.sh installs it")
    folder = tmp_path_factory.mktemp("adopted")
    old, new = free_port(), free_port()
    (folder / "www").mkdir()
    (folder / "www" / "index.html").write_text("<!DOCTYPE html><title>Ours</title>\n")
    (folder / "www" / "about.txt").write_text("about us\n")
    (folder / "nginx.conf").write_text(NGINX.format(port=old))
    nginx = [shutil.which("nginx") or "", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    python = [sys.executable, "-m", "http.server", str(new), "--bind", "127.0.0.1", "--directory", "www"]
    with child(nginx, folder, old), child(python, folder, new):
        someone = Reader(folder, {8000: free_port(), 8090: free_port(), 9001: old, 9002: new})
        # the page's configuration leaves the admin side where it is by default, which may be taken here
        someone.environment["SPLITTER_ADMIN_LISTEN"] = f"127.0.0.1:{someone.ports[8090]}"
        try:
            yield someone
        finally:
            for process in someone.running:
                process.terminate()
                process.wait(20)


def marked(kind: str) -> list[Block]:
    return [block for block in blocks(PAGE) if block.mark == kind or block.mark.startswith(f"{kind}:")]


def without_comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_the_page_as_it_says(reader: Reader) -> None:
    done = 0
    for block in blocks(PAGE):
        match block.mark:
            case "tried":
                reader.run(block)
            case "tried: in the background":
                reader.run_in_background(block)
                wait_until(lambda: _serves(reader.ports[8000]))
            case "tried: kept":
                reader.keep(block)
            case "is: splitter.yaml":
                lines = without_comments((reader.folder / "splitter.yaml").read_text())
                assert lines == without_comments(reader.moved(block.text))
                assert len(lines) <= 8, "a configuration of eight lines"
            case "config":
                parse(block.text, str(PAGE), {})
            case mark:
                assert mark.startswith("file: ")
                reader.write(block)
        done += 1
    assert done >= 9
    assert ask(reader.ports[8000], "/?force_domain=true")[1]["x-splitter-reason"] == "forced", "it was resumed"


def _serves(port: int) -> bool:
    with contextlib.suppress(OSError):
        return ask(port, "/api/v1/monitoring/health/ready")[0] == 200
    return False


def test_in_envoy_everybody_is_on_the_same_side(reader: Reader) -> None:
    (page,) = [block for block in marked("file") if block.mark == "file: envoy.yaml"]
    weights = yaml.safe_load(page.text)["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    (route,) = weights["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]
    clusters = route["route"]["weighted_clusters"]["clusters"]
    assert [(each["name"], each["weight"]) for each in clusters] == [
        ("domain", threshold_of(20.0)), ("legacy", 10_000 - threshold_of(20.0)),
    ]  # fmt: skip
    port = free_port()
    envoy = Reader(reader.folder, {**reader.ports, 8000: port})
    file = envoy.write(page)
    dice = random.Random(4)
    keys = [f"user-{dice.randrange(10**9)}" for _ in range(300)]
    with child([ENVOY, "-c", str(file), "--base-id", str(port), "--log-level", "warning"], reader.folder, port):
        for number, key in enumerate(keys):
            by_cookie = {"Cookie": f"a=b; session={key}"}
            headers = (
                by_cookie if number % 3 == 0 else {"X-User-Id": key, **({} if number % 3 == 1 else {"Cookie": "session=x"})}
            )
            status, answer, _ = ask(port, "/", headers=headers)
            expected = "domain" if bucket_of(key.encode()) < threshold_of(20.0) else "legacy"
            assert status == 200
            assert ("domain" if "etag" not in answer else "legacy") == expected, (key, headers)


def test_a_page_that_says_something_else_is_found_out(tmp_path: Path) -> None:
    """Or the test above would prove nothing."""
    assert (
        missing_from("rolled back: nothing goes\nin force on 2 workers after 3.1 ms\n", ["rolled back", "in force on 4"])
        == []
    )
    assert missing_from("b\na\n", ["a", "b"]) == ["b"]
    someone = Reader(tmp_path, {8000: 17})
    moved = someone.moved("http://127.0.0.1:8000/80001, port: 8000, port: 80001, weight: 8000")
    assert moved == "http://127.0.0.1:17/80001, port: 17, port: 80001, weight: 8000"
    with pytest.raises(AssertionError, match="the page says"):
        someone.run(Block("tried", "$ echo good\nbad\n"))
    with pytest.raises(AssertionError, match="false"):
        someone.run(Block("tried", "$ false\n"))
    started_s = time.monotonic()
    someone.run(Block("tried", "$ echo 1\n1\n$ echo 22 x\n7 x\n"))
    assert time.monotonic() - started_s < 10
