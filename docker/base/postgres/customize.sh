#!/bin/sh
# Usage: customize.sh ROOT
# Gives Debian's PostgreSQL the account, folders and entrypoint of the public image.
set -eu
root=$1
echo 'postgres:x:999:999:PostgreSQL:/var/lib/postgresql:/bin/sh' >>"$root/etc/passwd"
echo 'postgres:x:999:' >>"$root/etc/group"
mkdir -p "$root/var/lib/postgresql/data" "$root/usr/local/bin" "$root/docker-entrypoint-initdb.d"
# a folder, and no link to the /run of this machine: what is in /run is not packed
[ ! -L "$root/var/run" ] || rm "$root/var/run"
mkdir -p "$root/var/run/postgresql"
chown -R 999:999 "$root/var/lib/postgresql" "$root/var/run/postgresql"
# a compose file may choose any account by its number, and a new volume takes over the mode
chmod 1777 "$root/var/lib/postgresql/data"
chmod 3777 "$root/var/run/postgresql"
install -d -m 1777 "$root/tmp"
for tool in "$root"/usr/lib/postgresql/15/bin/*; do
  ln -sf "/usr/lib/postgresql/15/bin/${tool##*/}" "$root/usr/local/bin/"
done
install -m 755 "${0%/*}/entrypoint.sh" "$root/usr/local/bin/docker-entrypoint.sh"
