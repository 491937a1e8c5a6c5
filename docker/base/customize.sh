#!/bin/sh
# Usage: customize.sh ROOT [OVERLAY]
# Run by mmdebstrap as its last hook: what package scripts would have done where none ran, and what no image needs.
set -eu
umask 022
root=$1
overlay=${2:-}
[ -s "$root/etc/passwd" ] || printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n' >"$root/etc/passwd"
[ -s "$root/etc/group" ] || printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
for folder in bin sbin lib lib64; do
  if [ -d "$root/usr/$folder" ] && [ ! -e "$root/$folder" ]; then ln -s "usr/$folder" "$root/$folder"; fi
done
# Where dpkg installed nothing, scanners see what was unpacked by the records that distroless images keep.
records=$root/var/lib/dpkg/status.d archives=$root/var/cache/apt/archives
if [ ! -s "$root/var/lib/dpkg/status" ]; then
  mkdir -p "$records"
  (cd "$archives" && APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --quiet=2 --option=APT::Sandbox::User=root download base-files)
  dpkg-deb --fsys-tarfile "$archives"/base-files_*.deb |
    tar -x -C "$root" ./etc/debian_version ./etc/os-release ./usr/lib/os-release
  for deb in "$archives"/*.deb; do
    name=$(dpkg-deb --field "$deb" Package)
    dpkg-deb --field "$deb" >"$records/$name"
    dpkg-deb --ctrl-tarfile "$deb" | tar -xO ./md5sums >"$records/$name.md5sums" 2>/dev/null || true
  done
fi
mozilla=$root/usr/share/ca-certificates/mozilla
bundle=$root/etc/ssl/certs/ca-certificates.crt
if [ -d "$mozilla" ] && [ ! -s "$bundle" ]; then cat "$mozilla"/*.crt >"$bundle"; fi
rm -rf "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/* \
  "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/var/cache/ldconfig/*
find "$root/usr" -depth -type d -name __pycache__ -exec rm -rf {} +
if [ -n "$overlay" ]; then "$overlay/customize.sh" "$root"; fi
