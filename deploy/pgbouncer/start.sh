#!/bin/sh
# Starts PgBouncer with the passwords of the roles in a file of its own, in memory.
# PGBOUNCER_PASSWORD_<ROLE> is the password of <role>, in lower case: those are the users there are.
set -eu

folder=${PGBOUNCER_RUN:-/run/pgbouncer}
umask 077
mkdir -p "$folder"
: >"$folder/userlist.txt"
env | sed -n 's/^PGBOUNCER_PASSWORD_\([A-Z0-9_]*\)=.*/\1/p' | sort | while read -r name; do
    password=$(printenv "PGBOUNCER_PASSWORD_$name")
    [ -n "$password" ] || continue
    role=$(printf '%s' "$name" | tr '[:upper:]' '[:lower:]')
    # " is doubled in this file
    printf '"%s" "%s"\n' "$role" "$(printf '%s' "$password" | sed 's/"/""/g')" \
        >>"$folder/userlist.txt"
done
exec "$@"
