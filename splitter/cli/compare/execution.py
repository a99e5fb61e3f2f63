"""A run of the command from its options to the written results.

Owns: putting the parts together. Must not know: usage, exit statuses.
Invariant: nothing is sent before the whole source was found to be good.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from splitter.cli.compare.asker import Asker, Settings
from splitter.cli.compare.findings import Findings
from splitter.cli.compare.junit import junit_xml
from splitter.cli.compare.options import STANDARD_OUTPUT, Invocation
from splitter.cli.compare.page import page
from splitter.cli.compare.recorded import Choice
from splitter.cli.compare.runner import Options, Run
from splitter.cli.compare.side import Side
from splitter.cli.compare.source import read_plan
from splitter.cli.compare.steps import Plan
from splitter.cli.compare.terminal import progress, show
from splitter.cli.compare.told import Told
from splitter.compare import EndpointNames, Mask, Rules
from splitter.config import Comparison, load


def carry_out(source: Path, invocation: Invocation, sides: tuple[Side, Side]) -> Told:
    """Read, ask, compare. Raises ConfigError for a source that can't be used, UsageError for options."""
    comparison = Comparison() if invocation.config_file is None else load(invocation.config_file, os.environ).mirror
    choice = Choice(
        unsafe=invocation.unsafe,
        most=invocation.limit,
        repeat=invocation.repeat,
        rules=Rules.of(comparison),
        names=EndpointNames(comparison.endpoints),
        mask=comparison.mask,
    )
    plan = read_plan(source, invocation.format, choice, dict(invocation.pairs("--set", invocation.values, "=")))
    return asyncio.run(_run(invocation, sides, plan))


async def _run(invocation: Invocation, sides: tuple[Side, Side], plan: Plan) -> Told:
    """Carry the plan out, with a bar where somebody sees one."""
    settings = Settings(invocation.timeout_s, invocation.max_body_bytes, invocation.sent_headers(), invocation.concurrency)
    options = Options(
        noise=invocation.noise,
        rounds=invocation.rounds,
        concurrency=invocation.concurrency,
        mask=Mask(plan.mask),
        new_word=lambda: secrets.token_hex(4),
        now_s=time.time,
    )
    findings = Findings(invocation.warm_up)
    started_at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    started_s = time.perf_counter()
    steps = invocation.rounds * sum(scenario.sends for scenario in plan.scenarios)
    with progress() as bar:
        task = bar.add_task("comparing", total=steps)
        async with Asker(sides[0], settings) as control, Asker(sides[1], settings) as candidate:
            await Run(control, candidate, options, findings, lambda: bar.advance(task)).carry_out(plan)
    return Told(plan, *sides, findings, time.perf_counter() - started_s, started_at, invocation.noise)


def write(invocation: Invocation, told: Told) -> None:
    """The results, wherever they are wanted."""
    if invocation.json_file == STANDARD_OUTPUT:
        click.echo(json.dumps(told.to_json()))
    elif invocation.json_file is not None:
        Path(invocation.json_file).write_text(json.dumps(told.to_json(), indent=1) + "\n", "utf-8")
    if invocation.junit_file is not None:
        invocation.junit_file.write_bytes(junit_xml(told))
    if invocation.html_file is not None:
        invocation.html_file.write_bytes(page(told))
    if invocation.json_file != STANDARD_OUTPUT:
        show(told)
