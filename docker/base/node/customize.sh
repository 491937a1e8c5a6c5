#!/bin/sh
# Usage: customize.sh ROOT
# Gives Debian's Node the account of the public image.
set -eu
root=$1
echo 'node:x:1000:1000:Node:/home/node:/bin/sh' >>"$root/etc/passwd"
echo 'node:x:1000:' >>"$root/etc/group"
install -d -o 1000 -g 1000 "$root/home/node"
