#!/bin/sh
# The thirteen endpoints of the rollout, through the running splitter, on both sides: a line each.
#   tools/verify_new_endpoints.sh [--url URL] [--json]
# Exit status: 0 all are good, 1 one is not, 2 bad usage. More: docs/immediate_next_steps.md
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
"$root/tools/setup.sh" run
# Run from elsewhere, it is still about the configuration of this checkout.
[ -n "${SPLITTER_CONFIG:-}" ] || [ -e config/splitter.yaml ] || export SPLITTER_CONFIG="$root/config/splitter.yaml"
PYTHONPATH=$root exec "$root/.venv/bin/python" -m tools.readiness.endpoints "$@"
