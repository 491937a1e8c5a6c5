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
if [ -n "${OPS_ROOT:-}" ]; then
    OPS_ROOT="$(readlink -f -- "$OPS_ROOT")" # what is said from where one is
    export OPS_ROOT
fi
cd "$(dirname "$(readlink -f "$0")")/.."
PATH="$PWD/.venv/bin:$PATH"
if ! command -v inv >/dev/null; then
    echo "inv is not installed; next: python3 $PWD/scripts/bootstrap.py" >&2
    exit 2
fi
exec inv "$@"
