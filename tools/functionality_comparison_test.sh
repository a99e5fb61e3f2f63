#!/bin/sh
# Old and new asked the same: what differs is printed, and reports are written to data/comparison.
#   tools/functionality_comparison_test.sh [--url URL | --control URL --candidate URL] [--requests FILE] [--reports DIR]
# Exit status: 0 alike, 1 different or not comparable, 2 bad usage. More: docs/compare.md
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
"$root/tools/setup.sh" run
# Run from elsewhere, it is still about the configuration of this checkout.
[ -n "${SPLITTER_CONFIG:-}" ] || [ -e config/splitter.yaml ] || export SPLITTER_CONFIG="$root/config/splitter.yaml"
PYTHONPATH=$root exec "$root/.venv/bin/python" -m tools.readiness.functionality "$@"
