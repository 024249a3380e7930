#!/bin/sh
# `mongo-admin.sh init|status|retention|backup`: see store-admin.sh.
exec "$(dirname -- "$0")/store-admin.sh" mongo "$@"
