#!/bin/sh
# Migrations by one word: migrate, status or rollback; options are passed on to `neo-polystore db`.
set -eu

usage="usage: run-database-migrations.sh migrate|status|rollback [options]"
case "${1:-}" in
    migrate | status | rollback) ;;
    -h | --help) echo "$usage"; exit 0 ;;
    *) echo "$usage" >&2; exit 2 ;;
esac
exec "$(dirname -- "$0")/neo-polystore.sh" db "$@"
