#!/bin/sh
# Makes a private authority and one certificate for the composed servers, for docker-compose.tls.yml:
# `scripts/make-certificates.sh tls`. An authority that is in the folder already goes on being used.
set -eu

usage="usage: make-certificates.sh FOLDER [further host name ...]"
[ $# -ge 1 ] || { echo "$usage" >&2; exit 2; }
case "$1" in -h | --help) echo "$usage"; exit 0 ;; esac
folder=$1
shift
days=${NEO_TLS_DAYS:-365}
umask 027
mkdir -p "$folder"

names="DNS:localhost,IP:127.0.0.1"
for name in postgres neo-postgres postgres-replica timescaledb redis mongodb s3 pgbouncer "$@"; do
    names="$names,DNS:$name"
done

if [ ! -f "$folder/ca.key" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
        -subj "/CN=neo-polystore authority" -addext "keyUsage=critical,keyCertSign,cRLSign" \
        -keyout "$folder/ca.key" -out "$folder/ca.crt" 2>/dev/null
    chmod 600 "$folder/ca.key"
fi
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=neo-polystore" \
    -keyout "$folder/server.key" -out "$folder/server.csr" 2>/dev/null
printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\nkeyUsage=critical,digitalSignature\n' \
    "$names" >"$folder/server.ext"
openssl x509 -req -in "$folder/server.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" \
    -CAcreateserial -days "$days" -extfile "$folder/server.ext" -out "$folder/server.crt" 2>/dev/null
cat "$folder/server.key" "$folder/server.crt" >"$folder/server.pem"
rm -f "$folder/server.csr" "$folder/server.ext"
chmod 640 "$folder/server.key" "$folder/server.pem"
chmod 644 "$folder/ca.crt" "$folder/server.crt"
echo "NEO_TLS_DIR=$(CDPATH='' cd -- "$folder" && pwd)"
echo "NEO_TLS_GID=$(id -g)"
