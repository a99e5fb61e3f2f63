#!/bin/sh
# A rehearsal of every way to roll back, on a private copy with your configuration: ports, state and backends of its own.
#   tools/rollback_verification.sh [--config FILE]
# Exit status: 0 everything holds, 1 something does not; each check is a line. More: docs/rollback.md
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
"$root/tools/setup.sh" run
cd "$root"
exec .venv/bin/python -m tools.rollback.verify "$@"
