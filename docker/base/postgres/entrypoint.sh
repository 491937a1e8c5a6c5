#!/bin/bash
# Usage: docker-entrypoint.sh [postgres] [OPTION...]
#        docker-entrypoint.sh PROGRAM [ARGUMENT...]
# Makes the cluster, its role and its database once, then becomes the server; another program is only run.
# Takes what compose files say to the public image: POSTGRES_USER, _PASSWORD, _DB, _INITDB_ARGS (each also from the
# file that NAME_FILE names), POSTGRES_INITDB_WALDIR, POSTGRES_HOST_AUTH_METHOD, PGDATA, /docker-entrypoint-initdb.d.
# No `set -u`: scripts that are sourced below were written without it.
# shellcheck disable=SC2030,SC2031  # while those run, PGDATA is another folder, in their subshell alone
set -eo pipefail
ACCOUNT=999
SCRIPTS=/docker-entrypoint-initdb.d
SOCKETS=/var/run/postgresql

fail() {
  echo "docker-entrypoint.sh: $*" >&2
  exit 1
}

# NAME...: take each from the file that NAME_FILE names
read_files() {
  local name file text
  for name; do
    file=${name}_FILE
    if [[ -n ${!file} ]]; then
      [[ -z ${!name} ]] || fail "$name and $file are both set; leave one of them"
      text=$(<"${!file}")
      export "$name=$text"
    fi
    unset "$file"
  done
}

# FOLDER...: give them, and all in them, to the account of the server
own() {
  mkdir -p "$@"
  find "$@" ! -user "$ACCOUNT" -exec chown "$ACCOUNT:$ACCOUNT" {} +
}

# initdb asks for the name of its account: one that a compose file chose by number has none
name_account() {
  if ! id -un >/dev/null 2>&1; then
    NSS_WRAPPER_PASSWD=$(mktemp)
    NSS_WRAPPER_GROUP=$(mktemp)
    echo "postgres:x:$(id -u):$(id -g):PostgreSQL:$PGDATA:/bin/sh" >"$NSS_WRAPPER_PASSWD"
    echo "postgres:x:$(id -g):" >"$NSS_WRAPPER_GROUP"
    export NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP LD_PRELOAD=libnss_wrapper.so
  fi
}

forget_account() {
  [[ -z $NSS_WRAPPER_PASSWD ]] || rm -f "$NSS_WRAPPER_PASSWD" "$NSS_WRAPPER_GROUP"
  unset NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP LD_PRELOAD
}

# FOLDER: make a cluster in it, with its role and database
make_cluster() {
  local part=$1 method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256} options=()
  eval "options=($POSTGRES_INITDB_ARGS)"
  [[ -z $POSTGRES_INITDB_WALDIR ]] || options+=("--waldir=$POSTGRES_INITDB_WALDIR")
  initdb --pgdata="$part" --username="$POSTGRES_USER" --auth-host="$method" --auth-local=trust --encoding=UTF8 \
    --locale=C.UTF-8 ${POSTGRES_PASSWORD:+--pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD")} "${options[@]}" >/dev/null
  printf '\nhost all all all %s\n' "$method" >>"$part/pg_hba.conf"
  if [[ $POSTGRES_DB != postgres ]]; then
    echo "CREATE DATABASE \"${POSTGRES_DB//\"/\"\"}\"" | postgres --single -D "$part" -j postgres >/dev/null
  fi
}

# SQL from stdin, by the role and in the database that were made
run_sql() {
  PGHOST='' PGHOSTADDR='' PGPASSWORD=$POSTGRES_PASSWORD psql --set=ON_ERROR_STOP=1 --no-psqlrc --no-password \
    --username="$POSTGRES_USER" --dbname="$POSTGRES_DB"
}

# FOLDER [OPTION...]: run what the compose file brought, on a server that nobody reaches from outside
run_scripts() (
  export PGDATA=$1 # where a script finds postgresql.conf
  shift
  files=("$SCRIPTS"/*)
  [[ -e ${files[0]} ]] || return 0
  # the last of two options wins: while scripts run nothing listens on the network
  printf -v options '%q ' "$@" -p "${PGPORT:-5432}" -c listen_addresses= -c "unix_socket_directories=$SOCKETS"
  pg_ctl --wait --silent --options="$options" start
  for file in "${files[@]}"; do
    echo "docker-entrypoint.sh: $file" >&2
    # shellcheck source=/dev/null  # scripts of the compose file
    case $file in
      *.sh) if [[ -x $file ]]; then "$file"; else (. "$file"); fi ;;
      *.sql) run_sql <"$file" ;;
      *.sql.gz) gzip --decompress --stdout "$file" | run_sql ;;
      *.sql.xz | *.sql.zst) fail "$file: nothing unpacks it here; .sql and .sql.gz are read" ;;
      *) echo "docker-entrypoint.sh: $file is ignored: neither .sh, .sql nor .sql.gz" >&2 ;;
    esac
  done
  pg_ctl --wait --silent --mode=fast stop
)

# FOLDER [OPTION...]: make a whole cluster in it, and note that it is whole
make_anew() {
  local part=$1
  shift
  rm -rf "$part"
  export POSTGRES_USER=${POSTGRES_USER:-postgres}
  export POSTGRES_DB=${POSTGRES_DB:-$POSTGRES_USER}
  [[ -n $POSTGRES_PASSWORD || $POSTGRES_HOST_AUTH_METHOD == trust ]] ||
    fail "POSTGRES_PASSWORD, for the role $POSTGRES_USER, is empty; POSTGRES_HOST_AUTH_METHOD=trust lets everybody in"
  name_account
  make_cluster "$part"
  run_scripts "$part" "$@"
  forget_account
  touch "$part/.whole"
}

# [OPTION...]: a cluster is made in a folder of its own and then moved, PG_VERSION last: one that was cut off half way,
# or whose scripts failed, is never taken for a whole one, and the next start makes it again
create() {
  local part=$PGDATA/.part
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA" || true # a folder of another account, in which this one may write all the same
  [[ -e $part/.whole ]] || make_anew "$part" "$@"
  find "$part" -mindepth 1 -maxdepth 1 ! -name .whole ! -name PG_VERSION -exec mv --target-directory="$PGDATA" {} +
  mv "$part/PG_VERSION" "$PGDATA/"
  rm -r "$part"
}

[[ $# -gt 0 && $1 != -* ]] || set -- postgres "$@"
[[ $1 == postgres ]] || exec "$@"
case ${2:-} in
  --help | -'?' | --version | -V | -C | --describe-config | --single | --boot | --check) exec "$@" ;;
esac
shift
export PGDATA=${PGDATA:-/var/lib/postgresql/data}
read_files POSTGRES_USER POSTGRES_PASSWORD POSTGRES_DB POSTGRES_INITDB_ARGS
if [[ $(id -u) == 0 ]]; then
  own "$PGDATA" "$SOCKETS" ${POSTGRES_INITDB_WALDIR:+"$POSTGRES_INITDB_WALDIR"}
  HOME=/var/lib/postgresql exec setpriv --reuid="$ACCOUNT" --regid="$ACCOUNT" --clear-groups "$0" postgres "$@"
fi
[[ -s $PGDATA/PG_VERSION ]] || create "$@"
# in front of what the compose file says, so that it wins
exec postgres -c listen_addresses='*' -c unix_socket_directories="$SOCKETS" "$@"
