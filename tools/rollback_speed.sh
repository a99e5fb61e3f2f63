#!/bin/sh
# How fast each way of rolling back is: under load, on a private copy, by the backends' own counters.
#   tools/rollback_speed.sh [--times N] [--workers N] [--rate N] [--ways api cli ...]
# Exit status: 0 nothing arrived at domain after an answer, and no request failed; 1 otherwise. More: docs/rollback.md
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
"$root/tools/setup.sh" run
cd "$root"
exec .venv/bin/python -m tools.rollback.speed "$@"
