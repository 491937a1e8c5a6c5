#!/bin/sh
# Usage: docker-entrypoint.sh postgres [OPTION...]
# Creates the cluster, its role and its database once, then becomes the server. Runs as the postgres account.
# Understands what this project uses of the public image: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, PGDATA.
set -eu
: "${POSTGRES_PASSWORD:?the password of the database role}"
export PGDATA="${PGDATA:-/var/lib/postgresql/data}"
user=${POSTGRES_USER:-postgres}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  umask 077
  chmod 700 "$PGDATA"
  # initdb works beside and is renamed at the end: a cluster that was cut off half way is never taken for a whole one
  part=$PGDATA/.part
  rm -rf "$part"
  printf '%s' "$POSTGRES_PASSWORD" >/tmp/pw
  initdb --pgdata="$part" --username="$user" --pwfile=/tmp/pw --auth-host=scram-sha-256 --auth-local=trust \
    --encoding=UTF8 --locale=C.UTF-8 >/dev/null
  rm -f /tmp/pw
  echo 'host all all all scram-sha-256' >>"$part/pg_hba.conf"
  if [ "${POSTGRES_DB:-$user}" != postgres ]; then
    echo "CREATE DATABASE \"${POSTGRES_DB:-$user}\"" | postgres --single -D "$part" -j postgres >/dev/null
  fi
  version=$(cat "$part/PG_VERSION")
  rm "$part/PG_VERSION"
  mv "$part"/* "$PGDATA"/
  echo "$version" >"$PGDATA/PG_VERSION"
  rmdir "$part"
fi
exec "$@" -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql
