"""The admin API against its own description: schemathesis makes requests from it, and holds the answers against it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from splitter.control.openapi import document
from tests.integration.operators import operators
from tests.integration.test_mirror_api import a_tally

schema = schemathesis.openapi.from_dict(document()).exclude(path="/api/v1/rollout/stream")  # it has no end


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running admin side, on a loop in a thread of its own: who asks here is not asynchronous."""
    folder: Path = tmp_path_factory.mktemp("admin")
    loop, started = asyncio.new_event_loop(), threading.Event()
    found: list[str] = []
    stop = asyncio.Event()

    async def serve() -> None:
        async with operators(folder) as ops:
            ops.plane.mirrored = a_tally()
            found.append(str(ops.server.make_url("")).rstrip("/"))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(20)
    yield found[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(20)
    loop.close()


@schema.parametrize()
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_described(case: Any, server: str) -> None:
    case.call_and_validate(base_url=server)


def test_everything_is_described() -> None:
    """A path of the API that the document does not have is one that nobody checks."""
    from splitter.control.admin import ROLLOUT

    described = {path for path in document()["paths"] if path.startswith(ROLLOUT)}
    plan = {f"/plan{button}" for button in ("", "/start", "/pause", "/continue", "/promote", "/abort")}
    assert described == {
        f"{ROLLOUT}{rest}" for rest in {"", "/percent", "/rollback", "/resume", "/events", "/mirror", "/stream"} | plan
    }
