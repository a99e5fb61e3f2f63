#!/bin/sh
# Rolls back the splitter of this machine, checks that nothing goes to domain any more, and says so in one line.
# For 3 a.m.: no arguments. Elsewhere: SPLITTER_ADMIN=http://HOST:8090 SPLITTER_LISTEN=HOST:8000 tools/rollback.sh
#
# Exit status: 0 rolled back and checked, 1 not: the line says what to do instead. More: docs/rollback.md
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
python=$root/.venv/bin/python
[ -x "$python" ] || python=python3
# Run from elsewhere, it is still about the configuration of this checkout.
[ -n "${SPLITTER_CONFIG:-}" ] || [ -e config/splitter.yaml ] || export SPLITTER_CONFIG="$root/config/splitter.yaml"
PYTHONPATH=$root exec "$python" -m tools.rollback.now
