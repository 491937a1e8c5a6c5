#!/usr/bin/env bash
# Usage: scripts/setup-monitoring.sh [FLAG OF inv monitor.up ...]
# For those who look for a script: `inv` does the work, here as anywhere else.
set -euo pipefail
exec "$(dirname "$(readlink -f "$0")")/inv.sh" monitor.up "$@"
