"""What a worker told before it was killed is counted, though nobody had read it yet."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from pathlib import Path

from tests.process.recording import HALF, Recorders, urls
from tests.process.running import replaced, splitter, until
from tests.process.traffic import load


async def test_a_supervisor_that_stood_still_still_hears_what_a_killed_worker_said(
    tmp_path: Path, recorders: Recorders
) -> None:
    with splitter(tmp_path, HALF, **urls(recorders)) as running:
        async with load(running.port, kept=8, new=0) as result:
            await result.more(200)
            victim = min(running.workers)
            running.process.send_signal(signal.SIGSTOP)
            try:
                await result.more(500)
                told = len(result.answers)
                await asyncio.sleep(1)  # totals are told four times a second
                os.kill(victim, signal.SIGKILL)
                await asyncio.sleep(0.2)
            finally:
                running.process.send_signal(signal.SIGCONT)
            await until(partial(replaced, running, {victim}))
            counted = await asyncio.to_thread(running.metric, "splitter_requests_total")
        assert counted >= told
