"""Background tasks end when they are told to."""

from __future__ import annotations

import asyncio

import pytest

from splitter import tasks as tasks_module
from splitter.tasks import Tasks


async def test_exceptions_are_told_and_cancellations_are_not() -> None:
    heard: list[tuple[str, str]] = []
    tasks = Tasks(lambda name, error: heard.append((name, str(error))))

    async def fail() -> None:
        raise ValueError("no")

    tasks.start(fail(), "failing")
    tasks.start(asyncio.sleep(60), "sleeping")
    await asyncio.sleep(0)
    await tasks.close()
    assert heard == [("failing", "no")]


async def test_one_that_swallows_a_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks_module, "_AGAIN_S", 0.01)
    tasks = Tasks(lambda _name, error: pytest.fail(repr(error)))
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while swallowed < 3:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed += 1

    tasks.start(stubborn(), "stubborn")
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await tasks.close()
    assert swallowed == 3
