"""`tools/functionality_comparison_test.sh`: everything asked of old and new, with reports to hand on.

Owns: which list, which sides, where the reports go. Must not know: how anything is compared.
Exit status: 0 alike, 1 different or not comparable, 2 bad usage: that of `splitter compare`, which does it all.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from splitter.cli.target import find_listener
from tools.readiness.compared import LIST, ROOT, NotComparedError, url_of

FOLDER: Final = ROOT / "data" / "comparison"
_DESCRIPTION = """\
Asks old and new the same, with every request of a list (default: config/compare/camera_api.yaml, which cleans up behind
itself), prints what differs, and writes a page for people, JUnit XML for a CI server and JSON for programs. Through the
running splitter unless two services are named. Other options go to `splitter compare`: --repeat 20, --max-slower 1.5."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="tools/functionality_comparison_test.sh",
        description=_DESCRIPTION,
        epilog="Exit status: 0 alike; 1 different, or not comparable; 2 bad usage.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # an abbreviation may be an option of `splitter compare`
    )
    parser.add_argument("--url", help="where clients find the splitter (default: SPLITTER_LISTEN, else the configuration)")
    parser.add_argument("--control", metavar="URL", help="the old service, asked directly")
    parser.add_argument("--candidate", metavar="URL", help="the new service, asked directly")
    parser.add_argument("--requests", type=Path, default=LIST, metavar="FILE", help="another list of requests")
    parser.add_argument("--reports", type=Path, default=FOLDER, metavar="DIR", help=f"default: {FOLDER.relative_to(ROOT)}")
    options, others = parser.parse_known_args(arguments)
    try:
        sides = _sides(options)
    except (NotComparedError, click.UsageError) as error:
        print(getattr(error, "message", error), file=sys.stderr)
        return 2
    files = {option: options.reports / f"report.{ending}" for option, ending in _REPORTS}
    try:
        options.reports.mkdir(parents=True, exist_ok=True)
        for file in files.values():  # one that is left over would be taken for this run's
            file.unlink(missing_ok=True)
    except OSError as error:
        print(f"can't write reports to {options.reports}: {error.strerror}", file=sys.stderr)
        return 2
    written = [word for option, file in files.items() for word in (option, str(file))]
    command = [sys.executable, "-m", "splitter", "compare", str(options.requests), *sides, *written, *others]
    done = subprocess.run(command, check=False)
    if all(file.exists() for file in files.values()):
        print("reports: " + ", ".join(map(str, files.values())))
    return done.returncode


_REPORTS: Final = (("--html", "html"), ("--junit", "xml"), ("--json", "json"))


def _sides(options: argparse.Namespace) -> list[str]:
    if options.control or options.candidate:
        named = (("--control", options.control), ("--candidate", options.candidate), ("--via", options.url))
        return [word for option, url in named if url for word in (option, url)]
    return ["--via", options.url or url_of(find_listener())]


if __name__ == "__main__":
    sys.exit(main())
