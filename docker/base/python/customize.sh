#!/bin/sh
# Usage: customize.sh ROOT
# Gives Debian's Python the names of the public image.
set -eu
root=$1
mkdir -p "$root/usr/local/bin"
for name in python python3; do ln -sf /usr/bin/python3.11 "$root/usr/local/bin/$name"; done
