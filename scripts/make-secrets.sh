#!/bin/sh
# Prints an .env for docker-compose.yml with a new random secret for everything that needs one:
# `scripts/make-secrets.sh > .env`. What stands in an .env that is given as argument is kept.
set -eu

usage="usage: make-secrets.sh [existing .env] > new .env"
case "${1:-}" in -h | --help) echo "$usage"; exit 0 ;; esac
[ $# -le 1 ] || { echo "$usage" >&2; exit 2; }
old=${1:-}
[ -z "$old" ] || [ -r "$old" ] || { echo "make-secrets.sh: cannot read $old" >&2; exit 2; }

# Hexadecimal: every store takes it, and it needs no escaping in a URL
random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

umask 077
[ -z "$old" ] || cat "$old"
for name in POSTGRES_ADMIN_PASSWORD POSTGRES_PASSWORD POSTGRES_OWNER_PASSWORD \
    POSTGRES_RELAY_PASSWORD POSTGRES_RETENTION_PASSWORD POSTGRES_BACKUP_PASSWORD \
    JWT_SECRET_KEY REPLICATOR_PASSWORD MONITORING_PASSWORD \
    REDIS_PASSWORD MONGO_ADMIN_PASSWORD MONGO_PASSWORD MONGO_REPLICA_KEY S3_ACCESS_KEY_ID \
    S3_SECRET_ACCESS_KEY CLICKHOUSE_PASSWORD ELASTIC_PASSWORD GRAFANA_PASSWORD NEO_BACKUP_KEY \
    CORE_DB_PASSWORD BLOCKCHAIN_DB_PASSWORD ANALYTICS_DB_PASSWORD; do
    if [ -n "$old" ] && grep -q "^$name=." "$old"; then continue; fi
    case $name in
        S3_ACCESS_KEY_ID) bytes=10 ;;
        NEO_BACKUP_KEY | JWT_SECRET_KEY | MONGO_REPLICA_KEY) bytes=32 ;;
        *) bytes=24 ;;
    esac
    printf '%s=%s\n' "$name" "$(random $bytes)"
done
