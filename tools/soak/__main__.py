"""`make soak`: the options, and what is said in the end.

Exit status: 0 everything was as it must be, 1 something was not (each is said), 2 bad usage.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.soak.run import Result, Soak, SoakError


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="make soak", description="everything that can happen, and every request accounted for"
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--round", type=float, default=15.0, metavar="SECONDS", help="how long each kind of trouble lasts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(Path(folder), options.minutes, options.workers, options.round, lambda line: print(line, flush=True))
        try:
            result = asyncio.run(soak.run())
        except SoakError as error:
            print(f"soak: {error}", file=sys.stderr)
            return 1
    _report(result)
    if options.json is not None:
        options.json.write_text(json.dumps(_as_json(result), indent=1) + "\n")
    return 1 if result.ledger.violations else 0


def _report(result: Result) -> None:
    lost, kills = result.ledger.sent - result.counted, len(result.trouble.kills)
    print(f"\n{result.ledger.sent:,} requests sent, {result.counted:,} counted, {lost:,} lost with {kills} kills")
    print(", ".join(f"{kind}: {count:,}" for kind, count in result.ledger.kinds.items()))
    print(", ".join(f"{what}: {count:,}" for what, count in result.found.items()))
    print(", ".join(f"{what}: {count:,}" for what, count in result.trouble.counts.items()))
    for pid in result.watch.longest():
        samples, (warm, last) = result.watch.seen[pid], result.watch.warm_and_last(pid)
        lived_s = samples[-1].at_s - samples[0].at_s
        print(f"{result.watch.name(pid)}: {warm:.1f} MiB when warm, {last:.1f} at the end of {lived_s / 60:.1f} minutes")
    for violation in result.ledger.violations:
        print(f"VIOLATION {violation}")
    if not result.ledger.violations:
        print("no response lost or doubled, every counter exact, no memory or file leaked")


def _as_json(result: Result) -> dict[str, object]:
    return {
        "minutes": result.minutes,
        "workers": result.workers,
        "sent": result.ledger.sent,
        "counted": result.counted,
        "kinds": result.ledger.kinds,
        "outcomes": result.found,
        "trouble": result.trouble.counts,
        "rounds": result.rounds,
        "memory_mib": {result.watch.name(pid): result.watch.warm_and_last(pid) for pid in result.watch.longest()},
        "violations": result.ledger.violations,
    }


if __name__ == "__main__":
    sys.exit(main())
