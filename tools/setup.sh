#!/bin/sh
# Makes .venv and installs this project in it: `tools/setup.sh dev` (the default) with the tools of a developer,
# `tools/setup.sh run` with only what is needed to run.
#
# Owns: .venv, .setup.log. Must not know: what is run in it afterwards.
# Invariants: doing it again changes nothing and takes a moment; an install that was cut short is made anew; whatever
# goes wrong is said in a line or two with what to do, and the whole output of pip and apt is in .setup.log.
# Environment: PYTHON=/path/of/python (3.11 or newer) instead of the one found; pip's own (PIP_INDEX_URL, ...).
set -eu

mode=${1:-dev}
root=$(cd "$(dirname "$0")/.." && pwd)
venv=$root/.venv
log=$root/.setup.log
case $mode in
dev) wanted="${root}[dev]" ;;
run) wanted=$root ;;
*) echo "usage: tools/setup.sh [dev|run]" >&2; exit 2 ;;
esac
# These would make pip install somewhere else than in .venv.
unset PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV PYTHONHOME PYTHONPATH VIRTUAL_ENV

say() { echo "setup: $*" >&2; }
die() { for line in "$@"; do say "$line"; done; exit 1; }

version_of() { "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null; }
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# The user's own python3 first; where that is too old, or can't make environments, another that can.
find_python() {
    python='' lame=''
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3 python3.13 python3.12 python3.11; fi
    for candidate; do
        new_enough "$candidate" || continue
        can_make_venv "$candidate" && { python=$candidate; return 0; }
        lame=${lame:-$candidate}
    done
    return 1
}

apt_install() {
    command -v apt-get >/dev/null || die "install Python 3.11 or newer with venv and pip, then try again" \
        "(or name one: make install PYTHON=/path/of/python3)"
    [ "$(id -u)" = 0 ] || die "$1; run:" "  sudo apt-get update && sudo apt-get install -y $2"
    say "$1: installing $2 with apt"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$2"; } \
        >>"$log" 2>&1 </dev/null || die "apt-get could not install $2: $(grep '^E:' "$log" | head -n 1)" "all of it is in $log"
}

ensure_python() {
    find_python && return 0
    if [ -n "${PYTHON:-}" ]; then
        [ -n "$lame" ] || die "PYTHON=$PYTHON is not a Python 3.11 or newer: $(version_of "$PYTHON" || echo "it does not run")"
    fi
    if [ -z "$lame" ]; then
        apt_install "no Python 3.11 or newer found (python3 is $(version_of python3 || echo missing))" python3-venv
    elif [ "$("$lame" -c 'import sys; print(sys.base_prefix)')" = /usr ]; then
        # Debian cuts ensurepip out of python3.N and puts it into a package of the same version.
        number=$(version_of "$lame")
        apt_install "$(command -v "$lame") can't make virtual environments yet" "python${number%.*}-venv"
    else
        die "$(command -v "$lame") can't make virtual environments (it has no ensurepip)" \
            "name another Python: make install PYTHON=/usr/bin/python3"
    fi
    find_python || die "still no Python 3.11 or newer that can make virtual environments (python3 is $(version_of python3 || echo missing))" \
        "install one and name it: make install PYTHON=/path/of/python3"
}

# What .venv was made of: another python, or a checkout that was moved, needs a new one; a changed pyproject.toml only pip.
made_of() { echo "$(version_of "$venv/bin/python") $root"; }
project_hash() { cksum <"$root/pyproject.toml"; }
up_to_date() {
    [ ! -e "$venv/.installing" ] || return 1
    [ -z "${PYTHON:-}" ] || [ "$(version_of "$PYTHON")" = "$(version_of "$venv/bin/python")" ] || return 1
    for stamp in dev "$mode"; do # what a developer has is enough to run
        [ "$(cat "$venv/.installed-$stamp" 2>/dev/null)" = "$(made_of) $(project_hash)" ] && return 0
    done
    return 1
}
usable() {
    [ ! -e "$venv/.installing" ] && new_enough "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1 || return 1
    [ -z "${PYTHON:-}" ] || [ "$(version_of "$PYTHON")" = "$(version_of "$venv/bin/python")" ] || return 1
    [ ! -e "$venv/.made-of" ] || [ "$(cat "$venv/.made-of")" = "$(made_of)" ]
}

up_to_date && exit 0
for path in "$root" "$log" "$venv" "$root"/*.egg-info; do
    [ ! -e "$path" ] || [ -w "$path" ] || die "$path can't be written by $(id -un): it belongs to $(stat -c %U "$path")"
done
exec 9>>"$log"
command -v flock >/dev/null && flock 9 # two `make` at once: the second waits, and finds it done
up_to_date && exit 0
: >"$log"

if ! usable; then
    ensure_python
    [ ! -e "$venv" ] || say "$venv is incomplete, moved or of another Python: making it anew"
    rm -rf "$venv" && mkdir "$venv" && : >"$venv/.installing"
    "$python" -m venv "$venv" >>"$log" 2>&1 || die "$python -m venv failed: $(tail -n 1 "$log")" "all of it is in $log"
    made_of >"$venv/.made-of"
fi
: >"$venv/.installing" # left behind only by an interruption: then nothing in .venv can be trusted
say "installing into .venv with Python $(version_of "$venv/bin/python") (a minute the first time; details in $log)"
if ! "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --retries "${PIP_RETRIES:-2}" -e "$wanted" >>"$log" 2>&1 </dev/null; then
    rm -f "$venv/.installing" # pip undid its own work
    if grep -Eq 'NewConnectionError|NameResolutionError|Connect(Timeout|ion refused)|ReadTimeout|timed out|ProxyError|SSLError|unreachable' "$log"; then
        die "the package index could not be reached (${PIP_INDEX_URL:-the one pip is configured for}); check the network, or set one of:" \
            "  PIP_INDEX_URL=https://your.mirror/simple   HTTPS_PROXY=http://your.proxy:3128   PIP_CERT=/your/ca.pem" \
            "  PIP_NO_INDEX=1 PIP_FIND_LINKS=/directory/of/wheels" "the whole output of pip is in $log"
    fi
    die "pip failed: $(grep -E '^ *(ERROR|error):' "$log" | grep -v subprocess-exited | tail -n 1)" "the whole output of pip is in $log"
fi
echo "$(made_of) $(project_hash)" >"$venv/.installed-$mode"
rm -f "$venv/.installing"
