#!/bin/sh
# Usage: user data of a new host, which cloud-init runs once.
# Mounts the volume for data where Docker keeps its volumes; formats it where it is blank.
set -eu
device=/dev/disk/by-id/@DISK@ # the module fills it in
deadline=$(($(date +%s) + 600))
until [ -b "$device" ]; do # it is attached once the machine runs
    [ "$(date +%s)" -lt "$deadline" ] || exit 1
    sleep 1
done
signatures=$(wipefs --noheadings "$device") # blkid calls a disk with two of them, or an unreadable one, blank too
[ -n "$signatures" ] || mkfs.ext4 -q -L data "$device"
mkdir -p /var/lib/docker/volumes
# without the volume the host is reached by SSH, and Docker does not start: a database would begin anew on the root disk
options=defaults,nofail,x-systemd.before=docker.service,x-systemd.required-by=docker.service
echo "$device /var/lib/docker/volumes ext4 $options 0 2" >>/etc/fstab
systemctl daemon-reload
mount /var/lib/docker/volumes
