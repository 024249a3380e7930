#!/bin/sh
# The command line from anywhere: NEO_POLYSTORE where it names one, else the checkout's own, else
# the one that is installed. The other scripts come through here.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
if [ -n "${NEO_POLYSTORE:-}" ]; then
    program=$NEO_POLYSTORE
elif [ -x "$root/.venv/bin/neo-polystore" ]; then
    program=$root/.venv/bin/neo-polystore
else
    program=neo-polystore
fi
exec "$program" "$@"
