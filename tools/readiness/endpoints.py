"""`tools/verify_new_endpoints.sh`: the thirteen endpoints, through the splitter, on both sides, a line each.

Owns: options, exit status. Must not know: what is sent (the request list), how it is compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence

import click

from splitter.cli.target import find_listener
from tools.readiness.compared import CAMERA_OPERATIONS, RULE_WRITES, THIRTEEN, Compared, NotComparedError, compare, url_of
from tools.readiness.findings import Finding, Report, failed, ok, terminal

_DESCRIPTION = """\
Asks the thirteen endpoints of the rollout through the running splitter, each on legacy (force_domain=false) and on domain
(force_domain=true), with requests that succeed and requests that are refused, and compares the answers. Cameras and rules
are made for it, and cameras removed again; nobody else's are touched."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="tools/verify_new_endpoints.sh",
        description=_DESCRIPTION,
        epilog="Exit status: 0 all thirteen are good on both sides; 1 one is not; 2 bad usage.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", help="where clients find the splitter (default: SPLITTER_LISTEN, else the configuration)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    options = parser.parse_args(arguments)
    report = Report(terminal(quiet=options.json))
    try:
        url = options.url or url_of(find_listener())
        report.console.print(f"through {url}, legacy and domain by force_domain", style="dim")
        compared = compare(url)
    except NotComparedError as error:
        print(error, file=sys.stderr)
        return error.status
    except click.UsageError as error:
        print(error.message, file=sys.stderr)
        return 2
    report.add("Camera operations", verified(compared, CAMERA_OPERATIONS))
    report.add("Alert rule writes", verified(compared, RULE_WRITES))
    if options.json:
        print(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
    good = len(THIRTEEN) - report.failures
    report.console.print(
        f"\n{good} of {len(THIRTEEN)} endpoints are good on both sides", style="red" if report.failures else "green"
    )
    return 1 if report.failures else 0


def verified(compared: Compared, names: Sequence[str]) -> Iterator[Finding]:
    """A finding for each endpoint."""
    for name in names:
        endpoint = compared.endpoint(name)
        yield failed(name, endpoint.trouble) if endpoint.trouble else ok(name, f"alike on both sides ({endpoint.seen})")


if __name__ == "__main__":
    sys.exit(main())
