#!/bin/sh
# Starts a primary. PostgreSQL refuses a key that others may read, or that is somebody else's, so the
# one that is mounted at NEO_TLS (default /tls) is copied to a file of the server's own.
set -eu

tls=${NEO_TLS:-/tls}
own=${NEO_TLS_OWN:-/run/tls}
if [ -f "$tls/server.key" ]; then
    umask 077
    mkdir -p "$own"
    for file in server.key server.crt ca.crt; do
        cp -f "$tls/$file" "$own/$file"
        chmod 600 "$own/$file"
    done
fi
exec "$@"
