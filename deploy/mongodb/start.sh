#!/bin/sh
# Starts MongoDB with the key by which members of a replica set know each other (MONGO_REPLICA_KEY),
# in a file that only the server reads.
set -eu

: "${MONGO_REPLICA_KEY:?}"
folder=${MONGO_RUN:-/run/mongodb}
umask 077
mkdir -p "$folder"
rm -f "$folder/replica.key"
printf '%s\n' "$MONGO_REPLICA_KEY" >"$folder/replica.key"
chmod 400 "$folder/replica.key"
unset MONGO_REPLICA_KEY
exec "$@"
