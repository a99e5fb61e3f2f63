"""The two backends as processes on one camera file and one data directory."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.process.running import ask
from tests.process.service import camera_backend

CAMERAS = """\
# A comment of the owner.
site: plant-7
cameras:
  - {id: first, name: First, source: testsrc, active: true, auto_start: false, vendor: {model: X1}}
"""


@pytest.mark.parametrize("name", ["legacy", "domain"])
def test_a_source_that_does_not_exist_fails_the_start_and_says_why(tmp_path: Path, name: str) -> None:
    with camera_backend(name, tmp_path) as port:
        status, _, body = ask(port, "/api/v1/cameras/roof/start", "POST")
        assert 400 <= status < 500 or status == 502
        assert "recordings/roof.gif" in json.loads(body)["error"]["message"]
        after = json.loads(ask(port, "/api/v1/cameras/roof/status")[2])
        assert after["state"] == "error"
        assert "recordings/roof.gif" in after["last_error"]


def test_both_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(CAMERAS)
    stop = threading.Event()
    torn: list[str] = []

    def read_on() -> None:
        while not stop.is_set():
            try:
                assert yaml.safe_load(file.read_text())["cameras"]
            except (yaml.YAMLError, TypeError, KeyError, AssertionError) as error:
                torn.append(repr(error))
            time.sleep(0.001)

    with camera_backend("legacy", tmp_path) as legacy, camera_backend("domain", tmp_path) as domain:
        reader = threading.Thread(target=read_on)
        reader.start()

        def create(number: int) -> int:
            body = json.dumps({"id": f"c{number}", "name": f"Camera {number}", "source": "testsrc"}).encode()
            port = (legacy, domain)[number % 2]
            created = ask(port, "/api/v1/cameras", "POST", body)[0]
            started = ask((domain, legacy)[number % 2], f"/api/v1/cameras/c{number}/start", "POST")[0]
            return created if started == 200 else started

        with ThreadPoolExecutor(6) as pool:
            statuses = list(pool.map(create, range(40)))
        stop.set()
        reader.join()
        assert statuses == [201] * 40
        assert torn == []
        for port in (legacy, domain):
            listed = json.loads(ask(port, "/api/v1/cameras")[2])
            assert {camera["id"] for camera in listed["cameras"]} == {"first"} | {f"c{n}" for n in range(40)}
            batch = json.dumps({"camera_ids": [f"c{n}" for n in range(40)]}).encode()
            answer = json.loads(ask(port, "/api/v1/cameras/batch-status", "POST", batch)[2])
            assert json.dumps(answer).count('"running"') == 40
    text = file.read_text()
    assert text.startswith("# A comment of the owner.\n")
    document = yaml.safe_load(text)
    assert document["site"] == "plant-7"
    assert document["cameras"][0]["vendor"] == {"model": "X1"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("cameras.yaml.") and path.suffix != ".lock"]


def test_one_race_for_a_camera_has_one_winner(tmp_path: Path) -> None:
    with camera_backend("legacy", tmp_path) as legacy, camera_backend("domain", tmp_path) as domain:
        for _ in range(10):
            with ThreadPoolExecutor(4) as pool:
                ports = [legacy, domain, legacy, domain]
                statuses = list(pool.map(lambda port: ask(port, "/api/v1/cameras/corridor/start", "POST")[0], ports))
            assert sorted(statuses) == [200, 409, 409, 409]
            assert ask(legacy, "/api/v1/cameras/corridor/stop", "POST")[0] == 200


@pytest.mark.parametrize("name", ["legacy", "domain"])
def test_faults(tmp_path: Path, name: str) -> None:
    with camera_backend(name, tmp_path, "--allow-faults", "--fault", "error=1:503") as port:
        assert ask(port, "/api/v1/cameras")[0] == 503
        assert ask(port, "/health")[0] == 200, "a broken release usually looks healthy to a probe"

        def put(*faults: str) -> int:
            return ask(port, "/fault", "PUT", json.dumps({"faults": faults}).encode())[0]

        assert put("latency=300ms") == 200
        started_s = time.monotonic()
        assert ask(port, "/api/v1/cameras")[0] == 200
        assert time.monotonic() - started_s >= 0.3
        assert put("drop=1") == 200
        with pytest.raises(ConnectionError):
            ask(port, "/api/v1/cameras")
        assert put("shape=1") == 200
        assert "cameras" not in json.loads(ask(port, "/api/v1/cameras")[2])
        assert put("nonsense=1") == 400
        assert ask(port, "/fault", "DELETE")[0] == 200
        assert "cameras" in json.loads(ask(port, "/api/v1/cameras")[2])


def test_faults_are_off_unless_allowed(tmp_path: Path) -> None:
    with camera_backend("domain", tmp_path) as port:
        assert ask(port, "/fault", "PUT", b'{"faults": ["drop=1"]}')[0] == 404
        assert ask(port, "/fault")[0] == 404
