"""What may be done with a camera in each state: both services say the same."""

from __future__ import annotations

import json
from pathlib import Path

from tests.process.running import ask
from tests.process.service import camera_backend

ACTIONS = ("start", "stop", "restart", "activate", "deactivate")
# How a camera of its own gets into each state, by legal actions from its creation.
STATES = {
    "stopped": ("testsrc", ()),
    "running": ("testsrc", ("start",)),
    "error": ("no/such/picture.gif", ("start",)),
    "inactive": ("testsrc", ("deactivate",)),
    "stopped again": ("testsrc", ("start", "stop")),
}


def lives(port: int, prefix: str) -> dict[tuple[str, str], tuple[int, str, bool]]:
    """For each state and action: the status, and the state and activity after it."""
    found = {}
    for number, (state, (source, way)) in enumerate(STATES.items()):
        for action in ACTIONS:
            name = f"{prefix}-{number}-{action}"
            body = json.dumps({"id": name, "name": name, "source": source}).encode()
            assert ask(port, "/api/v1/cameras", "POST", body)[0] == 201
            for step in way:
                ask(port, f"/api/v1/cameras/{name}/{step}", "POST")
            status, _, answer = ask(port, f"/api/v1/cameras/{name}/{action}", "POST")
            if status >= 400:
                assert set(json.loads(answer)["error"]) == {"code", "message", "request_id"}
            after = json.loads(ask(port, f"/api/v1/cameras/{name}/status")[2])
            found[state, action] = status, after["state"], after["active"]
    return found


def test_both_services_allow_and_refuse_the_same(tmp_path: Path) -> None:
    with camera_backend("legacy", tmp_path) as legacy, camera_backend("domain", tmp_path) as domain:
        old, new = lives(legacy, "old"), lives(domain, "new")
    assert old == new
    assert old["stopped", "start"] == (200, "running", True)
    assert old["running", "start"][0] == 409
    assert old["stopped", "stop"][0] == 409
    assert old["inactive", "start"] == (409, "stopped", False)
    assert old["running", "deactivate"] == (200, "stopped", False)
    assert old["error", "start"][1] == "error"
    assert old["error", "stop"] == (200, "stopped", True)


def test_what_a_service_did_not_stop_runs_on_and_auto_start_starts(tmp_path: Path) -> None:
    with camera_backend("legacy", tmp_path) as port:
        assert json.loads(ask(port, "/api/v1/cameras/entrance/status")[2])["state"] == "running", "auto_start"
        assert json.loads(ask(port, "/api/v1/cameras/corridor/status")[2])["state"] == "stopped"
        assert ask(port, "/api/v1/cameras/corridor/start", "POST")[0] == 200
    with camera_backend("domain", tmp_path) as port:
        assert json.loads(ask(port, "/api/v1/cameras/corridor/status")[2])["state"] == "running"
