#!/bin/sh
# Starts a streaming replica of PRIMARY_HOST; copies it first where PGDATA is empty.
# REPLICATOR_PASSWORD is the password of the role `replicator`; what follows starts the server.
set -eu

: "${PGDATA:?}" "${PRIMARY_HOST:?}" "${REPLICATOR_PASSWORD:?}"
port=${PRIMARY_PORT:-5432}
slot=${REPLICA_SLOT:-neo_replica}

umask 077
export PGPASSFILE="${PGPASSFILE:-/run/replica/pgpass}"
mkdir -p "$(dirname "$PGPASSFILE")"
# \ and : are special in this file
password=$(printf '%s' "$REPLICATOR_PASSWORD" | sed 's/[\\:]/\\&/g')
printf '%s:%s:*:replicator:%s\n' "$PRIMARY_HOST" "$port" "$password" >"$PGPASSFILE"

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # Copied beside and renamed: what was interrupted is never taken for a whole copy
    copy="$PGDATA.copying"
    rm -rf "$copy"
    mkdir -p "$(dirname "$PGDATA")"
    conninfo="host=$PRIMARY_HOST port=$port user=replicator dbname=postgres"
    conninfo="$conninfo sslmode=${PGSSLMODE:-prefer} application_name=$slot"
    base() {
        pg_basebackup --dbname="$conninfo" --no-password --pgdata="$copy" --wal-method=stream \
            --checkpoint=fast --write-recovery-conf --slot="$slot" "$@"
    }
    # The slot is there already where an earlier copy was interrupted
    base --create-slot || { rm -rf "$copy" && base; }
    rmdir "$PGDATA" 2>/dev/null || true
    mv "$copy" "$PGDATA"
fi
unset REPLICATOR_PASSWORD
exec "$@"
