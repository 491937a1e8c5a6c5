#!/usr/bin/env bash
# Usage: scripts/deploy.sh deploy|rollback|status [FLAG OF inv ...]
# For those who look for a script: `inv` does the work, here as anywhere else.
set -euo pipefail
case "${1:-}" in
    deploy | rollback | status) ;;
    *)
        sed -n 's/^# \(Usage:.*\)/\1/p' "$0" >&2
        exit 2
        ;;
esac
exec "$(dirname "$(readlink -f "$0")")/inv.sh" "$@"
