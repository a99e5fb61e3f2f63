"""Faults that change answers: how they are written, and what they do to a document."""

from __future__ import annotations

import pytest

from camera_data.errors import FaultSpecError
from camera_data.faults import faults_of
from camera_data.reshape import as_text, in_other_order, renamed


@pytest.mark.parametrize(
    "spec",
    ["rename=state:status", "rename=state:status:0.5", "stringify=port", "stringify=port:0.25", "reorder=cameras",
     "drop_header=Location", "drop_header=X-Total:0.1", "latency=200ms", "error=0.1:503"],
)  # fmt: skip
def test_a_fault_is_written_as_it_is_read(spec: str) -> None:
    assert [str(fault) for fault in faults_of([spec])] == [spec]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("rename=state", "expected rename=FIELD:NAME[:SHARE]"),
        ("rename=a:b:c", "'c' is not a share"),
        ("rename=a:b:1:1", "expected rename=FIELD:NAME[:SHARE]"),
        ("stringify=", "expected stringify=NAME[:SHARE]"),
        ("stringify=a b", "expected stringify=NAME[:SHARE]"),
        ("reorder=a:2", "'2' is not a share"),
        ("drop_header", "expected one of"),
    ],
)
def test_what_is_no_fault(spec: str, told: str) -> None:
    with pytest.raises(FaultSpecError) as refused:
        faults_of([spec])
    assert told in str(refused.value)


DOCUMENT = {"cameras": [{"id": "a", "port": 1, "on": True}, {"id": "b", "port": 2.5, "on": False}], "port": None}


def test_changes_reach_every_depth_and_nothing_else() -> None:
    assert renamed(DOCUMENT, "port", "gate") == {
        "cameras": [{"id": "a", "gate": 1, "on": True}, {"id": "b", "gate": 2.5, "on": False}],
        "gate": None,
    }
    assert list(renamed(DOCUMENT, "cameras", "x")) == ["x", "port"]
    assert as_text(DOCUMENT, "port")["cameras"][1]["port"] == "2.5"
    assert as_text(DOCUMENT, "port")["port"] is None
    assert as_text(DOCUMENT, "on") == DOCUMENT
    assert [camera["id"] for camera in in_other_order(DOCUMENT, "cameras")["cameras"]] == ["b", "a"]
    assert in_other_order(DOCUMENT, "id") == DOCUMENT
    assert renamed([DOCUMENT, 5], "nothing", "x") == [DOCUMENT, 5]
