#!/bin/sh
# Usage: customize.sh ROOT
# Gives Debian's nginx the account, configuration and logs of the public image.
set -eu
root=$1
echo 'nginx:x:101:101:nginx:/nonexistent:/bin/false' >>"$root/etc/passwd"
echo 'nginx:x:101:' >>"$root/etc/group"
install -m 644 "${0%/*}/nginx.conf" "$root/etc/nginx/nginx.conf"
install -D -m 644 "${0%/*}/default.conf" "$root/etc/nginx/conf.d/default.conf"
# a folder, and no link to the /run of this machine: what is in /run is not packed
[ ! -L "$root/var/run" ] || rm "$root/var/run"
mkdir -p "$root/var/log/nginx" "$root/var/cache/nginx" "$root/var/lib/nginx" "$root/var/run"
ln -sf /dev/stdout "$root/var/log/nginx/access.log"
ln -sf /dev/stderr "$root/var/log/nginx/error.log"
