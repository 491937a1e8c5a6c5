#!/bin/sh
# Usage: customize.sh ROOT
# Gives Debian's Prometheus and Alertmanager the folders of the public images: new volumes take over their owner.
set -eu
root=$1
install -d -o 65534 -g 65534 "$root/prometheus" "$root/alertmanager"
