#!/usr/bin/env bash
# Usage: scripts/inv.sh TASK [FLAG ...]
# `inv` of this checkout, from wherever one stands: what the other scripts here go through.
set -euo pipefail
if [ -n "${OPS_ROOT:-}" ]; then
    OPS_ROOT="$(readlink -f -- "$OPS_ROOT")" # a relative path is from where the command was typed
    export OPS_ROOT
fi
cd "$(dirname "$(readlink -f "$0")")/.."
PATH="$PWD/.venv/bin:$PATH"
if ! command -v inv >/dev/null; then
    echo "inv is not installed; next: python3 $PWD/scripts/bootstrap.py" >&2
    exit 2
fi
exec inv "$@"
