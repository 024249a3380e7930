#!/bin/sh
# Migrations by one word: migrate, status or rollback; options are passed on to `neo-polystore db`.
set -eu

usage="usage: run-database-migrations.sh migrate|status|rollback [options]"
[ $# -ge 1 ] || { echo "$usage" >&2; exit 2; }
case "$1" in
    migrate | status | rollback) ;;
    -h | --help) echo "$usage"; exit 0 ;;
    *) echo "$usage" >&2; exit 2 ;;
esac

# NEO_POLYSTORE names another one; else the checkout's own, else the one that is installed
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
if [ -n "${NEO_POLYSTORE:-}" ]; then
    program=$NEO_POLYSTORE
elif [ -x "$root/.venv/bin/neo-polystore" ]; then
    program=$root/.venv/bin/neo-polystore
else
    program=neo-polystore
fi
exec "$program" db "$@"
