#!/bin/sh
# Checks that everything is ready, shows what will change, asks, sets the percent, and looks whether it is in force.
#   tools/rollout_start.sh PERCENT [--yes] [--force] [--quick]
# Exit status: 0 in force, 1 refused or failed, 2 bad usage. More: docs/immediate_next_steps.md
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
"$root/tools/setup.sh" run
# Run from elsewhere, it is still about the configuration of this checkout.
[ -n "${SPLITTER_CONFIG:-}" ] || [ -e config/splitter.yaml ] || export SPLITTER_CONFIG="$root/config/splitter.yaml"
PYTHONPATH=$root exec "$root/.venv/bin/python" -m tools.readiness.start "$@"
