#!/bin/sh
# Usage: docker-entrypoint.sh [redis-server] [FILE.conf] [OPTION...]
#        docker-entrypoint.sh PROGRAM [ARGUMENT...]
# Runs the server as its own account; another program is only run.
set -eu
account=999
case ${1:-} in
  "" | -* | *.conf) set -- redis-server "$@" ;;
esac
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
  find . ! -user "$account" -exec chown "$account:$account" {} +
  exec setpriv --reuid="$account" --regid="$account" --clear-groups "$0" "$@"
fi
if [ "$1" = redis-server ]; then
  umask 077 # dumps are for the server alone
  file=
  case ${2:-} in
    *.conf) file=$(cat "$2") ;;
  esac
  # other containers are answered without a password, as by the public image, unless the compose file has its own word
  case "$* $file" in
    *protected-mode* | *" --version "* | *" -v "* | *" --help "* | *" -h "* | *" - "* | *" --test-memory "*) ;;
    *) set -- "$@" --protected-mode no ;;
  esac
fi
exec "$@"
