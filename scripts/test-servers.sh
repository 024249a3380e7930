#!/bin/sh
# The conformance suites of every engine against every server that this machine can have without
# Docker, and a table of what came of it. NEO_TEST_CONTAINERS=1 takes containers instead.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
python=$root/.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" -m tools.servers "$@"
