"""`make instructions`: instructions for a request, of the splitter and of nginx, and what each feature adds.

Owns: which cases there are, the ratio that CI guards. Must not know: how instructions are counted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.bench.callgrind import USERS, Change, CountedNginx, CountedSplitter, count
from tools.bench.proxies import Peer
from tools.bench.templates import PeerError
from tools.bench.work import PLAIN, WORKS, Setup

GUARDED_RATIO: Final = 1.38
"""Instructions of the splitter for a small GET, over those of nginx. A change that makes it smaller sets it anew."""
TOLERANCE: Final = 1.25
REQUESTS: Final = 1000


def _line(line: str) -> Change:
    return lambda text: f"{text}{line}\n"


def _listen(option: str) -> Change:
    return lambda text: text.replace("listen: {", f"listen: {{{option}, ")


def _rollout(option: str) -> Change:
    return lambda text: text.replace("rollout: {", f"rollout: {{{option}, ")


_TEN: Final = (f"{{name: r{number}, path: '/api/v{number}/things/{{id}}', percent: 10}}" for number in range(10))
_ROUTES: Final = f"routes: [{', '.join(_TEN)}]"


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that can be on or off. `work`: what is asked, of WORKS."""

    title: str
    change: Change = lambda text: text
    setup: Setup = PLAIN
    work: str = "small"
    users: int = USERS


FEATURES: Final = (
    Feature("small GET, all as it is by default, no access log"),
    Feature("each request from a user nobody has seen", users=1_000_000),
    Feature("access log, every request", setup=Setup(access_log=True)),
    Feature("a trace begun here (`traceparent: make`)", _listen("traceparent: make")),
    Feature("`Forwarded` of RFC 7239 as well", _listen("forwarded: both")),
    Feature("the client is a trusted proxy", _listen('trusted_proxies: ["127.0.0.0/8"]')),
    Feature("ten routes, none of which matches", _rollout(_ROUTES)),
    Feature("rolled back by the switch", _rollout("use_domain_service: false")),
    Feature("TLS", setup=Setup(tls=True)),
    Feature("mirror of no request", _line("mirror: {percent: 0}")),
    Feature("mirror of each request", _line("mirror: {percent: 100}")),
    Feature("POST of 1 KiB, its body held for a fallback", work="post"),
    Feature("POST of 1 KiB, nothing held", _line("fallback: {max_body: 0}"), work="post"),
    Feature("a new connection for each request", work="new"),
)


def ratio(folder: Path) -> tuple[float, float]:
    """Instructions for a small GET: of the splitter, and of nginx. Raises PeerError."""
    work = WORKS["small"]
    ours = count(CountedSplitter(), PLAIN, work, REQUESTS, folder / "splitter")
    return ours, count(CountedNginx(), PLAIN, work, REQUESTS, folder / "nginx")


def _features(wanted: str, folder: Path) -> None:
    for number, feature in enumerate(FEATURES):
        if wanted in feature.title:
            splitter = CountedSplitter(feature.change)
            found = count(splitter, feature.setup, WORKS[feature.work], REQUESTS, folder / str(number), feature.users)
            print(f"{found:9,.0f}  {feature.title}", flush=True)


def _works(names: Sequence[str], folder: Path) -> None:
    for name in names:
        peers: tuple[Peer, ...] = (CountedSplitter(), CountedNginx())
        ours, theirs = (count(peer, WORKS[name].setup, WORKS[name], REQUESTS, folder / name / peer.name) for peer in peers)
        print(f"{name}: splitter {ours:,.0f}, nginx {theirs:,.0f}: {ours / theirs:.2f}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make instructions", description="instructions for a request (valgrind)")
    parser.add_argument("--work", default="small", help="comma separated, of small, logged, post, 64k, new, tls")
    parser.add_argument("--features", nargs="?", const="", metavar="WORD", help="what each adds; those whose title has WORD")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="instructions-") as folder:
        try:
            if options.features is not None:
                _features(options.features, Path(folder))
            else:
                _works(options.work.split(","), Path(folder))
        except PeerError as error:
            print(f"instructions: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
