#!/bin/sh
# Starts Redis with REDIS_PASSWORD as the only user's. The server is given its SHA-256, in a file of
# its own: the password stands in no command line.
set -eu

: "${REDIS_PASSWORD:?}"
folder=${REDIS_RUN:-/run/redis}
umask 077
mkdir -p "$folder"
hash=$(printf '%s' "$REDIS_PASSWORD" | sha256sum | cut -d ' ' -f 1)
printf 'user default on #%s ~* &* +@all\n' "$hash" >"$folder/users.acl"
unset REDIS_PASSWORD
exec "$@"
