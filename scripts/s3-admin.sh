#!/bin/sh
# `s3-admin.sh init|status|retention|backup`: see store-admin.sh.
exec "$(dirname -- "$0")/store-admin.sh" s3 "$@"
