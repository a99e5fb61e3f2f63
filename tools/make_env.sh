#!/bin/sh
# `make env`: writes .env for docker compose, from .env.example, with an admin token nobody else has.
#
# Invariants: a .env that is there is never changed; only its owner can read the one made here.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
env=${1:-$root/.env}
if [ -e "$env" ]; then
    echo "$env is there already and stays as it is; remove it to have a new one" >&2
    exit 0
fi
token=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
umask 077
sed "s/^SPLITTER_ADMIN_TOKEN=.*/SPLITTER_ADMIN_TOKEN=$token/" "$root/.env.example" >"$env.part"
mv "$env.part" "$env"
echo "wrote $env; operators need its SPLITTER_ADMIN_TOKEN"
