#!/usr/bin/env bash
# Usage: scripts/deploy.sh deploy|rollback|status [FLAG OF inv ...]
# For those who look for a script: `inv` does the work, here as anywhere else.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
    deploy | rollback | status) ;;
    *) sed -n 's/^# \(Usage:.*\)/\1/p' "$0" >&2 && exit 2 ;;
esac
PATH="$PWD/.venv/bin:$PATH" exec inv "$@"
