#!/bin/sh
# Usage: customize.sh ROOT [OVERLAY]
# Run by mmdebstrap as its last hook: what package scripts would have done where none ran, and what no image needs.
set -eu
root=$1
overlay=${2:-}
[ -s "$root/etc/passwd" ] || printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n' >"$root/etc/passwd"
[ -s "$root/etc/group" ] || printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
for folder in bin sbin lib lib64; do
  if [ -d "$root/usr/$folder" ] && [ ! -e "$root/$folder" ]; then ln -s "usr/$folder" "$root/$folder"; fi
done
mozilla=$root/usr/share/ca-certificates/mozilla
bundle=$root/etc/ssl/certs/ca-certificates.crt
if [ -d "$mozilla" ] && [ ! -s "$bundle" ]; then cat "$mozilla"/*.crt >"$bundle"; fi
rm -rf "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/* \
  "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/var/cache/ldconfig/*
find "$root/usr" -depth -type d -name __pycache__ -exec rm -rf {} +
if [ -n "$overlay" ]; then "$overlay/customize.sh" "$root"; fi
