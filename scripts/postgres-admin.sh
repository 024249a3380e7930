#!/bin/sh
# `postgres-admin.sh init|status|retention|backup`: see store-admin.sh.
exec "$(dirname -- "$0")/store-admin.sh" postgres "$@"
