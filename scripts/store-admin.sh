#!/bin/sh
# One store's administration: init, status, retention or backup, and what else the store has; options
# are passed on to `neo-polystore store`. postgres-admin.sh and its neighbours name the store.
set -eu

usage="usage: store-admin.sh STORE init|status|retention|backup [options]"
case "${1:-}" in
    -h | --help) echo "$usage"; exit 0 ;;
    "" | -*) echo "$usage" >&2; exit 2 ;;
esac
[ $# -ge 2 ] || { echo "$usage" >&2; exit 2; }
exec "$(dirname -- "$0")/neo-polystore.sh" store "$@"
