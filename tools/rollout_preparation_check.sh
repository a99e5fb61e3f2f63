#!/bin/sh
# Is everything ready for the rollout? The checklist, measured: a line for each item, and how complete it is.
#   tools/rollout_preparation_check.sh [--prometheus URL] [--grafana URL] [--tests] [--quick] [--json]
# Exit status: 0 nothing failed, 1 something did, 2 bad usage. More: docs/immediate_next_steps.md
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
"$root/tools/setup.sh" run
# Run from elsewhere, it is still about the configuration of this checkout.
[ -n "${SPLITTER_CONFIG:-}" ] || [ -e config/splitter.yaml ] || export SPLITTER_CONFIG="$root/config/splitter.yaml"
PYTHONPATH=$root exec "$root/.venv/bin/python" -m tools.readiness.check "$@"
