#!/bin/sh
# Usage: customize.sh ROOT
# Gives Debian's Redis the account, folder and entrypoint of the public image.
set -eu
root=$1
echo 'redis:x:999:999:Redis:/data:/bin/false' >>"$root/etc/passwd"
echo 'redis:x:999:' >>"$root/etc/group"
install -d -o 999 -g 999 "$root/data"
install -D -m 755 "${0%/*}/entrypoint.sh" "$root/usr/local/bin/docker-entrypoint.sh"
