#!/bin/sh
# Installs the Debian packages that the tests and the benchmark use, those of tools/debian-packages.txt.
#
# Must not know: which test uses what. Invariants: a moment when all are there; never starts a service (some of the
# packages bring one that would take a port of this machine); exit 1 with one line to run when it can't install.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
log=$here/../.setup.log
say() { echo "test packages: $*" >&2; }
installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

missing=''
for package in $(sed 's/#.*//' "$here/debian-packages.txt"); do
    installed "$package" || missing="$missing $package"
done
missing=${missing# }
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    say "this is no Debian or Ubuntu; tests are skipped that need: $missing"
    exit 1
elif [ "$(id -u)" != 0 ]; then
    say "tests are skipped that need: $missing; to have them, run"
    say "  sudo apt-get update && sudo apt-get install -y $missing"
    exit 1
fi

say "installing $missing with apt (details in .setup.log)"
# invoke-rc.d(8): status 101 of this file means "don't start it". A file that is already there is somebody's decision.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    trap 'exit 1' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update >>"$log" 2>&1 </dev/null || say "apt-get update failed, trying with the lists as they are"
failed=''
for package in $missing; do # one by one: a name that this release doesn't have must not keep the others away
    apt-get install -y --no-install-recommends "$package" >>"$log" 2>&1 </dev/null || failed="$failed $package"
done
[ -z "$failed" ] || { say "apt-get could not install:$failed (why is in .setup.log)"; exit 1; }
